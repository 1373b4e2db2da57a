//! When a sender must wait: one place for a WebSocket, for what is posted, and for guests.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::time::{Instant, sleep, timeout};

use super::{Relay, flags::Terms, rate::Rate};

/// How fast one sender is, by whichever ways its messages come.
#[derive(Debug, Default)]
pub(super) struct Meter {
    rate: Mutex<Rate>,
    /// Whether its WebSocket is not read.
    waits: AtomicBool,
}

/// How long a sender waits for room before those who leave most unread are closed.
const RELIEF: Duration = Duration::from_secs(1);

impl Meter {
    /// Whether its WebSocket is not read, so that nothing is heard of it.
    pub(super) fn waits(&self) -> bool {
        self.waits.load(Relaxed)
    }

    /// Says so.
    pub(super) fn set_waits(&self, waits: bool) {
        self.waits.store(waits, Relaxed);
    }

    /// Counts messages of so many bytes together; how long the sender waits then.
    fn count(&self, terms: &Terms, messages: u32, bytes: usize) -> Duration {
        if terms.limit_msgs == 0 && terms.limit_bytes == 0 {
            return Duration::ZERO;
        }
        let mut rate = self.rate.lock().unwrap_or_else(PoisonError::into_inner);
        rate.count(messages, bytes, terms.limit_msgs, terms.limit_bytes, Instant::now())
    }
}

impl Relay {
    /// Counts a message; whether its sender has to [rest](Relay::rest) before it says more, and for
    /// how long at least.
    pub(super) fn owes(&self, terms: &Terms, meter: &Meter, bytes: usize) -> Option<Duration> {
        let wait = meter.count(terms, 1, bytes);
        (!wait.is_zero() || self.has_no_room(terms)).then_some(wait)
    }

    /// Waits for so long, and until there is room; not beyond the end of the relay.
    pub(super) async fn rest(&self, terms: &Terms, wait: Duration) {
        let mut ending = self.0.ending.subscribe();
        let rested = async {
            sleep(wait).await;
            if self.has_no_room(terms) {
                self.wait_for_room(terms).await;
            }
        };
        // Both are cancel safe.
        tokio::select! {
            () = rested => {}
            _ = ending.wait_for(|ending| *ending) => {}
        }
    }

    /// Has who sends what was not asked for message by message wait until it may: before a body is
    /// read, as anybody can have any number of those under way.
    pub(super) async fn queue_up(&self, terms: &Terms, meter: &Meter) {
        let wait = meter.count(terms, 1, 0);
        if !wait.is_zero() {
            self.rest(terms, wait).await;
        }
    }

    /// Counts what has come of a message that had queued up, and waits as any sender does.
    pub(super) async fn settle(&self, terms: &Terms, meter: &Meter, bytes: usize) {
        let wait = meter.count(terms, 0, bytes);
        if !wait.is_zero() || self.has_no_room(terms) {
            self.rest(terms, wait).await;
        }
    }

    /// Whether all peers together leave too much unread.
    fn has_no_room(&self, terms: &Terms) -> bool {
        self.0.control.queued_bytes() > terms.queue_total
    }

    /// Waits until all peers together leave less unread, for a second; then those who leave most
    /// are closed.
    async fn wait_for_room(&self, terms: &Terms) {
        let most = terms.queue_total;
        if timeout(RELIEF, self.0.control.queued_at_most(most)).await.is_ok() {
            return;
        }
        let closed = self.hub().relieve(most);
        if closed > 0 {
            tracing::warn!(closed, most, "too much is left unread: closed those who leave most");
        }
    }
}
