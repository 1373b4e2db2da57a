use std::{
    collections::{BTreeMap, HashMap},
    hash::{BuildHasher, RandomState},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

use crate::{CloseCode, End, Ping, outbox::Outbox};

/// When to look after which connection: one structure for all of them, and one who waits.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    begin: Instant,
    members: Mutex<Members>,
    last_id: AtomicU64,
    /// An earlier time than all others was entered.
    sooner: Notify,
    chance: RandomState,
}

/// All connections, by the time in microseconds at which they are looked after.
#[derive(Debug, Default)]
struct Members {
    due: BTreeMap<(u64, u64), Weak<Outbox>>,
    /// That time, by the connection's number.
    at: HashMap<u64, u64>,
}

/// The time of those who are never asked; they are here to be closed at the end.
const NEVER: u64 = u64::MAX;

impl Heartbeat {
    pub(crate) fn new() -> Self {
        Self {
            begin: Instant::now(),
            members: Mutex::default(),
            last_id: AtomicU64::new(0),
            sooner: Notify::new(),
            chance: RandomState::new(),
        }
    }

    pub(crate) fn begin(&self) -> Instant {
        self.begin
    }

    /// Microseconds of this clock.
    pub(crate) fn now(&self) -> u64 {
        self.begin.elapsed().as_micros() as u64
    }

    /// The number of another connection.
    pub(crate) fn next_id(&self) -> u64 {
        self.last_id.fetch_add(1, Relaxed)
    }

    /// Looks after a connection from now on.
    pub(crate) fn enter(&self, outbox: &Arc<Outbox>) {
        let due = outbox.ping.map_or(NEVER, |ping| self.jittered(self.now(), ping.interval));
        let mut members = self.lock();
        let is_first = members.due.first_key_value().is_none_or(|((first, _), _)| due < *first);
        members.put(due, outbox.id, Arc::downgrade(outbox));
        if is_first {
            self.sooner.notify_one();
        }
    }

    /// Has nothing more to do with it.
    pub(crate) fn leave(&self, outbox: &Outbox) {
        self.lock().remove(outbox.id);
    }

    /// Looks after all connections for as long as it is polled.
    pub(crate) async fn run(&self) {
        loop {
            let next = self.lock().due.first_key_value().map(|((due, _), _)| *due);
            match next.filter(|due| *due != NEVER) {
                // Both are cancel safe.
                Some(due) => tokio::select! {
                    () = sleep_until(self.at(due)) => self.look(),
                    () = self.sooner.notified() => {}
                },
                None => self.sooner.notified().await,
            }
        }
    }

    /// Closes all, each at a moment of its own within `spread`.
    pub(crate) async fn close_all(&self, code: CloseCode, spread: Duration) {
        let now = self.now();
        let mut moments: Vec<_> = std::mem::take(&mut *self.lock())
            .due
            .into_values()
            .map(|outbox| (now + self.chance_below(spread), outbox))
            .collect();
        moments.sort_by_key(|(at, _)| *at);
        for (at, outbox) in moments {
            sleep_until(self.at(at)).await;
            if let Some(outbox) = outbox.upgrade() {
                outbox.end(End::ByUs(code), "");
            }
        }
    }

    /// Looks after those whose time has come.
    fn look(&self) {
        let now = self.now();
        let mut members = self.lock();
        let later = members.due.split_off(&(now + 1, 0));
        for ((_, id), outbox) in std::mem::replace(&mut members.due, later) {
            match outbox.upgrade().and_then(|it| it.ping.map(|ping| (it, ping))) {
                Some((it, ping)) => members.put(self.look_at(&it, ping, now), id, outbox),
                None => members.remove(id),
            }
        }
    }

    /// When to look next.
    fn look_at(&self, outbox: &Outbox, ping: Ping, now: u64) -> u64 {
        let least = micros(ping.interval - ping.interval / 8);
        if now.saturating_sub(outbox.heard()) < least {
            return self.jittered(outbox.heard(), ping.interval);
        }
        outbox.ask(ping.most_lost);
        rounded(now + micros(ping.interval), ping.interval)
    }

    /// A little less than `interval` after `from`: all that came at once are not asked at once.
    fn jittered(&self, from: u64, interval: Duration) -> u64 {
        let spread = interval / 8;
        rounded(from + micros(interval - spread) + self.chance_below(spread), interval)
    }

    fn chance_below(&self, spread: Duration) -> u64 {
        // Whoever hashes a moment with a random key gets chance enough to spread load by.
        let chance = self.chance.hash_one(Instant::now());
        chance % micros(spread).max(1)
    }

    fn at(&self, micros: u64) -> Instant {
        self.begin + Duration::from_micros(micros)
    }

    fn lock(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Members {
    fn put(&mut self, due: u64, id: u64, outbox: Weak<Outbox>) {
        self.at.insert(id, due);
        self.due.insert((due, id), outbox);
    }

    fn remove(&mut self, id: u64) {
        if let Some(due) = self.at.remove(&id) {
            self.due.remove(&(due, id));
        }
    }
}

/// A time that many share, so that one wake-up does for them.
fn rounded(at: u64, interval: Duration) -> u64 {
    at.next_multiple_of((micros(interval) / 64).max(1))
}

fn micros(duration: Duration) -> u64 {
    duration.as_micros() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SocketLimits;

    #[test]
    fn who_leaves_is_not_kept_whether_it_is_asked_or_not() {
        let heartbeat = Heartbeat::new();
        let often = Ping { interval: Duration::from_secs(1), most_lost: 1 };
        for ping in [None, Some(often)] {
            let enter = || {
                let limits = SocketLimits::default();
                let outbox =
                    Arc::new(Outbox::new(limits, ping, &heartbeat, Duration::ZERO, Arc::default()));
                heartbeat.enter(&outbox);
                outbox
            };
            let (one, two) = (enter(), enter());
            heartbeat.leave(&one);
            let members = heartbeat.lock();
            assert_eq!((members.due.len(), members.at.len()), (1, 1));
            drop(members);
            heartbeat.leave(&two);
            assert_eq!(Arc::weak_count(&one), 0);
            assert!(heartbeat.lock().due.is_empty());
        }
    }
}
