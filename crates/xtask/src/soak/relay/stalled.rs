//! One peer that never reads, beside some that do.

use std::time::Duration;

use super::{RelayError, clients};
use crate::bench::{
    histogram::Histogram,
    relay::{
        crowd::{Crowd, CrowdError},
        shape::{Broadcast, Shape},
        way::{Hears, Way},
    },
    server::Server,
};

/// What came of it.
pub(super) struct Stalled {
    /// How long the slowest hundredth of messages took, in the middle one of all slices.
    pub(super) without: Duration,
    pub(super) beside: Duration,
    /// Whether who never reads was sent away in the end.
    pub(super) is_closed: bool,
}

/// How many read, and what all hear.
const READERS: usize = 4;
const LENGTH: usize = 4 << 10;

/// So much is sent with it, and then as much without it: a machine that gets busier meanwhile would
/// be taken for its doing. It is less than what the relay and two kernels keep for it.
const SLICE: usize = 16 << 20;

/// So much is more than they keep.
const TOO_MUCH: usize = 64 << 20;

/// Who it is.
const ID: &str = "stalled";

/// Sends so many MB past one that never reads, a slice at a time.
pub(super) fn pass(server: &Server, megabytes: usize) -> Result<Stalled, RelayError> {
    let mut crowd = Crowd::gather(Way::Ours, server, READERS + 1, Hears::All)?;
    let mut shape = Broadcast::new(&crowd, READERS, LENGTH);
    let (mut without, mut beside) = (Vec::new(), Vec::new());
    let stall = || Way::Ours.connect(server.address, ID, Hears::All);
    shape.begin(&crowd)?;
    for _ in 0..(megabytes * 1_000_000).div_ceil(SLICE) {
        without.push(slowest(&mut crowd, &mut shape, SLICE)?);
        let stalled = stall()?;
        beside.push(slowest(&mut crowd, &mut shape, SLICE)?);
        drop(stalled);
    }
    let _stalled = stall()?;
    slowest(&mut crowd, &mut shape, TOO_MUCH)?;
    let is_closed = !clients(server)?.contains(ID);
    Ok(Stalled { without: middle(without), beside: middle(beside), is_closed })
}

/// Lets it go on until so many bytes were heard by each; how long the slowest hundredth took.
fn slowest(crowd: &mut Crowd, shape: &mut Broadcast, bytes: usize) -> Result<Duration, CrowdError> {
    let mut latencies = Histogram::new();
    let (mut heard, wanted) = (0, READERS * bytes / LENGTH);
    while heard < wanted {
        heard +=
            crowd.wait(|crowd, number, bytes| shape.hear(crowd, number, bytes, &mut latencies))?;
    }
    Ok(latencies.quantile(0.99))
}

fn middle(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
