//! How fast a peer sends.

use std::time::Duration;

use tokio::time::Instant;

/// When the next message of a peer may be taken.
#[derive(Debug, Default)]
pub(super) struct Rate {
    /// When all messages, and all bytes, would have come at the steady rate.
    messages: Option<Instant>,
    bytes: Option<Instant>,
}

/// So much may come at once before that counts.
const BURST: Duration = Duration::from_secs(1);

impl Rate {
    /// Counts messages of so many bytes together at `now`; how long to wait before the next. A rate
    /// of 0 is none.
    pub(super) fn count(
        &mut self,
        messages: u32,
        bytes: usize,
        messages_a_second: u32,
        bytes_a_second: u32,
        now: Instant,
    ) -> Duration {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let one = advance(&mut self.messages, messages, messages_a_second, now);
        one.max(advance(&mut self.bytes, bytes, bytes_a_second, now))
    }
}

fn advance(due: &mut Option<Instant>, units: u32, a_second: u32, now: Instant) -> Duration {
    if a_second == 0 {
        return Duration::ZERO;
    }
    let took = Duration::from_secs_f64(f64::from(units) / f64::from(a_second));
    let next = due.map_or(now, |due| due.max(now)) + took;
    *due = Some(next);
    next.saturating_duration_since(now + BURST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_s_worth_comes_at_once_and_the_rest_in_time() {
        let (mut rate, now) = (Rate::default(), Instant::now());
        let mut wait = |ms, bytes| rate.count(1, bytes, 10, 1000, now + Duration::from_millis(ms));
        assert!((0..10).all(|_| wait(0, 1) == Duration::ZERO));
        assert_eq!(wait(0, 1), Duration::from_millis(100));
        assert_eq!(wait(100, 1), Duration::from_millis(100));
        assert_eq!(wait(5000, 3000), Duration::from_secs(2));
        assert_eq!(Rate::default().count(1, 1 << 30, 0, 0, now), Duration::ZERO);
    }
}
