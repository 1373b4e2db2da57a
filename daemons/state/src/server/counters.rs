//! What has been done, and what not.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use journal::Progress;
use serde_json::{Value, json};
use state::decide::Answer;

/// So many groups tell how the disk is doing.
const GROUPS: usize = 1024;

/// Since the start.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) commits: u64,
    /// What was refused, by code.
    pub(crate) refused: BTreeMap<String, u64>,
    pub(crate) login_failures: u64,
    /// Registrations that have fired, and those of them that were not allowed to delete anything.
    pub(crate) fired: u64,
    pub(crate) not_allowed: u64,
    /// The last groups: records, and how long each took to be durable.
    groups: VecDeque<(u64, Duration)>,
    seen: u64,
}

impl Counters {
    /// Counts a refusal.
    pub(crate) fn count_refused(&mut self, code: &str) {
        // There are few codes, and they are ours.
        *self.refused.entry(code.to_owned()).or_default() += 1;
    }

    /// Counts what became of registrations that were due.
    pub(crate) fn count_fired(&mut self, answers: &[Answer]) {
        let count = |what: fn(&Answer) -> bool| answers.iter().filter(|it| what(it)).count() as u64;
        self.fired += count(|it| matches!(it, Answer::Done | Answer::Dropped));
        self.not_allowed += count(|it| *it == Answer::Dropped);
    }

    /// Notes the last group.
    pub(crate) fn note(&mut self, progress: &Progress) {
        let groups = progress.groups();
        if groups.count == self.seen {
            return;
        }
        self.seen = groups.count;
        if self.groups.len() == GROUPS {
            self.groups.pop_front();
        }
        self.groups.push_back((groups.records, groups.took));
    }

    /// How many groups there were, and of the last ones how large and how slow they were.
    pub(crate) fn groups(&self) -> Value {
        let mut records: Vec<u64> = self.groups.iter().map(|it| it.0).collect();
        let mut us: Vec<u64> = self.groups.iter().map(|it| it.1.as_micros() as u64).collect();
        records.sort_unstable();
        us.sort_unstable();
        json!({
            "count": self.seen,
            "records": { "p50": percentile(&records, 50), "p99": percentile(&records, 99) },
            "us": { "p50": percentile(&us, 50), "p99": percentile(&us, 99) },
        })
    }
}

/// The value that so many percent do not exceed.
fn percentile(sorted: &[u64], percent: usize) -> u64 {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_value_that_was_there() {
        let hundred: Vec<u64> = (1..=100).collect();
        assert_eq!((percentile(&hundred, 50), percentile(&hundred, 99)), (50, 99));
        assert_eq!((percentile(&[7], 50), percentile(&[7], 99), percentile(&[], 50)), (7, 7, 0));
    }
}
