use std::time::Duration;

use tokio::{
    sync::{Semaphore, SemaphorePermit},
    task::yield_now,
    time::Instant,
};

use crate::outbox::told;

/// Until when one guest is served before others are.
///
/// It is time and not a count of bytes or packets, as others wait for nothing else: one packet can
/// cost a hundred times what another of the same length does.
#[derive(Debug)]
pub(crate) struct Turn {
    end: Instant,
    /// When it is over whatever was asked.
    latest: Instant,
    most_read: usize,
    least_answers: u32,
    /// The same where somebody is told something by them.
    telling_answers: u32,
    answers_a_look: u32,
    /// How often somebody had been told something when it began.
    told: u64,
    /// When the clock was looked at last, and how often it would have been.
    now: Instant,
    looks: u32,
}

/// Where guests stand that have had their turn and want more: one behind the other.
///
/// Whoever sends as fast as it can is always ready. Many of them, each ready again at once, would
/// let all others wait for as many turns as there are of them; from here only one at a time goes
/// on, after everybody else who is ready.
#[derive(Debug)]
pub(crate) struct Lane(Semaphore);

/// So long is everybody served who becomes ready: most want no more, and many may become ready at
/// once.
const SPRINT: Duration = Duration::from_micros(50);

/// So much is read of them at once: a few microseconds.
const SPRINT_READ: usize = 8 << 10;

/// So long is everybody served who has stood in line.
const TURN: Duration = Duration::from_micros(100);

/// So many answers belong to a turn even if they take longer, up to `LONGEST`: what is told to many
/// costs each of them a system call, so some of it had better come together.
const LEAST_ANSWERS: u32 = 16;

/// So many do where somebody is told something by them, of who has stood in line: only one at a
/// time has so long a turn.
const TELLING_ANSWERS: u32 = 256;

/// Twice before anything is read, and once after that.
const OTHER_LOOKS: u32 = 3;
const LONGEST: Duration = Duration::from_millis(4);

/// The clock costs as much as a part of a small answer, so it is looked at once for so many.
const ANSWERS_A_LOOK: u32 = 4;

impl Turn {
    /// Begins now, for who has just become ready.
    pub(crate) fn sprint() -> Self {
        Self::new(SPRINT, SPRINT_READ)
    }

    /// Begins now, for a stranger: what it asks may be dear, and nothing is owed to it.
    pub(crate) fn of_stranger() -> Self {
        Self { least_answers: 1, telling_answers: 1, answers_a_look: 1, ..Self::sprint() }
    }

    /// Begins now, for who has stood in line.
    pub(crate) fn full() -> Self {
        Self { telling_answers: TELLING_ANSWERS, ..Self::new(TURN, usize::MAX) }
    }

    fn new(length: Duration, most_read: usize) -> Self {
        let now = Instant::now();
        Self {
            end: now + length,
            latest: now + LONGEST,
            most_read,
            least_answers: LEAST_ANSWERS,
            telling_answers: LEAST_ANSWERS,
            answers_a_look: ANSWERS_A_LOOK,
            told: told(),
            now,
            looks: 0,
        }
    }

    /// About now: not before the turn began, and a few answers ago at most.
    pub(crate) fn now(&self) -> Instant {
        self.now
    }

    /// How many bytes may be read at once: what is read is gone through before the clock is looked
    /// at.
    pub(crate) fn most_read(&self) -> usize {
        self.most_read
    }

    /// Asked before each answer.
    pub(crate) fn is_over(&mut self) -> bool {
        self.looks += 1;
        if self.looks.is_multiple_of(self.answers_a_look) {
            self.now = Instant::now();
        }
        let is_end = self.now >= self.end && self.looks > self.least_looks();
        is_end || self.now >= self.latest
    }

    fn least_looks(&self) -> u32 {
        let is_telling = self.told != told();
        OTHER_LOOKS + if is_telling { self.telling_answers } else { self.least_answers }
    }
}

impl Lane {
    /// Whether nobody stands here.
    pub(crate) fn is_free(&self) -> bool {
        self.0.available_permits() > 0
    }

    /// The next turn; who holds what is returned has it, and nobody else of those who wait here.
    pub(crate) async fn wait(&self) -> SemaphorePermit<'_> {
        let place = self.0.acquire().await.expect("nobody closes the lane");
        // Those who are ready now, and those whom the kernel can make ready, come first.
        yield_now().await;
        place
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

    use common_tcp::Limits;
    use tokio::sync::Notify;

    use super::*;
    use crate::outbox::Outbox;

    /// How many answers a turn has whose time is over, but not the longest.
    fn answers(mut turn: Turn, mut answer: impl FnMut()) -> u32 {
        turn.latest = turn.now + Duration::from_secs(3600);
        turn.end = turn.now;
        let mut answers = 0;
        while !turn.is_over() {
            answer();
            answers += 1;
        }
        answers - OTHER_LOOKS
    }

    #[test]
    fn who_tells_others_something_has_a_longer_turn() {
        let outbox = Outbox::new(&Limits::default());
        let stream = outbox.start(None).unwrap();
        outbox.open(None);
        let mut tell = || assert!(outbox.emit(stream, "x", "1"));
        assert_eq!(answers(Turn::sprint(), || {}), LEAST_ANSWERS);
        assert_eq!(answers(Turn::full(), &mut tell), TELLING_ANSWERS);
        assert_eq!(answers(Turn::full(), || {}), LEAST_ANSWERS, "it was told in another one");
        outbox.take(&mut Vec::new(), usize::MAX);
        assert_eq!(answers(Turn::sprint(), &mut tell), LEAST_ANSWERS);
        outbox.take(&mut Vec::new(), usize::MAX);
        assert_eq!(answers(Turn::of_stranger(), &mut tell), 1);
    }

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
