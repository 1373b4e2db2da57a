//! What manager and keeper say to each other, and what a copy of the keeper says before it is a
//! child.

#![no_main]

use libfuzzer_sys::fuzz_target;
use manager::keeper::protocol::{Report, Request};
use manager_fuzz::json_survives;

fuzz_target!(|input: &[u8]| {
    json_survives::<Request>(input);
    json_survives::<Report>(input);
    manager::fuzz::failure(input);
});
