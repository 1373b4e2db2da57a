//! Who guesses tokens waits longer and longer for each answer, once he has guessed often enough.

use std::{collections::HashMap, net::IpAddr, time::Duration};

/// Wrong tokens of late, by address.
#[derive(Debug, Default)]
pub(super) struct Failures(HashMap<Option<IpAddr>, Recent>);

#[derive(Clone, Copy, Debug)]
struct Recent {
    since: Duration,
    count: u32,
}

/// So many in so much time are told at once.
const AT_ONCE: u32 = 5;
const WITHIN: Duration = Duration::from_secs(10);

/// And the others after this.
const DELAY: Duration = Duration::from_secs(1);

/// So many addresses are remembered; what is old goes first.
const ADDRESSES: usize = 4096;

impl Failures {
    /// Counts a wrong token at `now`; how long to wait before that is told.
    pub(super) fn count(&mut self, address: Option<IpAddr>, now: Duration) -> Duration {
        let is_recent = |it: &Recent| now.saturating_sub(it.since) < WITHIN;
        if self.0.len() >= ADDRESSES {
            self.0.retain(|_, it| is_recent(it));
        }
        if self.0.len() >= ADDRESSES && !self.0.contains_key(&address) {
            // So many guess at once: nobody is told at once.
            return DELAY;
        }
        let recent = self.0.entry(address).or_insert(Recent { since: now, count: 0 });
        if !is_recent(recent) {
            *recent = Recent { since: now, count: 0 };
        }
        recent.count = recent.count.saturating_add(1);
        if recent.count > AT_ONCE { DELAY } else { Duration::ZERO }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sixth_wrong_token_in_ten_seconds_is_told_later() {
        let mut failures = Failures::default();
        let [here, there] = [1, 2].map(|it| Some(IpAddr::from([127, 0, 0, it])));
        let at = Duration::from_secs;
        assert!((0..5).all(|it| failures.count(here, at(it)).is_zero()));
        assert_eq!(failures.count(here, at(9)), DELAY);
        assert!(failures.count(there, at(9)).is_zero());
        assert!(failures.count(here, at(10)).is_zero());
    }

    #[test]
    fn as_many_addresses_are_remembered_as_there_is_room_for() {
        let mut failures = Failures::default();
        let address = |it: u32| Some(IpAddr::from(it.to_be_bytes()));
        assert!((0..4096).all(|it| failures.count(address(it), Duration::ZERO).is_zero()));
        assert_eq!(failures.count(address(4096), Duration::ZERO), DELAY);
        assert!(failures.count(address(4096), WITHIN).is_zero());
        assert_eq!(failures.0.len(), 1);
    }
}
