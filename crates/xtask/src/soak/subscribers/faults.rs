//! What was not as promised.

use std::collections::BTreeMap;

use crate::step::say;

#[derive(Default)]
pub(super) struct Faults {
    /// How often each, of whom first, and what that was.
    all: BTreeMap<&'static str, (usize, String)>,
    /// Events until one is thrown away, to see that this is noticed.
    until_lost: Option<usize>,
}

/// So much of what was wrong is shown.
const SHOWN: usize = 300;

impl Faults {
    /// Throws away the event of this number.
    pub(super) fn losing(event: Option<usize>) -> Self {
        Self { until_lost: event, ..Self::default() }
    }

    /// Whether the event that has come is the one to be thrown away.
    pub(super) fn loses_this(&mut self) -> bool {
        if let Some(until) = &mut self.until_lost {
            *until = until.saturating_sub(1);
            if *until == 0 {
                self.until_lost = None;
                return true;
            }
        }
        false
    }

    pub(super) fn note(&mut self, subscriber: usize, what: &'static str, shown: &str) {
        let first = || {
            let shown: String = shown.trim_end().chars().take(SHOWN).collect();
            format!("first {subscriber}: {shown}")
        };
        self.all.entry(what).or_insert_with(|| (0, first())).0 += 1;
    }

    /// Notes that something is not so.
    pub(super) fn hold(&mut self, is_so: bool, what: &'static str, shown: &str) {
        if !is_so {
            self.all.entry(what).or_insert_with(|| (0, shown.to_owned())).0 += 1;
        }
    }

    /// Tells all of them; how many kinds there are.
    pub(super) fn tell(&self) -> usize {
        for (what, (times, first)) in &self.all {
            say(&format!("BROKEN: {what} ({times} times; {first})"));
        }
        self.all.len()
    }
}
