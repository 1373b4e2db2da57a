use std::{
    collections::BTreeMap,
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

use crate::{End, Ping, outbox::Outbox};

/// When to look after which connection: one structure for all of them, and one who waits.
#[derive(Debug)]
pub(crate) struct Pulse {
    begin: Instant,
    ping: Option<Ping>,
    /// Connections by the time in milliseconds at which they are looked after.
    due: Mutex<BTreeMap<u64, Vec<Weak<Outbox>>>>,
    /// An earlier time than all others was entered.
    sooner: Notify,
    chance: RandomState,
}

/// The time of those who are never asked; they are here to be closed at the end.
const NEVER: u64 = u64::MAX;

impl Pulse {
    pub(crate) fn new(ping: Option<Ping>) -> Self {
        Self {
            begin: Instant::now(),
            ping,
            due: Mutex::default(),
            sooner: Notify::new(),
            chance: RandomState::new(),
        }
    }

    /// Milliseconds of this clock.
    pub(crate) fn now(&self) -> u64 {
        self.begin.elapsed().as_millis() as u64
    }

    /// Looks after a connection from now on.
    pub(crate) fn enter(&self, outbox: &Arc<Outbox>) {
        let due = self.ping.map_or(NEVER, |ping| self.jittered(self.now(), ping.interval));
        self.put(due, Arc::downgrade(outbox));
    }

    /// Looks after all connections for as long as it is polled.
    pub(crate) async fn run(&self) {
        let Some(ping) = self.ping else { return std::future::pending().await };
        loop {
            let next = self.lock().first_key_value().map(|(due, _)| *due);
            match next {
                // Both are cancel safe.
                Some(due) => tokio::select! {
                    () = sleep_until(self.begin + Duration::from_millis(due)) => self.look(ping),
                    () = self.sooner.notified() => {}
                },
                None => self.sooner.notified().await,
            }
        }
    }

    /// Closes all, each at a moment of its own within `spread`.
    pub(crate) async fn close_all(&self, code: u16, spread: Duration) {
        let now = self.now();
        let mut moments: Vec<_> = std::mem::take(&mut *self.lock())
            .into_values()
            .flatten()
            .map(|outbox| (now + self.chance_below(spread), outbox))
            .collect();
        moments.sort_by_key(|(at, _)| *at);
        for (at, outbox) in moments {
            sleep_until(self.begin + Duration::from_millis(at)).await;
            if let Some(outbox) = outbox.upgrade() {
                outbox.end(End::ByUs(code), "");
            }
        }
    }

    /// Looks after those whose time has come.
    fn look(&self, ping: Ping) {
        let now = self.now();
        let due = {
            let mut all = self.lock();
            let later = all.split_off(&(now + 1));
            std::mem::replace(&mut *all, later)
        };
        for outbox in due.into_values().flatten().filter_map(|it| it.upgrade()) {
            if !outbox.has_ended() {
                self.put(self.look_at(&outbox, ping, now), Arc::downgrade(&outbox));
            }
        }
    }

    /// When to look next.
    fn look_at(&self, outbox: &Outbox, ping: Ping, now: u64) -> u64 {
        let least = (ping.interval - ping.interval / 8).as_millis() as u64;
        if now.saturating_sub(outbox.heard()) < least {
            return self.jittered(outbox.heard(), ping.interval);
        }
        outbox.ask(ping.most_lost);
        self.rounded(now + ping.interval.as_millis() as u64)
    }

    fn put(&self, due: u64, outbox: Weak<Outbox>) {
        let mut all = self.lock();
        let is_first = all.first_key_value().is_none_or(|(first, _)| due < *first);
        all.entry(due).or_default().push(outbox);
        if is_first {
            self.sooner.notify_one();
        }
    }

    /// A little less than `interval` after `from`: all that came at once are not asked at once.
    fn jittered(&self, from: u64, interval: Duration) -> u64 {
        let spread = interval / 8;
        self.rounded(from + (interval - spread).as_millis() as u64 + self.chance_below(spread))
    }

    /// A time that many share, so that one wake-up does for them.
    fn rounded(&self, at: u64) -> u64 {
        let grain = self.ping.map_or(1, |it| (it.interval.as_millis() as u64 / 64).max(1));
        at.next_multiple_of(grain)
    }

    fn chance_below(&self, spread: Duration) -> u64 {
        // Whoever hashes a moment with a random key gets chance enough to spread load by.
        let chance = self.chance.hash_one(Instant::now());
        chance % (spread.as_millis() as u64).max(1)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Vec<Weak<Outbox>>>> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
