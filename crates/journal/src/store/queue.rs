//! What waits to be written: the caller's end and the writer's.

use std::{
    mem,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{oneshot, watch},
    time::Instant,
};

use super::{
    Options,
    record::{Frame, Kind, room},
};
use crate::{
    AppendError, Expected, Failure, Groups, KEY_BYTES, Progress, Receipt, Record, Revision,
    keys::{Durable, Keys},
    progress::State,
};

/// The longest record, whatever is allowed: a length has four bytes.
const MOST: usize = 1 << 30;

/// Records that are written and synced together.
#[derive(Debug, Default)]
pub(crate) struct Group {
    pub(crate) bytes: Vec<u8>,
    pub(crate) first: Revision,
    /// The revision after its last.
    pub(crate) next: Revision,
}

/// Told once whether the journal takes records again.
pub(crate) type Answer = oneshot::Sender<Result<Revision, Failure>>;

/// What the writer does next.
#[derive(Debug)]
pub(crate) enum Job {
    Write(Group),
    /// For all who have asked.
    Mend(Vec<Answer>),
    End,
}

/// The line of records, and how far it has got.
#[derive(Debug)]
pub(crate) struct Queue {
    line: Mutex<Line>,
    /// Wakes the writer.
    work: Condvar,
    progress: watch::Sender<State>,
    id: u64,
    options: Options,
}

#[derive(Debug)]
struct Line {
    /// The next group, as it will be written.
    group: Group,
    keys: Keys,
    term: u64,
    failure: Option<Failure>,
    /// Who waits for the journal to be mended.
    mend: Vec<Answer>,
    /// How many records the writer waits for, if it waits. Waking it costs a system call, so it is
    /// woken only then.
    wanted: Option<u64>,
    /// How many records the last group had, and how many were in line when it was durable.
    expected: u64,
    /// How long that group took.
    took: Duration,
    is_ending: bool,
}

impl Queue {
    pub(crate) fn new(id: u64, next: Revision, keys: Keys, options: Options) -> Self {
        let line = Line {
            group: Group { bytes: Vec::new(), first: next, next },
            keys,
            term: 0,
            failure: None,
            mend: Vec::new(),
            wanted: None,
            expected: 0,
            took: Duration::ZERO,
            is_ending: false,
        };
        let progress = watch::Sender::new(State::at(next - 1));
        Self { line: Mutex::new(line), work: Condvar::new(), progress, id, options }
    }

    pub(crate) fn append(
        &self,
        record: Record<'_>,
        expected: Expected,
    ) -> Result<Receipt, AppendError> {
        let mut line = self.lock();
        if let Some(failure) = &line.failure {
            return Err(AppendError::ReadOnly(failure.clone()));
        }
        self.check_size(&line, record)?;
        line.keys.check(line.group.next - 1, record.key, expected)?;
        let Group { first, next: revision, .. } = line.group;
        let Record { key, bytes } = record;
        let frame = Frame { kind: Kind::Record, revision, group: first, key, bytes };
        frame.encode(self.id, &mut line.group.bytes);
        line.group.next += 1;
        line.keys.append(key, revision);
        let receipt = Receipt { term: line.term, revision };
        if line.wanted.is_some_and(|wanted| line.count() >= wanted) {
            line.wanted = None;
            drop(line);
            self.work.notify_one();
        }
        Ok(receipt)
    }

    fn check_size(&self, line: &Line, record: Record<'_>) -> Result<(), AppendError> {
        let limit = self.options.record_bytes.min(MOST);
        if record.bytes.len() > limit || record.key.len() > KEY_BYTES {
            return Err(AppendError::TooLarge { limit });
        }
        let waiting = line.group.bytes.len();
        let is_full =
            waiting + room(record.key.len(), record.bytes.len()) > self.options.queue_bytes;
        // What is allowed is taken when nothing else waits, however small the queue.
        if is_full && waiting > 0 { Err(AppendError::Full) } else { Ok(()) }
    }

    pub(crate) fn last(&self) -> Receipt {
        let line = self.lock();
        Receipt { term: line.term, revision: line.group.next - 1 }
    }

    pub(crate) fn progress(&self) -> Progress {
        Progress::new(self.progress.subscribe())
    }

    pub(crate) fn durable(&self) -> Revision {
        self.progress.borrow().durable
    }

    /// The last revision of each key that is durable.
    pub(crate) fn durable_keys(&self) -> Durable {
        self.lock().keys.durable()
    }

    /// Asks the writer to make the journal writable again.
    pub(crate) fn mend(&self, answer: Answer) {
        let mut line = self.lock();
        if !line.is_ending {
            line.mend.push(answer);
            self.work.notify_one();
        }
    }

    /// Asks the writer to write what is in line, and to end.
    pub(crate) fn end(&self) {
        self.lock().is_ending = true;
        self.work.notify_one();
    }

    /// Waits for the next thing to do. `spare` is the room of the next group.
    pub(crate) fn take(&self, spare: Vec<u8>) -> Job {
        let mut line = self.lock();
        while !line.has_work() {
            line.wanted = Some(1);
            line = self.work.wait(line).unwrap_or_else(PoisonError::into_inner);
        }
        line.wanted = None;
        if !line.mend.is_empty() {
            return Job::Mend(mem::take(&mut line.mend));
        }
        if line.group.bytes.is_empty() {
            return Job::End;
        }
        let line = self.gather(line);
        Job::Write(self.send_off(line, spare))
    }

    /// Waits for records of those who were just told that theirs are durable, as these often have
    /// another one, and two half groups take two syncs: as long as some keep coming, and that was
    /// asked for.
    fn gather<'a>(&self, mut line: MutexGuard<'a, Line>) -> MutexGuard<'a, Line> {
        let (wanted, end) = (line.expected, Instant::now() + self.options.commit_delay);
        let is_short = |line: &mut Line| line.count() < wanted && !line.is_ending;
        while is_short(&mut line) {
            let left = end.saturating_duration_since(Instant::now());
            let (known, pause) = (line.count(), left.min(line.took / 2));
            if pause.is_zero() {
                break;
            }
            line.wanted = Some(wanted);
            let waited = self.work.wait_timeout_while(line, pause, is_short);
            line = waited.unwrap_or_else(PoisonError::into_inner).0;
            if line.count() == known {
                break;
            }
        }
        line
    }

    fn send_off(&self, mut line: MutexGuard<'_, Line>, spare: Vec<u8>) -> Group {
        line.keys.take();
        line.wanted = None;
        let next = line.group.next;
        mem::replace(&mut line.group, Group { bytes: spare, first: next, next })
    }

    /// A group is durable.
    pub(crate) fn settle(&self, group: &Group, took: Duration) {
        let mut line = self.lock();
        line.keys.settle();
        line.expected = group.next - group.first + line.count();
        line.took = took;
        drop(line);
        self.progress.send_modify(|state| {
            state.durable = group.next - 1;
            let count = state.groups.count + 1;
            state.groups = Groups { count, records: group.next - group.first, took };
        });
    }

    /// Nothing in line will ever be durable.
    pub(crate) fn fail(&self, failure: Failure) {
        let next = self.durable() + 1;
        let mut line = self.lock();
        line.group = Group { bytes: Vec::new(), first: next, next };
        line.keys.lose();
        line.term += 1;
        line.failure = Some(failure.clone());
        drop(line);
        self.progress.send_modify(|state| state.fail(failure));
    }

    /// Nobody writes any more, so nobody may wait.
    pub(crate) fn ended(&self) {
        let mut line = self.lock();
        line.is_ending = true;
        line.mend.clear();
        drop(line);
        self.fail(Failure::Closed);
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.lock().failure.is_some()
    }

    /// Takes records again.
    pub(crate) fn mended(&self) {
        self.lock().failure = None;
        self.progress.send_modify(|state| state.failure = None);
    }

    fn lock(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    /// How many records wait.
    fn count(&self) -> u64 {
        self.group.next - self.group.first
    }

    fn has_work(&self) -> bool {
        self.is_ending || !self.mend.is_empty() || !self.group.bytes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Longer than any test.
    const LONG: Duration = Duration::from_secs(3600);

    fn queue(commit_delay: Duration) -> Queue {
        let options = Options { commit_delay, queue_bytes: 1000, ..Options::default() };
        Queue::new(7, 1, Keys::default(), options)
    }

    fn append(queue: &Queue, length: usize) -> Result<Receipt, AppendError> {
        queue.append(Record::new(&vec![0; length]), Expected::Any)
    }

    /// How many records the next group has.
    fn take(queue: &Queue) -> u64 {
        let Job::Write(group) = queue.take(Vec::new()) else { panic!("nothing is in line") };
        queue.settle(&group, LONG);
        group.next - group.first
    }

    #[test]
    fn all_that_waits_is_the_next_group() {
        let queue = queue(Duration::ZERO);
        for count in [1, 5, 2] {
            (0..count).for_each(|_| drop(append(&queue, 10)));
            assert_eq!(take(&queue), count);
        }
        assert_eq!(queue.durable(), 8);
    }

    #[test]
    fn a_full_queue_refuses_until_a_group_is_taken() {
        let queue = queue(Duration::ZERO);
        append(&queue, 400).unwrap();
        append(&queue, 400).unwrap();
        assert!(matches!(append(&queue, 400), Err(AppendError::Full)));
        assert_eq!(take(&queue), 2);
        // Alone, what is longer than the queue is taken, too.
        append(&queue, 4000).unwrap();
        assert!(matches!(append(&queue, 0), Err(AppendError::Full)));
    }

    #[test]
    fn with_a_delay_a_group_waits_for_those_who_were_just_told_and_no_longer() {
        let queue = queue(LONG);
        for count in [3, 3, 5] {
            (0..count).for_each(|_| drop(append(&queue, 10)));
            assert_eq!(take(&queue), count);
        }
        append(&queue, 10).unwrap();
        let taken = std::thread::scope(|scope| {
            let taker = scope.spawn(|| take(&queue));
            (0..4).for_each(|_| drop(append(&queue, 10)));
            taker.join().unwrap()
        });
        assert_eq!(taken, 5);
        append(&queue, 10).unwrap();
        queue.end();
        assert_eq!(take(&queue), 1, "the end waits for nothing");
    }

    #[test]
    fn who_was_in_line_when_others_were_told_waits_for_them() {
        let queue = queue(LONG);
        (0..3).for_each(|_| drop(append(&queue, 10)));
        let Job::Write(group) = queue.take(Vec::new()) else { panic!("nothing is in line") };
        (0..2).for_each(|_| drop(append(&queue, 10)));
        queue.settle(&group, LONG);
        let found = std::thread::scope(|scope| {
            let taker = scope.spawn(|| take(&queue));
            let wanted = loop {
                match queue.lock().wanted {
                    Some(wanted) => break wanted,
                    None => std::thread::yield_now(),
                }
            };
            (0..3).for_each(|_| drop(append(&queue, 10)));
            (wanted, taker.join().unwrap())
        });
        assert_eq!(found, (5, 5));
    }

    #[test]
    fn nobody_is_waited_for_longer_than_half_as_long_as_the_last_group_took() {
        let queue = queue(LONG);
        (0..3).for_each(|_| drop(append(&queue, 10)));
        let Job::Write(group) = queue.take(Vec::new()) else { panic!("nothing is in line") };
        queue.settle(&group, Duration::from_millis(1));
        append(&queue, 10).unwrap();
        assert_eq!(take(&queue), 1);
    }
}
