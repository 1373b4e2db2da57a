use std::{
    collections::VecDeque,
    io::{self, Cursor, Write},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use crate::{
    AppendError, DiskError, Expected, Failure, Follow, FollowError, Groups, Journal, KEY_BYTES,
    Keep, Later, Progress, Receipt, Record, Revision, Snapshot, SnapshotError, SnapshotWriter,
    TrimError,
    follow::{Batch, Source},
    keys::Keys,
    progress::State,
    snapshot::Sink,
};

/// A [`Journal`] that forgets: for tests of what stands above.
///
/// Without threads and files, so a test decides what happens when: a record is durable at once, or,
/// after [`hold`](Self::hold), when the test says so, or never. Clones are the same journal, so one
/// survives the daemon whose start is tested.
#[derive(Clone, Debug)]
pub struct Memory(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    kept: Mutex<Kept>,
    progress: watch::Sender<State>,
}

#[derive(Debug, Default)]
struct Kept {
    /// Key and bytes of each record that is not trimmed.
    records: VecDeque<(Box<str>, Box<[u8]>)>,
    /// How many records are trimmed.
    trimmed: Revision,
    durable: Revision,
    keys: Keys,
    term: u64,
    failure: Option<Failure>,
    is_held: bool,
    snapshot: Option<(Revision, Arc<[u8]>)>,
}

/// A snapshot on its way.
#[derive(Debug)]
struct Draft {
    memory: Memory,
    revision: Revision,
    bytes: Vec<u8>,
}

impl Default for Memory {
    fn default() -> Self {
        Self(Arc::new(Inner { kept: Mutex::default(), progress: watch::Sender::new(State::at(0)) }))
    }
}

impl Memory {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on nothing becomes durable.
    pub fn hold(&self) {
        self.kept().is_held = true;
    }

    /// Everything in line is durable, and so is what comes at once.
    pub fn release(&self) {
        let mut kept = self.kept();
        kept.is_held = false;
        self.settle(&mut kept);
    }

    /// The disk is full: what is in line is lost, and nothing is taken before [`Journal::mend`].
    pub fn fail(&self) {
        let mut kept = self.kept();
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let error = DiskError { act: "write", file: PathBuf::from("memory"), source: full };
        let failure = Failure::from(error);
        let durable = kept.durable - kept.trimmed;
        kept.records.truncate(durable as usize);
        kept.keys.lose();
        kept.term += 1;
        kept.failure = Some(failure.clone());
        self.0.progress.send_modify(|state| state.fail(failure));
    }

    fn settle(&self, kept: &mut Kept) {
        let records = kept.last() - kept.durable;
        kept.durable = kept.last();
        kept.keys.take();
        kept.keys.settle();
        self.0.progress.send_modify(|state| {
            state.durable = kept.durable;
            let count = state.groups.count + 1;
            state.groups = Groups { count, records, ..Groups::default() };
        });
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn last(&self) -> Revision {
        self.trimmed + self.records.len() as u64
    }

    /// What the snapshot stands for.
    fn covered(&self) -> Revision {
        self.snapshot.as_ref().map_or(0, |(revision, _)| *revision)
    }
}

impl Journal for Memory {
    fn append(&self, record: Record<'_>, expected: Expected) -> Result<Receipt, AppendError> {
        let mut kept = self.kept();
        if let Some(failure) = &kept.failure {
            return Err(AppendError::ReadOnly(failure.clone()));
        }
        if record.key.len() > KEY_BYTES {
            return Err(AppendError::TooLarge { limit: usize::MAX });
        }
        kept.keys.check(kept.last(), record.key, expected)?;
        kept.records.push_back((record.key.into(), record.bytes.into()));
        let receipt = Receipt { term: kept.term, revision: kept.last() };
        kept.keys.append(record.key, receipt.revision);
        if !kept.is_held {
            self.settle(&mut kept);
        }
        Ok(receipt)
    }

    fn last(&self) -> Receipt {
        let kept = self.kept();
        Receipt { term: kept.term, revision: kept.last() }
    }

    fn progress(&self) -> Progress {
        Progress::new(self.0.progress.subscribe())
    }

    fn follow(&self, from: Revision) -> Result<Follow, FollowError> {
        match self.kept().trimmed + 1 {
            first if first > from.max(1) => Err(FollowError::Trimmed { first }),
            _ => Ok(Follow::new(from, self.progress(), Arc::new(self.clone()))),
        }
    }

    fn snapshot(&self) -> Result<Option<Snapshot>, SnapshotError> {
        let snapshot = self.kept().snapshot.clone();
        Ok(snapshot
            .map(|(revision, bytes)| Snapshot { revision, bytes: Box::new(Cursor::new(bytes)) }))
    }

    fn write_snapshot(&self, revision: Revision) -> Result<SnapshotWriter, SnapshotError> {
        let kept = self.kept();
        let allowed = kept.covered()..=kept.durable;
        if !allowed.contains(&revision) {
            return Err(SnapshotError::Revision { allowed });
        }
        Ok(SnapshotWriter::new(Draft { memory: self.clone(), revision, bytes: Vec::new() }))
    }

    /// Keeps by bytes alone: it knows no time.
    fn trim(&self, keep: Keep) -> Result<Revision, TrimError> {
        let mut kept = self.kept();
        let mut newer: u64 = kept.records.iter().map(|(_, bytes)| bytes.len() as u64).sum();
        while kept.trimmed < kept.covered() {
            newer -= kept.records.front().map_or(0, |(_, bytes)| bytes.len() as u64);
            if newer < keep.bytes {
                break;
            }
            kept.records.pop_front();
            kept.trimmed += 1;
        }
        Ok(kept.trimmed + 1)
    }

    fn mend(&self) -> Later<'_, Result<Revision, Failure>> {
        let mut kept = self.kept();
        kept.failure = None;
        self.0.progress.send_modify(|state| state.failure = None);
        Box::pin(std::future::ready(Ok(kept.durable)))
    }
}

impl Source for Memory {
    fn read(&self, from: Revision, until: Revision) -> Result<Batch, FollowError> {
        let kept = self.kept();
        if from <= kept.trimmed {
            return Err(FollowError::Trimmed { first: kept.trimmed + 1 });
        }
        let (mut batch, mut all) = (Batch::default(), Vec::new());
        for revision in from..=until {
            let (key, bytes) = &kept.records[(revision - kept.trimmed - 1) as usize];
            let start = all.len();
            all.extend_from_slice(key.as_bytes());
            let middle = all.len();
            all.extend_from_slice(bytes);
            batch.push(revision, start..middle, middle..all.len());
        }
        Ok(batch.fill(all))
    }
}

impl Write for Draft {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for Draft {
    fn finish(self: Box<Self>) -> Result<(), SnapshotError> {
        self.memory.kept().snapshot = Some((self.revision, self.bytes.into()));
        Ok(())
    }
}
