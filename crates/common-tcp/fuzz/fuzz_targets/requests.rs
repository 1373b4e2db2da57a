//! What a daemon reads: the first byte tells how the others are cut.

#![no_main]

use common_tcp::{Decoder, Limits, Packet, Unreadable, encode_with};
use common_tcp_fuzz::{Read, whole};
use libfuzzer_sys::fuzz_target;

/// A packet that owns its parts.
type Owned = (String, Option<String>, String);

/// Small, so that inputs reach it.
const PACKET_BYTES: usize = 256;

fuzz_target!(|input: &[u8]| {
    // What was read is written as one line, and read again as what it was.
    for (name, tag, args) in whole(input, read).into_iter().flatten() {
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

fn read(wire: &[u8], size: usize) -> Vec<Read<Owned>> {
    let limits = Limits { packet_bytes: PACKET_BYTES, depth: 8, ..Limits::default() };
    common_tcp_fuzz::read(Decoder::new(&limits), wire, size, keep)
}

/// Like the SDK, it has the rest of a line discarded whose arguments turn out to be no JSON; a `?`
/// stands for those.
fn keep(packet: Packet<'_>) -> Read<Owned> {
    if packet.args.contains('?') {
        return Err(Unreadable::BadJson { at: packet.args_at, what: "a question".to_owned() });
    }
    Ok((packet.name.to_owned(), packet.tag.map(str::to_owned), packet.args.to_owned()))
}
