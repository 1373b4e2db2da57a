use std::{
    future::poll_fn,
    io, mem,
    pin::pin,
    sync::{Mutex, MutexGuard, PoisonError},
    task::Poll,
};

use common_tcp::Connection;
use tokio::{
    sync::SemaphorePermit,
    time::{Instant, sleep_until},
};

use crate::{account::Account, turn::Lane};

/// Where all stand of whom nothing good is known: one at a time, and only for a share of the
/// daemon's time. Nobody else waits for them.
#[derive(Debug, Default)]
pub(crate) struct Strangers {
    lane: Lane,
    account: Mutex<Account>,
}

/// A stranger's turn, which is charged when it ends.
#[derive(Debug)]
pub(crate) struct StrangersTurn<'a> {
    account: &'a Mutex<Account>,
    begun: Instant,
    _place: SemaphorePermit<'a>,
}

impl Strangers {
    /// The next turn of a stranger. Cancel safe.
    pub(crate) async fn wait(&self) -> StrangersTurn<'_> {
        let place = self.lane.wait().await;
        self.wait_for_credit().await;
        StrangersTurn { account: &self.account, begun: Instant::now(), _place: place }
    }

    /// What is done for strangers where nobody waits behind them: begins once there is credit, and
    /// is charged. Cancel safe if the future is.
    pub(crate) async fn charge<T>(&self, future: impl Future<Output = T>) -> T {
        self.wait_for_credit().await;
        let mut future = pin!(future);
        poll_fn(|cx| self.charge_now(|| future.as_mut().poll(cx))).await
    }

    /// The same without waiting.
    pub(crate) fn charge_now<T>(&self, work: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        let done = work();
        charge(&self.account, begun);
        done
    }

    /// Somebody who is known has a turn now.
    pub(crate) fn note_known(&self, now: Instant) {
        lock(&self.account).note_known(now);
    }

    /// Ends our direction and reads on until the guest's ends: to close with unread bytes would
    /// destroy replies that are still on their way. Gives the turn in which to close.
    pub(crate) async fn part(&self, connection: &mut Connection) -> io::Result<StrangersTurn<'_>> {
        let mut turn = self.wait().await;
        connection.finish().await?;
        loop {
            match poll_fn(|cx| Poll::Ready(connection.poll_discard(cx))).await? {
                Poll::Ready(0) => return Ok(turn),
                Poll::Ready(_) => drop(turn),
                Poll::Pending => {
                    drop(turn);
                    woken().await;
                }
            }
            turn = self.wait().await;
        }
    }

    async fn wait_for_credit(&self) {
        loop {
            let until = lock(&self.account).is_overdrawn_until(Instant::now());
            match until {
                Some(until) => sleep_until(until).await,
                None => return,
            }
        }
    }
}

impl Drop for StrangersTurn<'_> {
    fn drop(&mut self) {
        charge(self.account, self.begun);
    }
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

fn charge(account: &Mutex<Account>, begun: Instant) {
    let now = Instant::now();
    lock(account).charge(now - begun, now);
}

fn lock(account: &Mutex<Account>) -> MutexGuard<'_, Account> {
    account.lock().unwrap_or_else(PoisonError::into_inner)
}
