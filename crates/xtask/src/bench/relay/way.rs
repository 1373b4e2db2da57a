//! How a peer speaks to each relay: connecting, sending, and what it is told of others.

use std::{
    io::{self, Read, Write},
    net::{SocketAddrV4, TcpStream},
    path::Path,
};

use crate::{
    bench::{
        load::connect,
        server::{Contender, patient, read_line},
    },
    workspace::release,
};

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Ours,
    Node,
    Nats,
    /// What no relay can be below: it passes on what it is sent to all others, unread.
    Floor,
}

/// What a peer wants to hear; NATS alone must be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hears {
    All,
    /// What is addressed to it.
    Own,
}

/// Ours first, rivals behind it.
pub(crate) const RELAYS: [Way; 3] = [Way::Ours, Way::Node, Way::Nats];

/// The same for what is told to all others.
pub(crate) const WITH_FLOOR: [Way; 4] = [Way::Ours, Way::Node, Way::Nats, Way::Floor];

/// Ends each message and is in nothing else that is sent, nor in the head of a frame.
pub(crate) const MARK: u8 = b'!';

/// What a client hides its messages with.
const MASK: [u8; 4] = [7, 11, 13, 17];

const FIN_TEXT: u8 = 0x81;
const IS_MASKED: u8 = 0x80;

impl Way {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ours => "Relay",
            Self::Node => "Node ws",
            Self::Nats => "NATS",
            Self::Floor => "floor",
        }
    }

    /// `ws` lies in `folder`.
    pub(crate) fn contender(self, folder: &Path) -> Contender {
        match self {
            Self::Ours => Contender::Relay(release("relay")),
            Self::Node => Contender::WsRelay(folder.to_owned()),
            Self::Nats => Contender::Nats,
            Self::Floor => Contender::Passing,
        }
    }

    /// A peer that has been let in.
    pub(crate) fn connect(
        self,
        address: SocketAddrV4,
        id: &str,
        hears: Hears,
    ) -> io::Result<TcpStream> {
        let mut stream = patient(TcpStream::from(connect(address)?))?;
        if self == Self::Floor {
            return Ok(stream);
        }
        if self == Self::Nats {
            let subject = if hears == Hears::All { "all" } else { id };
            read_line(&mut stream)?;
            let login = "CONNECT {\"verbose\":false,\"echo\":false}";
            write!(stream, "{login}\r\nSUB {subject} 1\r\nPING\r\n")?;
            read_line(&mut stream)?;
            return Ok(stream);
        }
        stream.write_all(request("bench", id).as_bytes())?;
        read_head(&mut stream)?;
        read_frame(&mut stream)?;
        Ok(stream)
    }

    /// A message to all others.
    pub(crate) fn to_all(self, text: &str) -> Vec<u8> {
        match self {
            Self::Nats => publish("all", text),
            Self::Floor => passed_on(text),
            Self::Ours | Self::Node => frame(text),
        }
    }

    /// A message to one.
    pub(crate) fn to_one(self, id: &str, text: &str) -> Vec<u8> {
        match self {
            Self::Nats => publish(id, text),
            // Where there are two, all others are one.
            Self::Floor => passed_on(text),
            Self::Ours | Self::Node => frame(&format!("to:{id};{text}")),
        }
    }
}

/// What a client of AceBase begins with.
pub(crate) fn request(db: &str, id: &str) -> String {
    format!(
        "GET /{db}/connect?v=1.0.0&id={id}&t=undefined HTTP/1.1\r\nHost: localhost\r\n\
         Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

fn publish(subject: &str, text: &str) -> Vec<u8> {
    format!("PUB {subject} {}\r\n{text}\r\n", text.len()).into_bytes()
}

/// A frame as a server sends it: the floor reads none, so it is given what it must send.
fn passed_on(text: &str) -> Vec<u8> {
    let mut frame = vec![FIN_TEXT];
    put_length(&mut frame, text.len(), 0);
    frame.extend(text.bytes());
    frame
}

/// A frame of a client.
pub(crate) fn frame(text: &str) -> Vec<u8> {
    let mut frame = vec![FIN_TEXT];
    put_length(&mut frame, text.len(), IS_MASKED);
    frame.extend(MASK);
    frame.extend(text.bytes().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

fn put_length(frame: &mut Vec<u8>, length: usize, is_masked: u8) {
    match length {
        short @ 0..=125 => frame.push(is_masked | short as u8),
        long => {
            frame.push(is_masked | 126);
            let long = u16::try_from(long).expect("no message of a run is that long");
            frame.extend(long.to_be_bytes());
        }
    }
}

/// Reads the answer to a handshake, and nothing behind it.
pub(crate) fn read_head(stream: &mut TcpStream) -> io::Result<()> {
    let status = read_line(stream)?;
    while read_line(stream)?.trim_end() != "" {}
    match status.starts_with("HTTP/1.1 101 ") {
        true => Ok(()),
        false => Err(io::Error::other(status)),
    }
}

/// Reads a short frame: the welcome.
fn read_frame(stream: &mut TcpStream) -> io::Result<()> {
    let mut head = [0; 2];
    stream.read_exact(&mut head)?;
    stream.read_exact(&mut vec![0; head[1].into()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_masked_and_as_long_as_it_says() {
        assert_eq!(frame("a"), [0x81, 0x81, 7, 11, 13, 17, b'a' ^ 7]);
        let long = frame(&"x".repeat(300));
        assert_eq!(long[..4], [0x81, 0xFE, 1, 44]);
        assert_eq!(long.len(), 8 + 300);
    }
}
