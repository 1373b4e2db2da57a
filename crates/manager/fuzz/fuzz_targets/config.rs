//! `config.toml`.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &str| {
    if let Err(why) = manager::fuzz::config(input) {
        assert!(!why.to_string().contains('\n'), "told on one line: {why}");
    }
});
