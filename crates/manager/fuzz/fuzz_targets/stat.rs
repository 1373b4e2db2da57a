//! `/proc/PID/stat`; `mountinfo` and `cgroup`, split at a NUL.

#![no_main]

use libfuzzer_sys::fuzz_target;
use manager::proc::Stat;

fuzz_target!(|input: &[u8]| {
    Stat::parse(input);
    let mut parts = input.splitn(2, |&byte| byte == 0);
    if let (Some(mounts), Some(line)) = (parts.next(), parts.next()) {
        manager::fuzz::cgroup(mounts, line);
    }
});
