//! Answers of `sock_diag`, and the text of `/proc/net/tcp`.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    drop(manager::fuzz::diag(input));
    assert!(manager::fuzz::table(input).len() <= input.len());
});
