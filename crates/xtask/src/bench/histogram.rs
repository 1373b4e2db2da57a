//! Latencies, counted in buckets so that recording one allocates nothing.

use std::time::Duration;

/// A power of two is split into this many buckets (as a power of two): a value is off by 3 % at
/// most.
const SPLIT: u32 = 5;

/// Enough for every number of nanoseconds that 64 bits hold.
const BUCKETS: usize = ((64 - SPLIT as usize) << SPLIT) + (1 << SPLIT);

/// How often each latency was seen.
pub(crate) struct Histogram {
    buckets: Vec<u64>,
    total: u64,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Self { buckets: vec![0; BUCKETS], total: 0 }
    }

    pub(crate) fn record(&mut self, latency: Duration, times: u64) {
        let nanoseconds = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.buckets[bucket(nanoseconds)] += times;
        self.total += times;
    }

    pub(crate) fn clear(&mut self) {
        self.buckets.fill(0);
        self.total = 0;
    }

    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// The latency that `share` (0 to 1) of all stay at or below; zero when there are none.
    pub(crate) fn quantile(&self, share: f64) -> Duration {
        let wanted = (self.total as f64 * share).ceil() as u64;
        let mut seen = 0;
        let found = self.buckets.iter().position(|count| {
            seen += count;
            seen >= wanted
        });
        Duration::from_nanos(found.map_or(0, lower_bound))
    }
}

fn bucket(value: u64) -> usize {
    let shift = value.checked_ilog2().unwrap_or(0).saturating_sub(SPLIT);
    ((shift as usize) << SPLIT) + (value >> shift) as usize
}

fn lower_bound(bucket: usize) -> u64 {
    let shift = (bucket >> SPLIT).saturating_sub(1);
    ((bucket - (shift << SPLIT)) as u64) << shift
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_what_is_at_most_a_thirtieth_above_its_bound() {
        for value in (0..10_000).chain([1 << 30, u64::MAX / 3, u64::MAX]) {
            let bound = lower_bound(bucket(value));
            assert!(bound <= value && value - bound <= value / 30, "{value} {bound}");
        }
    }

    #[test]
    fn quantiles_of_a_thousand_different_latencies_are_where_they_belong() {
        let mut histogram = Histogram::new();
        (1..=1000).for_each(|n| histogram.record(Duration::from_micros(n), 1));
        for (share, microseconds) in [(0.5, 500.0), (0.99, 990.0), (1.0, 1000.0)] {
            let found = histogram.quantile(share).as_secs_f64() * 1e6;
            assert!((found / microseconds - 1.0).abs() < 0.04, "{share}: {found}");
        }
    }
}
