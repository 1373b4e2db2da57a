//! What a foreign port answers to `dae`: the first byte tells where the stream is cut.

#![no_main]

use libfuzzer_sys::fuzz_target;
use manager::fuzz::reply;

fuzz_target!(|input: &[u8]| {
    let Some((&size, heard)) = input.split_first() else { return };
    let beginning = &heard[..heard.len().min(size.into())];
    let (early, late) = (reply(beginning), reply(heard));
    // What is not ASCII may be the middle of a letter, or turn out to be Latin-1.
    if heard.is_ascii()
        && let Some(decided) = early
    {
        assert_eq!(late.flatten(), decided, "more of an answer makes no other credential");
    }
});
