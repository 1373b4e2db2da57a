use std::time::Duration;

/// When an id went from one connection to another, as far back as it matters.
///
/// Two processes that were given the same id would take it from each other for ever: each is
/// replaced, and comes back at once.
#[derive(Clone, Copy, Debug, Default)]
pub struct Changes([Option<Duration>; MOST]);

/// So many changes in so much time are no accident.
const MOST: usize = 3;
const WITHIN: Duration = Duration::from_secs(10);

impl Changes {
    /// The same with one more, at `now`.
    #[must_use]
    pub fn and(self, now: Duration) -> Self {
        let [_, second, third] = self.0;
        Self([second, third, Some(now)])
    }

    /// Whether the id is disputed at `now`: then whoever has it keeps it as long as it lives.
    #[must_use]
    pub fn are_too_many(&self, now: Duration) -> bool {
        self.0[0].is_some_and(|first| now.saturating_sub(first) <= WITHIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_changes_in_ten_seconds_are_too_many() {
        let at = Duration::from_secs;
        let twice = Changes::default().and(at(100)).and(at(101));
        assert!(!twice.are_too_many(at(101)));
        let thrice = twice.and(at(102));
        assert!(thrice.are_too_many(at(102)) && thrice.are_too_many(at(110)));
        assert!(!thrice.are_too_many(at(111)));
        assert!(thrice.and(at(103)).are_too_many(at(111)));
    }
}
