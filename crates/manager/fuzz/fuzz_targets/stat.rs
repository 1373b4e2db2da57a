//! `/proc/PID/stat`, as both of its readers understand it; `mountinfo` and `cgroup`, split at a
//! NUL.

#![no_main]

use libfuzzer_sys::fuzz_target;
use manager::proc::Stat;

fuzz_target!(|input: &[u8]| {
    let scanned = Stat::parse(input);
    let identified = manager::fuzz::stat(input);
    if let (Some(scanned), Some(identified)) = (scanned, identified) {
        assert_eq!((scanned.state, scanned.started), (identified.state, identified.start_ticks));
    }
    let mut parts = input.splitn(2, |&byte| byte == 0);
    if let (Some(mounts), Some(line)) = (parts.next(), parts.next()) {
        manager::fuzz::cgroup(mounts, line);
    }
});
