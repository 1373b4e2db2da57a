//! What sessions of a state server say, one packet after another: the tag of a packet tells whose
//! it is.

#![no_main]

use common_tcp::{Decoder, Limits};
use libfuzzer_sys::fuzz_target;
use state_fuzz::World;

fuzz_target!(|input: &[u8]| {
    let mut decoder = Decoder::new(&Limits { depth: 72, ..Limits::default() });
    decoder.feed(input);
    decoder.end();
    let mut world = World::new();
    while let Some(next) = decoder.next() {
        match next {
            Ok(packet) => world.hear(packet.tag.unwrap_or("bob"), packet.name, packet.args),
            Err(why) if why.is_fatal() => return,
            Err(_) => {}
        }
    }
});
