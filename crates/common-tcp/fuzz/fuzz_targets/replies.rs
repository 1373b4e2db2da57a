//! What a client reads: the first byte tells how the others are cut.

#![no_main]

use common_tcp::{Decoder, Limits, Unreadable};
use libfuzzer_sys::fuzz_target;
use std::fmt::Write;

fuzz_target!(|input: &[u8]| {
    let Some((&size, wire)) = input.split_first() else { return };
    let whole = read(wire, wire.len().max(1));
    assert_eq!(read(wire, usize::from(size).max(1)), whole, "the cut shows");
    assert_eq!(read(wire, 1), whole, "the cut shows");
});

/// All that comes out, as text.
fn read(wire: &[u8], size: usize) -> String {
    let limits = Limits { packet_bytes: 256, ..Limits::of_client() };
    let mut decoder = Decoder::of_client(&limits);
    let mut all = String::new();
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

fn drain(decoder: &mut Decoder, all: &mut String) -> bool {
    while let Some(next) = decoder.next() {
        match next {
            Ok(packet) => {
                assert!(packet.name.bytes().all(|byte| byte.is_ascii_graphic()));
                assert!(packet.args.starts_with('[') && packet.args.ends_with(']'));
                let _: Result<Vec<&str>, _> = packet.parse();
                writeln!(all, "{}#{:?} {}", packet.name, packet.tag, packet.args).expect("a text");
            }
            Err(why) => {
                writeln!(all, "{why:?}").expect("a text");
                if Unreadable::is_fatal(&why) {
                    return true;
                }
            }
        }
    }
    false
}
