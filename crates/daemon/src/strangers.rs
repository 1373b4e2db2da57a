use std::{
    future::poll_fn,
    io, mem,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Poll,
};

use common_tcp::Connection;
use tokio::{
    sync::SemaphorePermit,
    time::{Instant, sleep_until},
};

use crate::{
    account::{Account, Known},
    turn::Lane,
};

/// Where those stand of whom nothing good is known, once they have had their share of the daemon's
/// time: one at a time. Nobody else waits for them, and before that they wait for nobody.
///
/// There is one for each door: who may open the Unix socket waits for nobody who comes over TCP.
#[derive(Debug, Default)]
pub(crate) struct Strangers {
    lane: Lane,
    account: Mutex<Account>,
    known: Arc<Mutex<Known>>,
}

impl Strangers {
    /// Those of another door of the same daemon.
    pub(crate) fn elsewhere(&self) -> Self {
        Self { known: Arc::clone(&self.known), ..Self::default() }
    }

    /// The next turn of a stranger: without a place where they have credit, and nobody stands in
    /// line for it. Cancel safe.
    pub(crate) async fn wait(&self) -> Option<SemaphorePermit<'_>> {
        if self.lane.is_free() && self.overdrawn_until().is_none() {
            return None;
        }
        let place = self.lane.wait().await;
        self.wait_for_credit().await;
        Some(place)
    }

    /// What lets a stranger in: begins once there is credit, and is charged. Cancel safe if the
    /// future is.
    pub(crate) async fn admit<T>(&self, future: impl Future<Output = T>) -> T {
        self.wait_for_credit().await;
        self.charge(future).await
    }

    /// What is done for a stranger without waiting for credit. Cancel safe if the future is.
    pub(crate) async fn charge<T>(&self, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        poll_fn(|cx| self.charge_now(|| future.as_mut().poll(cx))).await
    }

    /// The same at once.
    pub(crate) fn charge_now<T>(&self, work: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        let done = work();
        let now = Instant::now();
        let is_known_there = lock(&self.known).is_there(now);
        self.lock().charge(now - begun, now, is_known_there);
        done
    }

    /// Somebody who is known has a turn now.
    pub(crate) fn note_known(&self, now: Instant) {
        lock(&self.known).note(now);
    }

    /// Reads until the guest's direction ends, and throws it away: turn by turn.
    pub(crate) async fn discard(&self, connection: &mut Connection, lane: &Lane) -> io::Result<()> {
        loop {
            let place = self.wait().await;
            let look = poll_fn(|cx| Poll::Ready(connection.poll_discard(cx)));
            let discarded = self.charge(look).await?;
            drop(place);
            match discarded {
                Poll::Ready(0) => return Ok(()),
                Poll::Ready(_) => drop(lane.wait().await),
                Poll::Pending => woken().await,
            }
        }
    }

    async fn wait_for_credit(&self) {
        while let Some(until) = self.overdrawn_until() {
            sleep_until(until).await;
        }
    }

    fn overdrawn_until(&self) -> Option<Instant> {
        self.lock().is_overdrawn_until(Instant::now())
    }

    fn lock(&self) -> MutexGuard<'_, Account> {
        lock(&self.account)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits for whatever wakes the task next.
pub(crate) async fn woken() {
    let mut is_awake = false;
    poll_fn(|_| match mem::replace(&mut is_awake, true) {
        true => Poll::Ready(()),
        false => Poll::Pending,
    })
    .await;
}

#[cfg(test)]
mod tests {
    use std::{future::ready, time::Duration};

    use super::*;

    /// Strangers that have had too much, and until when they have to wait.
    fn overdrawn() -> (Strangers, Instant) {
        let (strangers, now) = (Strangers::default(), Instant::now());
        strangers.note_known(now);
        strangers.lock().charge(Duration::from_secs(9), now, true);
        let until = strangers.lock().is_overdrawn_until(now);
        (strangers, until.expect("nine seconds are too much"))
    }

    async fn is_ready(future: impl Future) -> bool {
        let mut future = pin!(future);
        poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_ready())).await
    }

    #[tokio::test]
    async fn who_comes_by_another_door_waits_for_nobody_of_this_one() {
        let (strangers, _) = overdrawn();
        let elsewhere = strangers.elsewhere();
        assert!(!is_ready(strangers.wait()).await && is_ready(elsewhere.wait()).await);
        // Who is known is known to both.
        elsewhere.charge_now(|| std::thread::sleep(Duration::from_millis(20)));
        assert!(elsewhere.overdrawn_until().is_some());
    }

    #[tokio::test]
    async fn who_has_credit_stands_nowhere() {
        let strangers = Strangers::default();
        strangers.note_known(Instant::now());
        assert!(is_ready(strangers.wait()).await);
        assert!(strangers.wait().await.is_none());
    }

    #[tokio::test]
    async fn strangers_wait_for_credit_to_be_let_in_and_to_be_served() {
        let (strangers, until) = overdrawn();
        strangers.admit(ready(())).await;
        assert!(Instant::now() >= until);
        let (strangers, until) = overdrawn();
        strangers.wait().await;
        assert!(Instant::now() >= until);
    }

    #[tokio::test]
    async fn what_must_not_wait_is_only_charged() {
        let (strangers, _) = overdrawn();
        assert!(is_ready(strangers.charge(ready(()))).await);
    }

    #[tokio::test]
    async fn who_comes_stands_behind_those_who_stand_in_line_already() {
        let strangers = Strangers::default();
        let first = strangers.lane.wait().await;
        let mut second = pin!(strangers.wait());
        assert!(!is_ready(second.as_mut()).await);
        drop(first);
        assert!(second.await.is_some());
    }
}
