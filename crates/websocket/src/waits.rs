use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// How long messages have waited, from when they were sent until the first of their bytes left.
///
/// Of what leaves in one write the one that has waited longest counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Waits {
    /// How many have waited so long at most, for each of [`Waits::BOUNDS`]; then all.
    pub within: [u64; Self::BOUNDS.len() + 1],
    /// How long they have waited together.
    pub sum: Duration,
}

/// The same as it is counted, each by itself.
#[derive(Debug, Default)]
pub(crate) struct Counting {
    each: [AtomicU64; Waits::BOUNDS.len() + 1],
    sum_nanos: AtomicU64,
}

impl Waits {
    /// The bounds, in microseconds.
    pub const BOUNDS: [u64; 11] =
        [25, 50, 100, 250, 500, 1_000, 2_500, 10_000, 50_000, 250_000, 1_000_000];
}

impl Counting {
    pub(crate) fn count(&self, waited: Duration) {
        let micros = waited.as_micros() as u64;
        let index = Waits::BOUNDS.partition_point(|bound| *bound < micros);
        self.each[index].fetch_add(1, Relaxed);
        self.sum_nanos.fetch_add(waited.as_nanos() as u64, Relaxed);
    }

    pub(crate) fn read(&self) -> Waits {
        let mut waits =
            Waits { sum: Duration::from_nanos(self.sum_nanos.load(Relaxed)), ..Waits::default() };
        let mut all = 0;
        for (within, each) in waits.within.iter_mut().zip(&self.each) {
            all += each.load(Relaxed);
            *within = all;
        }
        waits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_wait_counts_for_its_bound_and_all_above() {
        let counting = Counting::default();
        for micros in [0, 25, 26, 1_000_000, 1_000_001] {
            counting.count(Duration::from_micros(micros));
        }
        let waits = counting.read();
        assert_eq!(waits.within, [2, 3, 3, 3, 3, 3, 3, 3, 3, 3, 4, 5]);
        assert_eq!(waits.sum, Duration::from_micros(2_000_052));
    }
}
