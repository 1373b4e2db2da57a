//! What waits to be written: the caller's end and the writer's.

use std::{
    mem,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::{oneshot, watch};

use super::{
    Options,
    record::{Frame, Kind, room},
};
use crate::{
    AppendError, Expected, Failure, Groups, KEY_BYTES, Progress, Receipt, Record, Revision,
    keys::Keys, progress::State,
};

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
    Mend(Answer),
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
    mend: Option<Answer>,
    /// The writer waits for work. Waking it costs a system call, so it is woken only then.
    is_idle: bool,
    is_ending: bool,
}

impl Queue {
    pub(crate) fn new(id: u64, next: Revision, keys: Keys, options: Options) -> Self {
        let line = Line {
            group: Group { bytes: Vec::new(), first: next, next },
            keys,
            term: 0,
            failure: None,
            mend: None,
            is_idle: false,
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
        if mem::take(&mut line.is_idle) {
            drop(line);
            self.work.notify_one();
        }
        Ok(receipt)
    }

    fn check_size(&self, line: &Line, record: Record<'_>) -> Result<(), AppendError> {
        let limit = self.options.record_bytes;
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
    pub(crate) fn durable_keys(&self) -> Vec<(String, Revision)> {
        self.lock().keys.durable().map(|(key, revision)| (key.to_owned(), revision)).collect()
    }

    /// Asks the writer to make the journal writable again. One who asked before and still waits is told no.
    pub(crate) fn mend(&self, answer: Answer) {
        self.lock().mend = Some(answer);
        self.work.notify_one();
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
            line.is_idle = true;
            line = self.work.wait(line).unwrap_or_else(PoisonError::into_inner);
        }
        line.is_idle = false;
        if let Some(answer) = line.mend.take() {
            return Job::Mend(answer);
        }
        if line.group.bytes.is_empty() {
            return Job::End;
        }
        let line = self.gather(line);
        Job::Write(self.cut(line, spare))
    }

    /// Lets more records come, if that was asked for.
    fn gather<'a>(&self, line: MutexGuard<'a, Line>) -> MutexGuard<'a, Line> {
        let delay = self.options.commit_delay;
        if delay.is_zero() {
            return line;
        }
        let waited = self.work.wait_timeout_while(line, delay, |it| !it.is_ending);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn cut(&self, mut line: MutexGuard<'_, Line>, spare: Vec<u8>) -> Group {
        line.keys.take();
        let next = line.group.next;
        mem::replace(&mut line.group, Group { bytes: spare, first: next, next })
    }

    /// A group is durable.
    pub(crate) fn settle(&self, group: &Group, took: Duration) {
        self.lock().keys.settle();
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
    fn has_work(&self) -> bool {
        self.is_ending || self.mend.is_some() || !self.group.bytes.is_empty()
    }
}
