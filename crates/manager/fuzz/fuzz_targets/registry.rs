//! The registry, which the user may edit.

#![no_main]

use libfuzzer_sys::fuzz_target;
use manager_fuzz::survives;

fuzz_target!(|input: &[u8]| {
    let read = |bytes: &[u8]| manager::fuzz::registry(bytes).ok();
    survives(input, read, |(text, _)| text.clone().into_bytes());
});
