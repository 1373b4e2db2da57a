//! What a client reads: the first byte tells how the others are cut.

#![no_main]

use common_tcp::{Decoder, Limits, Packet};
use common_tcp_fuzz::{Read, read, whole};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let limits = Limits { packet_bytes: 256, ..Limits::of_client() };
    whole(input, |wire, size| read(Decoder::of_client(&limits), wire, size, keep));
});

fn keep(packet: Packet<'_>) -> Read<String> {
    assert!(packet.name.bytes().all(|byte| byte.is_ascii_graphic()));
    assert!(packet.args.starts_with('[') && packet.args.ends_with(']'));
    let _: Result<Vec<&str>, _> = packet.parse();
    Ok(format!("{}#{:?} {}", packet.name, packet.tag, packet.args))
}
