//! The files beside the end of the log: snapshots, and segments that are full.

use std::{
    io::{self, Write},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::SystemTime,
};

use super::{
    disk::Disk,
    name::{name, revisions},
    parts::Parts,
    queue::Queue,
    reader::Reader,
    segment::{EXTENSION, stretches},
    snapshot_file::{self, SnapshotFile},
};
use crate::{
    DiskError, Keep, Revision, Snapshot, SnapshotError, SnapshotWriter, TrimError, snapshot::Sink,
};

/// The name of a snapshot that is not complete.
pub(crate) const UNFINISHED: &str = "snapshot.temp";

/// Adds snapshots, and removes what they make superfluous.
#[derive(Clone, Debug)]
pub(crate) struct Shelf {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) id: u64,
    pub(crate) queue: Arc<Queue>,
    /// Held by who removes files, and by who needs them to stay.
    files: Arc<Mutex<()>>,
    is_busy: Arc<AtomicBool>,
}

/// A snapshot on its way.
#[derive(Debug)]
struct Unfinished {
    shelf: Shelf,
    revision: Revision,
    /// `None` once it is finished, or has failed.
    parts: Option<Parts>,
}

impl Shelf {
    pub(crate) fn new(disk: Arc<dyn Disk>, id: u64, queue: Arc<Queue>) -> Self {
        Self { disk, id, queue, files: Arc::default(), is_busy: Arc::default() }
    }

    /// The first record that is kept.
    pub(crate) fn first(&self) -> Result<Revision, DiskError> {
        Ok(revisions(&self.disk.list()?, EXTENSION).first().copied().unwrap_or(1))
    }

    pub(crate) fn reader(&self) -> Reader {
        Reader::new(self.disk.clone(), self.id)
    }

    pub(crate) fn snapshot(&self) -> Result<Option<Snapshot>, SnapshotError> {
        let _files = self.hold();
        let Some(revision) = self.newest()? else { return Ok(None) };
        let file = SnapshotFile::open(&self.disk, revision)?;
        Ok(Some(Snapshot { revision, bytes: Box::new(file.bytes()) }))
    }

    pub(crate) fn write_snapshot(
        &self,
        revision: Revision,
    ) -> Result<SnapshotWriter, SnapshotError> {
        if self.is_busy.swap(true, Ordering::AcqRel) {
            return Err(SnapshotError::Busy);
        }
        // From here on, dropping it is what ends the business.
        let mut unfinished = Unfinished { shelf: self.clone(), revision, parts: None };
        let allowed = self.newest()?.unwrap_or(0)..=self.queue.durable();
        if !allowed.contains(&revision) {
            return Err(SnapshotError::Revision { allowed });
        }
        let file = self.disk.create(UNFINISHED)?;
        unfinished.parts = Some(Parts::begin(file, self.id, revision)?);
        Ok(SnapshotWriter::new(unfinished))
    }

    pub(crate) fn trim(&self, keep: Keep) -> Result<Revision, TrimError> {
        let _files = self.hold();
        let covered = self.newest()?.unwrap_or(0);
        // Its name may be newer than the last sync of names.
        self.disk.sync()?;
        let segments = stretches(&*self.disk)?;
        let mut newer: u64 = segments.iter().map(|it| it.bytes).sum();
        for pair in segments.windows(2) {
            let [old, follower] = pair else { break };
            newer -= old.bytes;
            // A clock that was set back makes nothing old.
            let age = SystemTime::now().duration_since(old.modified).unwrap_or_default();
            if follower.first > covered + 1 || (newer < keep.bytes && age < keep.age) {
                break;
            }
            // One by one, each durable: a gap between segments would be damage.
            self.disk.remove(&name(old.first, EXTENSION))?;
            self.disk.sync()?;
        }
        Ok(self.first()?)
    }

    /// Nothing is removed while this is held.
    pub(crate) fn hold(&self) -> MutexGuard<'_, ()> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the newest snapshot stands for.
    pub(crate) fn newest(&self) -> Result<Option<Revision>, DiskError> {
        Ok(revisions(&self.disk.list()?, snapshot_file::EXTENSION).last().copied())
    }

    /// Gives a complete snapshot its name, and removes those before it.
    fn put(&self, revision: Revision) -> Result<(), SnapshotError> {
        let _files = self.hold();
        self.disk.rename(UNFINISHED, &name(revision, snapshot_file::EXTENSION))?;
        self.disk.sync()?;
        for old in revisions(&self.disk.list()?, snapshot_file::EXTENSION) {
            if old < revision {
                self.disk.remove(&name(old, snapshot_file::EXTENSION))?;
            }
        }
        Ok(())
    }
}

impl Write for Unfinished {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(parts) = &mut self.parts else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        match parts.add(bytes) {
            Ok(()) => Ok(bytes.len()),
            Err(error) => {
                self.parts = None;
                Err(io::Error::other(error))
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for Unfinished {
    fn finish(mut self: Box<Self>) -> Result<(), SnapshotError> {
        let Some(parts) = self.parts.take() else { return Err(SnapshotError::Unfinished) };
        parts.end(&self.shelf.queue.durable_keys())?;
        self.shelf.put(self.revision)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // It is not there when it was finished; one that stays is replaced by the next.
        self.shelf.disk.remove(UNFINISHED).ok();
        self.shelf.is_busy.store(false, Ordering::Release);
    }
}
