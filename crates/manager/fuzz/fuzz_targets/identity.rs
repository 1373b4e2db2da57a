//! Identity files.

#![no_main]

use libfuzzer_sys::fuzz_target;
use manager::identity::Identity;
use manager_fuzz::json_survives;

fuzz_target!(|input: &[u8]| {
    json_survives::<Identity>(input);
    if let Ok(identity) = serde_json::from_slice::<Identity>(input) {
        identity.age();
    }
});
