//! What time it is, for the two things that ask: records in a log, and waiting.

use rustix::time::{ClockId, clock_gettime};

/// One reading of both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Now {
    /// Milliseconds since 1970, for people. It may jump, so nothing waits by it.
    pub(super) unix_ms: u64,
    /// Milliseconds since some moment before the start. It never jumps.
    pub(super) steady_ms: u64,
}

impl Now {
    /// Reads both clocks.
    pub(super) fn read() -> Self {
        Self { unix_ms: millis(ClockId::Realtime), steady_ms: millis(ClockId::Monotonic) }
    }
}

fn millis(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    u64::try_from(time.tv_sec * 1000 + time.tv_nsec / 1_000_000).unwrap_or(0)
}
