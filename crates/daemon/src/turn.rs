use std::{future::poll_fn, io};

use common_tcp::Connection;
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    task::yield_now,
};

/// What has been done for a guest since it last had nothing to do for us.
///
/// It is measured in bytes, as the work that can be told before it is done; what costs without
/// bytes counts as some.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    bytes: usize,
}

/// Where guests stand that have had their turn and want more: one behind the other.
///
/// Whoever sends as fast as it can is always ready. Many of them, each ready again at once, would
/// let all others wait for as many turns as there are of them; from here only one at a time goes
/// on, after everybody else who is ready.
#[derive(Debug)]
pub(crate) struct Lane(Semaphore);

/// So much is done for one guest before others have their turn: some tenths of a millisecond.
pub(crate) const TURN_BYTES: usize = 32 << 10;

/// What a step costs beside the bytes that it moves.
const STEP_BYTES: usize = 2 << 10;

/// What an answer costs beside its bytes.
const ANSWER_BYTES: usize = 128;

impl Turn {
    pub(crate) fn is_over(&self) -> bool {
        self.bytes >= TURN_BYTES
    }

    pub(crate) fn read(&mut self, bytes: usize) {
        self.bytes += bytes;
    }

    pub(crate) fn answered(&mut self) {
        self.bytes += ANSWER_BYTES;
    }

    pub(crate) fn take_step(&mut self, written: usize) {
        self.bytes += STEP_BYTES + written;
    }
}

impl Lane {
    /// The next turn; who holds what is returned has it, and nobody else of those who wait here.
    pub(crate) async fn wait(&self) -> SemaphorePermit<'_> {
        let place = self.0.acquire().await.expect("nobody closes the lane");
        // Those who are ready now, and those whom the kernel can make ready, come first.
        yield_now().await;
        place
    }

    /// Reads until the guest's direction ends, and throws it away.
    pub(crate) async fn discard(&self, connection: &mut Connection) -> io::Result<()> {
        let mut turn = Turn::default();
        loop {
            match poll_fn(|cx| connection.poll_discard(cx)).await? {
                0 => return Ok(()),
                read => turn.read(read),
            }
            if turn.is_over() {
                drop(self.wait().await);
                turn = Turn::default();
            }
        }
    }
}

impl Default for Lane {
    fn default() -> Self {
        Self(Semaphore::new(1))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    };

    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn who_becomes_ready_waits_for_one_turn_however_many_want_more() {
        let (lane, turns, bell) =
            (Arc::<Lane>::default(), Arc::<AtomicU32>::default(), Arc::<Notify>::default());
        for _ in 0..100 {
            let (lane, turns, bell) = (Arc::clone(&lane), Arc::clone(&turns), Arc::clone(&bell));
            tokio::spawn(async move {
                loop {
                    let place = lane.wait().await;
                    turns.fetch_add(1, SeqCst);
                    bell.notify_one();
                    drop(place);
                }
            });
        }
        bell.notified().await;
        for _ in 0..1000 {
            let before = turns.load(SeqCst);
            bell.notified().await;
            assert!(turns.load(SeqCst) - before <= 1);
        }
    }
}
