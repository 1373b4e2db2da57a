use tokio::{sync::Semaphore, task::yield_now};

/// What has been done for a peer since it last had nothing to do for us.
///
/// It is measured in bytes, as the work that can be told before it is done; what costs without
/// bytes counts as some.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    bytes: usize,
}

/// Where peers stand that have had their turn and want more: one behind the other.
///
/// Whoever sends as fast as it can is always ready. Many of them, each ready again at once, would
/// let all others wait for as many turns as there are of them; from here only one at a time goes
/// on, after everybody else who is ready.
#[derive(Debug)]
pub(crate) struct Lane(Semaphore);

/// So much is done for one peer before others have their turn: some tenths of a millisecond.
const TURN_BYTES: usize = 32 << 10;

/// What a read costs beside its bytes.
const READ_BYTES: usize = 2 << 10;

/// What a message costs beside its bytes: it will have to be answered.
const MESSAGE_BYTES: usize = 128;

impl Turn {
    pub(crate) fn is_over(&self) -> bool {
        self.bytes >= TURN_BYTES
    }

    pub(crate) fn read(&mut self, bytes: usize) {
        self.bytes += READ_BYTES + bytes;
    }

    pub(crate) fn found_one(&mut self) {
        self.bytes += MESSAGE_BYTES;
    }
}

impl Lane {
    /// Waits for the next turn.
    pub(crate) async fn wait(&self) {
        let place = self.0.acquire().await.expect("nobody closes the lane");
        // Those who are ready now, and those whom the kernel can make ready, come first.
        yield_now().await;
        drop(place);
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
                    lane.wait().await;
                    turns.fetch_add(1, SeqCst);
                    bell.notify_one();
                }
            });
        }
        bell.notified().await;
        for _ in 0..1000 {
            let before = turns.load(SeqCst);
            bell.notified().await;
            let passed = turns.load(SeqCst) - before;
            assert!(passed <= 1, "{passed} had their turn");
        }
    }
}
