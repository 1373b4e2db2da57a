//! The one place that polls, and the one patience.

use std::{thread, time::Duration};

use tokio::time::Instant;

/// How long anything may take before a test gives up. Only a failing test ever waits this long, so
/// it is generous: a busy machine is no reason to fail.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// How often [`eventually`] looks: short beside the start of a process.
const PERIOD: Duration = Duration::from_millis(5);

/// Looks until `look` finds something, and returns it.
///
/// Panics with `what` once [`PATIENCE`] is over.
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "{what}: not so within {PATIENCE:?}");
        thread::sleep(PERIOD);
    }
}
