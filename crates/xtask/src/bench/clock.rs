//! The clocks: time, and processor time of this process and of others.

use std::time::Duration;

use nix::{errno::Errno, time::ClockId, unistd::Pid};

/// Time since some moment in the past. Not `Instant`, which would not tell how long before another
/// clock it was read.
pub(crate) fn now() -> Duration {
    ClockId::CLOCK_MONOTONIC.now().expect("Linux always has a monotonic clock").into()
}

/// Processor time of a process, all its threads together, those that have ended too.
///
/// To the nanosecond and up to this moment, unlike `/proc/PID/stat` (10 ms) and
/// `/proc/PID/schedstat` (as of the last tick).
#[derive(Clone, Copy)]
pub(crate) struct ProcessorClock(ClockId);

impl ProcessorClock {
    pub(crate) fn of(pid: u32) -> Result<Self, Errno> {
        let pid = i32::try_from(pid).map_err(|_| Errno::ESRCH)?;
        ClockId::pid_cpu_clock_id(Pid::from_raw(pid)).map(Self)
    }

    pub(crate) fn of_this_process() -> Self {
        Self(ClockId::CLOCK_PROCESS_CPUTIME_ID)
    }

    /// # Errors
    /// The process is gone.
    pub(crate) fn read(self) -> Result<Duration, Errno> {
        self.0.now().map(Duration::from)
    }
}
