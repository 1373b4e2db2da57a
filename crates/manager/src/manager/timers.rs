use std::{
    collections::{BTreeMap, BTreeSet},
    future::pending,
};

use tokio::time::{Instant, sleep_until};

use crate::{child::Timer, name::Name};

/// The timer of each daemon that has one.
#[derive(Debug, Default)]
pub(super) struct Timers {
    of: BTreeMap<Name, (Instant, Timer)>,
    /// The same by time.
    next: BTreeSet<(Instant, Name)>,
}

impl Timers {
    /// Sets a daemon's timer, in the place of its old one.
    pub(super) fn set(&mut self, name: &Name, timer: Timer, at: Instant) {
        self.clear(name);
        self.of.insert(name.clone(), (at, timer));
        self.next.insert((at, name.clone()));
    }

    /// Forgets a daemon's timer.
    pub(super) fn clear(&mut self, name: &Name) {
        if let Some((at, _)) = self.of.remove(name) {
            self.next.remove(&(at, name.clone()));
        }
    }

    /// The next timer that is over; waits for ever if there is none. Cancel safe.
    pub(super) async fn elapsed(&mut self) -> (Name, Timer) {
        let Some((at, name)) = self.next.first().cloned() else { return pending().await };
        sleep_until(at).await;
        self.next.pop_first();
        match self.of.remove(&name) {
            Some((_, timer)) => (name, timer),
            None => pending().await,
        }
    }
}
