//! The loop that all targets share: a stream is read, however it is cut.

use std::fmt::Debug;

use common_tcp::{Decoder, Packet, Unreadable};

/// What came of one packet.
pub type Read<T> = Result<T, Unreadable>;

/// All that `read` takes out of a stream; the first byte of `input` tells how the others are cut.
pub fn whole<T: PartialEq + Debug>(
    input: &[u8],
    read: impl Fn(&[u8], usize) -> Vec<Read<T>>,
) -> Vec<Read<T>> {
    let Some((&size, wire)) = input.split_first() else { return Vec::new() };
    let whole = read(wire, wire.len().max(1));
    for size in [usize::from(size).max(1), 1] {
        assert_eq!(read(wire, size), whole, "the cut shows");
    }
    whole
}

/// Reads a stream in pieces of `size` bytes. What `keep` refuses has its line discarded.
pub fn read<T>(
    mut decoder: Decoder,
    wire: &[u8],
    size: usize,
    keep: impl Fn(Packet<'_>) -> Read<T>,
) -> Vec<Read<T>> {
    let mut all = Vec::new();
    for chunk in wire.chunks(size) {
        decoder.feed(chunk);
        if drain(&mut decoder, &keep, &mut all) {
            return all;
        }
    }
    decoder.end();
    drain(&mut decoder, &keep, &mut all);
    all
}

/// Takes what can be had; true if nothing may be asked for any more.
fn drain<T>(
    decoder: &mut Decoder,
    keep: impl Fn(Packet<'_>) -> Read<T>,
    all: &mut Vec<Read<T>>,
) -> bool {
    while let Some(next) = decoder.next() {
        match next.map(&keep) {
            Ok(Err(why)) => decoder.discard_line(why),
            Ok(kept) => all.push(kept),
            Err(why) => {
                let is_fatal = why.is_fatal();
                all.push(Err(why));
                if is_fatal {
                    return true;
                }
            }
        }
    }
    false
}
