use std::time::Duration;

use tokio::time::Instant;

/// What a daemon asks of its guests besides the [`Limits`](crate::Limits) of a connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct Admission {
    /// How fast a guest may ask; a request beyond it is answered `rate-limited`.
    pub rate: Option<Rate>,
    /// What holds instead for a guest that is not authenticated.
    pub newcomers: Option<Newcomers>,
}

/// So many requests a second, and so many at once before that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// At least 1.
    pub per_second: u32,
    /// At least 1.
    pub burst: u32,
}

/// The bounds of a guest of whom nothing is known.
#[derive(Clone, Copy, Debug)]
pub struct Newcomers {
    /// The longest packet; `hello` tells it until the guest is authenticated.
    pub packet_bytes: usize,
    /// How fast it may ask.
    pub rate: Rate,
    /// How long it may say nothing.
    pub idle: Duration,
}

/// How fast one guest has asked so far.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// When all that was asked would have been asked at the steady rate.
    due: Option<Instant>,
}

impl Pace {
    /// Counts a request, unless it is one too many at `now`.
    pub(crate) fn allows(&mut self, rate: Rate, now: Instant) -> bool {
        let share = Duration::from_secs(1) / rate.per_second.max(1);
        let due = self.due.map_or(now, |due| due.max(now));
        let is_allowed = due + share <= now + share * rate.burst.max(1);
        if is_allowed {
            self.due = Some(due + share);
        }
        is_allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_allowed_and_then_the_steady_rate() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        let rate = Rate { per_second: 10, burst: 3 };
        let mut asked = |ms| pace.allows(rate, start + Duration::from_millis(ms));
        assert_eq!([0, 0, 0, 0, 99].map(&mut asked), [true, true, true, false, false]);
        assert_eq!([100, 100, 200].map(&mut asked), [true, false, true]);
        assert_eq!([5000, 5000, 5000, 5000].map(&mut asked), [true, true, true, false]);
    }
}
