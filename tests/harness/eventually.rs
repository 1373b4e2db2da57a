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
    let found = patiently(Instant::now(), || look().ok_or(()));
    found.unwrap_or_else(|()| panic!("{what}: not so within {PATIENCE:?}"))
}

/// Looks until nothing is wrong, or [`PATIENCE`] has gone by since `start`: then says what is.
pub(crate) fn patiently<T, E>(
    start: Instant,
    mut look: impl FnMut() -> Result<T, E>,
) -> Result<T, E> {
    loop {
        match look() {
            Err(_) if start.elapsed() < PATIENCE => thread::sleep(PERIOD),
            outcome => return outcome,
        }
    }
}
