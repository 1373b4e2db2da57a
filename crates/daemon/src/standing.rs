use std::time::Duration;

use tokio::time::Instant;

/// What is known of one guest: whoever comes is a stranger, and so again is who misbehaves.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    /// Since when it has done nothing but good.
    good_since: Option<Instant>,
    is_known: bool,
}

/// For so long a guest must have done nothing but good. One answer would prove nothing: anybody can
/// say `ping`, and who means ill comes anew rather than wait.
const PROBATION: Duration = Duration::from_secs(1);

impl Standing {
    pub(crate) fn is_known(&self) -> bool {
        self.is_known
    }

    /// A command of it was answered without failure.
    pub(crate) fn note_answer(&mut self, now: Instant) {
        self.good_since.get_or_insert(now);
    }

    /// It said what nobody can read, or something like that.
    pub(crate) fn note_misdeed(&mut self) {
        *self = Self::default();
    }

    /// All that it asked is answered, and it has taken the answers: who floods never gets here.
    pub(crate) fn note_rest(&mut self, now: Instant) {
        self.is_known |= self.good_since.is_some_and(|since| now >= since + PROBATION);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_answered_and_comes_to_rest_after_a_while_is_known_until_it_misbehaves() {
        let (mut standing, start) = (Standing::default(), Instant::now());
        standing.note_rest(start + PROBATION * 9);
        assert!(!standing.is_known(), "nothing was answered");
        standing.note_answer(start);
        standing.note_rest(start + PROBATION / 2);
        assert!(!standing.is_known(), "too early");
        standing.note_answer(start + PROBATION);
        assert!(!standing.is_known(), "it wants more and more");
        standing.note_rest(start + PROBATION);
        assert!(standing.is_known());
        standing.note_misdeed();
        assert!(!standing.is_known());
        standing.note_rest(start + PROBATION * 9);
        assert!(!standing.is_known(), "nothing was answered since");
    }
}
