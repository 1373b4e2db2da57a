use std::{
    collections::{BTreeMap, BTreeSet},
    future::pending,
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

use crate::{child::Timer, name::Name};

/// So late is a timer only if this process did not run: it was stopped, or the machine slept.
const LATE: Duration = Duration::from_secs(1);

/// How long a late timer waits once more, so that what has happened meanwhile is heard before it:
/// that a child is ready, or has ended. Time for several looks at one that starts.
const CATCH_UP: Duration = Duration::from_secs(1);

/// The timer of each daemon that has one.
#[derive(Debug, Default)]
pub(super) struct Timers {
    of: BTreeMap<Name, Due>,
    /// The same by time.
    next: BTreeSet<(Instant, Name)>,
}

#[derive(Clone, Copy, Debug)]
struct Due {
    at: Instant,
    timer: Timer,
    /// Whether it has been put off; that happens once.
    is_late: bool,
}

impl Timers {
    /// Sets a daemon's timer, in the place of its old one.
    pub(super) fn set(&mut self, name: &Name, timer: Timer, at: Instant) {
        self.put(name, Due { at, timer, is_late: false });
    }

    /// Forgets a daemon's timer.
    pub(super) fn clear(&mut self, name: &Name) {
        if let Some(Due { at, .. }) = self.of.remove(name) {
            self.next.remove(&(at, name.clone()));
        }
    }

    /// The next timer that is over; waits for ever if there is none. Cancel safe.
    pub(super) async fn elapsed(&mut self) -> (Name, Timer) {
        loop {
            let Some((at, name)) = self.next.first().cloned() else { return pending().await };
            sleep_until(at).await;
            let Some(&due) = self.of.get(&name) else { return pending().await };
            let now = Instant::now();
            if due.is_late || now < at + LATE {
                self.clear(&name);
                return (name, due.timer);
            }
            self.put(&name, Due { at: now + CATCH_UP, is_late: true, ..due });
        }
    }

    fn put(&mut self, name: &Name, due: Due) {
        self.clear(name);
        self.of.insert(name.clone(), due);
        self.next.insert((due.at, name.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_timer_that_is_heard_late_waits_once_more_for_what_happened_meanwhile() {
        let [late, timely] = ["Late", "Timely"].map(|it| Name::new(it).unwrap());
        let now = Instant::now();
        let mut timers = Timers::default();
        timers.set(&late, Timer(1), now.checked_sub(Duration::from_secs(10)).unwrap());
        timers.set(&timely, Timer(2), now + Duration::from_millis(100));

        assert_eq!(timers.elapsed().await, (timely, Timer(2)));
        assert_eq!(timers.elapsed().await, (late, Timer(1)));
        assert!(now.elapsed() >= CATCH_UP);
    }
}
