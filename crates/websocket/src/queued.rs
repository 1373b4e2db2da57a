use std::{
    pin::pin,
    sync::atomic::{
        AtomicUsize,
        Ordering::{Relaxed, SeqCst},
    },
};

use tokio::sync::Notify;

/// How many bytes wait for all peers of a server together.
#[derive(Debug, Default)]
pub(crate) struct Queued {
    bytes: AtomicUsize,
    /// How many wait for there to be fewer.
    waiting: AtomicUsize,
    fewer: Notify,
}

/// Somebody who waits, as long as this lives.
struct Waiting<'a>(&'a AtomicUsize);

impl Queued {
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Relaxed)
    }

    /// What waits for one peer was `before` and is `now`.
    pub(crate) fn change(&self, before: usize, now: usize) {
        if now >= before {
            self.bytes.fetch_add(now - before, SeqCst);
            return;
        }
        self.bytes.fetch_sub(before - now, SeqCst);
        if self.waiting.load(SeqCst) > 0 {
            self.fewer.notify_waiters();
        }
    }

    /// Waits until there are at most so many. Cancel safe.
    pub(crate) async fn at_most(&self, bytes: usize) {
        let _waiting = Waiting::new(&self.waiting);
        loop {
            let mut fewer = pin!(self.fewer.notified());
            fewer.as_mut().enable();
            if self.bytes.load(SeqCst) <= bytes {
                return;
            }
            fewer.await;
        }
    }
}

impl<'a> Waiting<'a> {
    fn new(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, SeqCst);
        Self(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn who_waits_is_woken_when_there_are_few_enough() {
        let queued = Arc::<Queued>::default();
        queued.at_most(0).await;
        queued.change(0, 100);
        let waiting = tokio::spawn({
            let queued = Arc::clone(&queued);
            async move { queued.at_most(10).await }
        });
        tokio::task::yield_now().await;
        queued.change(100, 11);
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        queued.change(11, 10);
        waiting.await.unwrap();
        assert_eq!((queued.bytes(), queued.waiting.load(SeqCst)), (10, 0));
    }
}
