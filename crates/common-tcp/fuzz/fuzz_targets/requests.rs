//! What a daemon reads: the first byte tells how the others are cut.

#![no_main]

use common_tcp::{Decoder, Limits, Unreadable, encode_with};
use libfuzzer_sys::fuzz_target;

/// A packet that owns its parts, or why there is none.
type Read = Result<(String, Option<String>, String), Unreadable>;

/// Small, so that inputs reach it.
const PACKET_BYTES: usize = 256;

fuzz_target!(|input: &[u8]| {
    let Some((&size, wire)) = input.split_first() else { return };
    let whole = read(wire, wire.len().max(1));
    assert_eq!(read(wire, usize::from(size).max(1)), whole, "the cut shows");
    assert_eq!(read(wire, 1), whole, "the cut shows");

    // What was read is written as one line, and read again as what it was.
    for (name, tag, args) in whole.into_iter().flatten() {
        let mut line = Vec::new();
        let written = encode_with(&mut line, &name, tag.as_deref(), |out| {
            out.extend_from_slice(args.as_bytes());
            Ok::<_, ()>(())
        });
        written.expect("nothing fails");
        assert_eq!(line.iter().filter(|&&byte| byte == b'\n').count(), 1);
        if line.len() <= PACKET_BYTES {
            assert_eq!(read(&line, line.len()), [Ok((name, tag, args))]);
        }
    }
});

fn read(wire: &[u8], size: usize) -> Vec<Read> {
    let limits = Limits { packet_bytes: PACKET_BYTES, depth: 8, ..Limits::default() };
    let mut decoder = Decoder::new(&limits);
    let mut all = Vec::new();
    for chunk in wire.chunks(size) {
        decoder.feed(chunk);
        if drain(&mut decoder, &mut all) {
            return all;
        }
    }
    decoder.end();
    drain(&mut decoder, &mut all);
    all
}

/// Takes what can be had; true if nothing may be asked for any more. Like the SDK, it has the rest of a line
/// discarded whose arguments turn out to be no JSON; a `?` stands for those.
fn drain(decoder: &mut Decoder, all: &mut Vec<Read>) -> bool {
    while let Some(next) = decoder.next() {
        let item = match next {
            Ok(packet) if packet.args.contains('?') => {
                let why = Unreadable::BadJson { at: packet.args_at, what: "a question".to_owned() };
                decoder.discard_line(why);
                continue;
            }
            Ok(packet) => {
                let tag = packet.tag.map(str::to_owned);
                Ok((packet.name.to_owned(), tag, packet.args.to_owned()))
            }
            Err(why) => Err(why),
        };
        let is_fatal = item.as_ref().is_err_and(Unreadable::is_fatal);
        all.push(item);
        if is_fatal {
            return true;
        }
    }
    false
}
