//! What a server reads, held against tungstenite: the first byte tells how the others are cut.
//!
//! Both must find the same messages. Ours may find a fault sooner, since it judges a frame by its
//! head; tungstenite may find text to be none sooner, since it looks at each fragment. A frame may
//! have two faults, and then either is right.

#![no_main]

use std::io::{self, Read, Write};

use libfuzzer_sys::fuzz_target;
use tungstenite::{
    Error, Message,
    error::ProtocolError,
    protocol::{Role, WebSocket, WebSocketConfig},
};
use websocket::{Decoder, DecoderLimits, Fault, Found};

/// Small, so that inputs reach it.
const MESSAGE_BYTES: usize = 300;

/// What came, before a close or a fault.
type Seen = Vec<(Found, Vec<u8>)>;

/// How it ended.
#[derive(Debug, PartialEq)]
enum End {
    MoreToCome,
    Closed,
    Fault(Fault),
}

fuzz_target!(|input: &[u8]| {
    let Some((&size, wire)) = input.split_first() else { return };
    let whole = ours(wire, wire.len().max(1));
    for size in [usize::from(size).max(1), 1] {
        assert_eq!(ours(wire, size), whole, "the cut shows");
    }
    let ((mut seen, end), (their_seen, their_end)) = (whole, theirs(wire));
    if their_end == End::Fault(Fault::NotUtf8) {
        // Between here and the end of that message only control frames can come.
        let later = seen.split_off(their_seen.len().min(seen.len()));
        assert!(later.iter().all(|(found, _)| matches!(found, Found::Ping | Found::Pong)));
    } else if !matches!((&end, &their_end), (End::Fault(_), End::Fault(_) | End::MoreToCome)) {
        assert_eq!(end, their_end);
    }
    assert_eq!(seen, their_seen);
});

fn ours(wire: &[u8], size: usize) -> (Seen, End) {
    let limits = DecoderLimits { message_bytes: MESSAGE_BYTES, fragments: u32::MAX };
    let mut decoder = Decoder::new(limits);
    let mut seen = Vec::new();
    for chunk in wire.chunks(size) {
        decoder.feed(chunk);
        while let Some(next) = decoder.next() {
            let payload = decoder.payload();
            match next {
                Err(fault) => return (seen, End::Fault(fault)),
                Ok(Found::Text) if std::str::from_utf8(payload).is_err() => {
                    return (seen, End::Fault(Fault::NotUtf8));
                }
                Ok(Found::Close) => return (seen, end_of_close(&decoder)),
                Ok(found) => seen.push((found, payload.to_vec())),
            }
        }
    }
    (seen, End::MoreToCome)
}

/// Tungstenite lets the reader find out whether a code is one.
fn end_of_close(decoder: &Decoder) -> End {
    match decoder.close() {
        Err(fault @ Fault::NotUtf8) => End::Fault(fault),
        Err(fault) if decoder.payload().len() == 1 => End::Fault(fault),
        _ => End::Closed,
    }
}

fn theirs(wire: &[u8]) -> (Seen, End) {
    let config = WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_BYTES))
        .max_frame_size(Some(MESSAGE_BYTES));
    let mut socket = WebSocket::from_raw_socket(Wire(wire), Role::Server, Some(config));
    let mut seen = Vec::new();
    loop {
        seen.push(match socket.read() {
            Ok(Message::Text(text)) => (Found::Text, text.as_bytes().to_vec()),
            Ok(Message::Binary(bytes)) => (Found::Binary, bytes.to_vec()),
            Ok(Message::Ping(bytes)) => (Found::Ping, bytes.to_vec()),
            Ok(Message::Pong(bytes)) => (Found::Pong, bytes.to_vec()),
            Ok(Message::Close(_)) => return (seen, End::Closed),
            Ok(Message::Frame(_)) => unreachable!("it is for writing"),
            Err(error) => return (seen, end_of(&error)),
        });
    }
}

fn end_of(error: &Error) -> End {
    match error {
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => End::MoreToCome,
        Error::Protocol(_) => End::Fault(Fault::Protocol),
        Error::Capacity(_) => End::Fault(Fault::TooLong { bytes: 0, most: MESSAGE_BYTES }),
        Error::Utf8(_) => End::Fault(Fault::NotUtf8),
        other => panic!("{other}"),
    }
}

/// Gives bytes, and takes any.
struct Wire<'a>(&'a [u8]);

impl Read for Wire<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
