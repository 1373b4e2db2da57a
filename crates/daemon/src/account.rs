use std::time::Duration;

use tokio::time::Instant;

/// How much of the daemon's time strangers have taken: a bounded share of it, while there is
/// somebody who is known.
///
/// A daemon that serves all who come as fast as it can is saturated by who means ill. Then each
/// answer waits for what was begun before it, and the kernel, for which the daemon has had more
/// than its part, lets others go first.
#[derive(Debug, Default)]
pub(crate) struct Account {
    /// When all that they took would have been taken at their share.
    due: Option<Instant>,
}

/// When somebody known had a turn last, by whatever door.
#[derive(Debug, Default)]
pub(crate) struct Known(Option<Instant>);

/// Strangers have one part of so many.
const PARTS: u32 = 12;

/// So much may be taken at once before that counts: a crowd that comes once is let in at once.
const BURST: Duration = Duration::from_millis(2);

/// So far nobody goes into debt, however long a single turn took.
const MOST_DEBT: Duration = Duration::from_secs(1);

/// For so long somebody known is taken into account after its last turn.
const MEMORY: Duration = Duration::from_secs(10);

impl Known {
    /// Somebody known has a turn.
    pub(crate) fn note(&mut self, now: Instant) {
        self.0 = Some(now);
    }

    /// Whether there is somebody.
    pub(crate) fn is_there(&self, now: Instant) -> bool {
        self.0.is_some_and(|then| now < then + MEMORY)
    }
}

impl Account {
    /// Strangers have taken so much, while somebody known was there or not.
    pub(crate) fn charge(&mut self, taken: Duration, now: Instant, is_known_there: bool) {
        if is_known_there {
            let due = self.due.map_or(now, |due| due.max(now)) + taken * PARTS;
            self.due = Some(due.min(now + BURST * PARTS + MOST_DEBT));
        } else {
            self.due = None;
        }
    }

    /// Until when strangers have to wait.
    pub(crate) fn is_overdrawn_until(&self, now: Instant) -> Option<Instant> {
        self.due.and_then(|due| due.checked_sub(BURST * PARTS)).filter(|until| *until > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_burst_is_taken_at_once_and_then_a_share() {
        let (mut account, start) = (Account::default(), Instant::now());
        account.charge(BURST, start, true);
        assert_eq!(account.is_overdrawn_until(start), None);
        account.charge(MS, start, true);
        let until = start + MS * PARTS;
        assert_eq!(account.is_overdrawn_until(start), Some(until));
        assert_eq!(account.is_overdrawn_until(until), None);
        account.charge(MS, until, true);
        assert_eq!(account.is_overdrawn_until(until), Some(until + MS * PARTS));
    }

    #[test]
    fn strangers_may_have_all_where_nobody_is_known() {
        let (mut account, start) = (Account::default(), Instant::now());
        account.charge(BURST * 9, start, false);
        assert_eq!(account.is_overdrawn_until(start), None);
        let mut known = Known::default();
        assert!(!known.is_there(start));
        known.note(start);
        assert!(known.is_there(start) && !known.is_there(start + MEMORY));
    }

    #[test]
    fn debts_are_bounded() {
        let (mut account, start) = (Account::default(), Instant::now());
        account.charge(MOST_DEBT * 99, start, true);
        assert_eq!(account.is_overdrawn_until(start), Some(start + MOST_DEBT));
    }
}
