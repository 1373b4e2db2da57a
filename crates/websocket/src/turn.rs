use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    sync::{
        mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
        oneshot,
    },
    task::yield_now,
    time::Instant,
};

/// Until when one peer is served before others are.
///
/// It is time and not a count of bytes or messages, as others wait for nothing else: one message
/// can cost a hundred times what another of the same length does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn {
    end: Instant,
    /// When it is over whatever was found.
    latest: Instant,
    most_read: usize,
    /// How many steps still belong to it even if they take longer.
    least: u32,
}

/// Where peers stand that have had their turn and want more: one behind the other.
///
/// Whoever sends as fast as it can is always ready. Many of them, each ready again at once, would
/// let all others wait for as many turns as there are of them; from here only one at a time goes
/// on, after everybody else who is ready.
///
/// There is one for all threads of a runtime. Where there are several, those who stand here share
/// what one of them has time for; that costs nothing while the others have enough to do.
#[derive(Debug)]
pub(crate) struct Lane(UnboundedSender<Standing>);

/// Who stands in a lane.
#[derive(Debug)]
struct Standing {
    call: oneshot::Sender<()>,
    is_newcomer: bool,
}

/// Calls those in a [`Lane`], and never waits for who was called: that one may have gone, or its
/// task may be at something else for a long time.
#[derive(Debug)]
pub(crate) struct Caller(UnboundedReceiver<Standing>);

/// A place in a [`Lane`]; done when it is called, or when nobody calls any more.
#[derive(Debug)]
pub(crate) struct Wait(oneshot::Receiver<()>);

/// So long is everybody served who becomes ready: most want no more, and many may become ready at
/// once.
const SPRINT: Duration = Duration::from_micros(20);

/// So much is read of them at once: a few microseconds.
const SPRINT_READ: usize = 8 << 10;

/// So long is everybody served who has stood in line.
const TURN: Duration = Duration::from_micros(100);

/// So many messages, or reads, belong to a turn even if they take longer, up to `LONGEST`: what is
/// told to many at once costs each of them a system call, so some of it had better come together.
const LEAST_STEPS: u32 = 16;
const LONGEST: Duration = Duration::from_millis(4);

/// The clock costs as much as a part of a small message, so it is looked at once for so many of
/// those.
const STEPS_A_LOOK: u32 = 4;

/// So many newcomers are called together. Where all are told of each, everybody would have a
/// system call for every one of them; a handshake takes a tenth of a millisecond.
const NEWCOMERS: u32 = 8;

impl Turn {
    /// Begins now, for who has just become ready.
    pub(crate) fn sprint() -> Self {
        Self::new(SPRINT, SPRINT_READ)
    }

    /// Begins now, for who has stood in line.
    pub(crate) fn full() -> Self {
        Self::new(TURN, usize::MAX)
    }

    fn new(length: Duration, most_read: usize) -> Self {
        let now = Instant::now();
        Self { end: now + length, latest: now + LONGEST, most_read, least: LEAST_STEPS }
    }

    /// How many bytes may be read at once: what is read is gone through before the clock is looked
    /// at.
    pub(crate) fn most_read(self) -> usize {
        self.most_read
    }

    /// Counts a message that was found, or a read.
    pub(crate) fn count(&mut self) {
        self.least = self.least.saturating_sub(1);
    }

    pub(crate) fn is_over(self) -> bool {
        if !self.least.is_multiple_of(STEPS_A_LOOK) {
            return false;
        }
        let now = Instant::now();
        let is_end = now >= self.end && self.least == 0;
        is_end || now >= self.latest
    }
}

impl Lane {
    /// A lane, and who calls those in it.
    pub(crate) fn new() -> (Self, Caller) {
        let (line, next) = unbounded_channel();
        (Self(line), Caller(next))
    }

    /// Takes the last place. Each connection takes one at a time, so there are no more than those.
    pub(crate) fn enter(&self) -> Wait {
        self.stand(false)
    }

    /// The same for a connection that has just come: some of those that follow each other are
    /// called together.
    pub(crate) fn come(&self) -> Wait {
        self.stand(true)
    }

    fn stand(&self, is_newcomer: bool) -> Wait {
        let (call, called) = oneshot::channel();
        // Where nobody calls, what is dropped here ends the wait.
        drop(self.0.send(Standing { call, is_newcomer }));
        Wait(called)
    }
}

impl Caller {
    /// Calls one after the other for as long as it is polled.
    pub(crate) async fn run(mut self) {
        let mut newcomers = 0;
        while let Some(Standing { call, is_newcomer }) = self.0.recv().await {
            if call.is_closed() {
                continue;
            }
            newcomers = if is_newcomer { newcomers % NEWCOMERS + 1 } else { 0 };
            if newcomers <= 1 {
                // Those who are ready now, and those whom the kernel can make ready, come first.
                yield_now().await;
            }
            // It may have gone just now.
            let _ = call.send(());
        }
    }
}

impl Future for Wait {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.0).poll(cx).map(drop)
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
        let (lane, caller) = Lane::new();
        let (lane, turns, bell) =
            (Arc::new(lane), Arc::<AtomicU32>::default(), Arc::<Notify>::default());
        tokio::spawn(caller.run());
        for _ in 0..100 {
            let (lane, turns, bell) = (Arc::clone(&lane), Arc::clone(&turns), Arc::clone(&bell));
            tokio::spawn(async move {
                loop {
                    lane.enter().await;
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

    #[tokio::test]
    async fn newcomers_are_called_some_at_a_time() {
        let (lane, caller) = Lane::new();
        let mut come: Vec<_> = (0..20).map(|_| lane.come()).collect();
        tokio::spawn(caller.run());
        let mut called = vec![];
        while !come.is_empty() {
            tokio::task::yield_now().await;
            let before = come.len();
            come.retain_mut(|it| it.0.try_recv().is_err());
            called.push(before - come.len());
        }
        called.retain(|it| *it > 0);
        assert_eq!(called, [8, 8, 4]);
    }

    #[tokio::test]
    async fn who_is_called_and_does_not_come_stops_nobody() {
        let (lane, caller) = Lane::new();
        let (away, gone, here) = (lane.enter(), lane.enter(), lane.enter());
        drop(gone);
        tokio::spawn(caller.run());
        here.await;
        away.await;
    }

    #[tokio::test]
    async fn without_a_caller_nobody_waits() {
        let (lane, caller) = Lane::new();
        let before = lane.enter();
        drop(caller);
        before.await;
        lane.enter().await;
    }
}
