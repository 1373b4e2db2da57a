//! When it is told that nothing can be written, and that changes are taken again: once each, and
//! not again and again where a disk has room for some and not for others.

use std::time::Duration;

use tokio::time::Instant;

/// What comes and goes within this is told once, with how often it was.
const QUIET: Duration = Duration::from_secs(10);

/// An outage that begins, or that goes on without having been told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outage {
    /// What the disk said.
    pub(super) error: String,
    /// How many changes were lost.
    pub(super) lost: usize,
}

/// What has been told of outages.
#[derive(Debug, Default)]
pub(super) struct Outages {
    /// When one was told last.
    told: Option<Instant>,
    /// How many were not, since then.
    untold: u64,
    now: Now,
}

#[derive(Debug, Default)]
enum Now {
    #[default]
    Fine,
    Told,
    Untold(Outage),
}

impl Outages {
    /// One begins; it is said unless another was just now.
    pub(super) fn begin(&mut self, outage: Outage, now: Instant) {
        self.now = Now::Untold(outage);
        self.untold += 1;
        self.say(now);
    }

    /// It goes on; it is said if it was not yet, and now may be.
    pub(super) fn say(&mut self, now: Instant) {
        if let Some((Outage { error, lost }, earlier)) = self.due(now) {
            let earlier = (earlier > 0).then_some(earlier);
            tracing::error!(error, lost, earlier, "nothing can be written");
        }
    }

    /// It is over, which is said if it was said that it began.
    pub(super) fn end(&mut self) {
        if self.is_told() {
            tracing::info!("changes are taken again");
        }
        self.now = Now::Fine;
    }

    /// Whether those who read the log know of it.
    pub(super) fn is_told(&self) -> bool {
        matches!(self.now, Now::Told)
    }

    /// What is to be said now, and how many before it were not.
    fn due(&mut self, now: Instant) -> Option<(Outage, u64)> {
        let is_quiet = self.told.is_some_and(|it| now.duration_since(it) < QUIET);
        if is_quiet || !matches!(self.now, Now::Untold(_)) {
            return None;
        }
        self.told = Some(now);
        let earlier = std::mem::take(&mut self.untold).saturating_sub(1);
        match std::mem::replace(&mut self.now, Now::Told) {
            Now::Untold(outage) => Some((outage, earlier)),
            Now::Fine | Now::Told => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outage(lost: usize) -> Outage {
        Outage { error: "full".to_owned(), lost }
    }

    /// What is said of an outage that begins.
    fn begin(outages: &mut Outages, lost: usize, now: Instant) -> Option<(Outage, u64)> {
        outages.now = Now::Untold(outage(lost));
        outages.untold += 1;
        outages.due(now)
    }

    #[test]
    fn one_that_comes_and_goes_is_told_once_in_a_while_with_how_often() {
        let (mut outages, start) = (Outages::default(), Instant::now());
        assert_eq!(begin(&mut outages, 1, start), Some((outage(1), 0)));
        assert!(outages.is_told());
        outages.end();
        for n in 1..=76 {
            assert_eq!(begin(&mut outages, 2, start + Duration::from_millis(80 * n)), None);
            assert!(!outages.is_told());
            outages.end();
        }
        assert_eq!(begin(&mut outages, 3, start + QUIET), Some((outage(3), 76)));
    }

    #[test]
    fn one_that_stays_is_told_as_soon_as_it_may() {
        let (mut outages, start) = (Outages::default(), Instant::now());
        begin(&mut outages, 1, start);
        outages.end();
        assert_eq!(begin(&mut outages, 2, start + QUIET / 2), None);
        assert_eq!(outages.due(start + QUIET * 3 / 4), None);
        assert_eq!(outages.due(start + QUIET), Some((outage(2), 0)));
        assert_eq!(outages.due(start + QUIET * 2), None, "once");
    }
}
