//! The journal in files of one's own: segments of a log, snapshots, one thread that writes.

mod backup;
mod check;
mod disk;
mod head;
mod name;
mod parts;
mod queue;
mod reader;
mod record;
mod scan;
mod segment;
mod shelf;
mod snapshot_file;
mod tail;
#[cfg(test)]
mod tests;
mod writer;

use std::{
    io,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use tokio::sync::oneshot;

pub use self::{
    backup::Backup,
    check::{Look, Report, Torn, check},
};
use self::{
    disk::{Directory, Disk, LOCK, failed},
    name::{name, revisions},
    queue::Queue,
    scan::scan,
    segment::EXTENSION,
    shelf::Shelf,
    tail::Tail,
    writer::Writer,
};
use crate::{
    AppendError, BackupError, DiskError, Expected, Failure, Follow, FollowError, Journal, Keep,
    Later, OpenError, Progress, Receipt, Record, Revision, Snapshot, SnapshotError, SnapshotWriter,
    TrimError, keys::Keys,
};

/// Bounds of a [`Store`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// How long a segment gets before the next is begun; it may be longer by one group.
    pub segment_bytes: u64,
    /// How long a record may be; never more than a gigabyte.
    pub record_bytes: usize,
    /// How much may be in line before [`AppendError::Full`]; as much again may be on its way to the
    /// disk.
    pub queue_bytes: usize,
    /// How long a group may wait for those who were told of the one before: many that wait for each
    /// record share their syncs by that. It waits only while records keep coming, and for nobody
    /// longer than half as long as the last group took; a lone writer does not wait at all.
    pub commit_delay: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            record_bytes: 16 << 20,
            queue_bytes: 32 << 20,
            commit_delay: Duration::from_millis(2),
        }
    }
}

/// A [`Journal`] in a directory, which it holds for itself.
///
/// Dropping it writes what is in line, and waits until that is durable.
#[derive(Debug)]
pub struct Store {
    queue: Arc<Queue>,
    shelf: Shelf,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl Store {
    /// Opens the journal in `directory`, or makes one (mode 0700). What a crash left half written
    /// is cut off.
    ///
    /// Blocks: everything that is stored, but the bytes of the snapshot, is read and checked.
    ///
    /// # Errors
    /// [`OpenError`]; nothing that is damaged is ever changed.
    pub fn open(directory: &Path, options: Options) -> Result<Self, OpenError> {
        Self::on(Arc::new(Directory::hold(directory)?), options)
    }

    fn on(disk: Arc<dyn Disk>, options: Options) -> Result<Self, OpenError> {
        forget_unwritten(&*disk)?;
        let mut scan = scan(&disk)?;
        if !scan.damage.is_empty() {
            return Err(scan.damage.swap_remove(0).into());
        }
        let is_known = is_known(&*disk)?;
        if scan.id.is_none() && is_known {
            return Err(OpenError::Gone { path: disk.path("") });
        }
        // A backup that is written to is none any more.
        for superfluous in [tail::UNNAMED, shelf::UNFINISHED, backup::END] {
            if disk.list()?.iter().any(|it| it == superfluous) {
                disk.remove(superfluous)?;
            }
        }
        // What was only renamed may have been seen by us and not yet be durable.
        disk.sync()?;
        let next = scan.next();
        let tail = match (scan.id, scan.segments.last()) {
            (Some(id), Some(last)) => {
                Tail::resume(disk.clone(), id, last.first, last.contents.end, options)?
            }
            _ => Tail::create(disk.clone(), new_id(&*disk)?, next, options)?,
        };
        if !is_known {
            make_known(&*disk)?;
        }
        Self::start(disk, tail, next, scan.keys, options)
    }

    fn start(
        disk: Arc<dyn Disk>,
        tail: Tail,
        next: Revision,
        keys: Keys,
        options: Options,
    ) -> Result<Self, OpenError> {
        let id = tail.id();
        let queue = Arc::new(Queue::new(id, next, keys, options));
        let writer = Writer { queue: queue.clone(), tail };
        let path = disk.path("");
        let thread = thread::Builder::new().name("journal".into()).spawn(move || writer.run());
        let writer = Mutex::new(Some(thread.map_err(failed("start a thread for", &path))?));
        Ok(Self { shelf: Shelf::new(disk, id, queue.clone()), queue, writer })
    }

    /// Copies everything durable to `directory`, which must not be there, while the journal is in
    /// use. The copy is a journal of its own; it has its name only when it is complete, and until
    /// then that with a dot before and `.partial` behind, which nothing else may have. Blocks.
    ///
    /// # Errors
    /// See [`BackupError`]; nothing is left of it.
    pub fn backup(&self, directory: &Path) -> Result<Backup, BackupError> {
        self.shelf.backup(directory)
    }

    /// Waits until all that is in line is durable, and ends; blocks. From then on nothing is taken,
    /// and what is there can still be read.
    pub fn close(&self) {
        self.queue.end();
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        // One that has panicked has told everybody that the journal is closed.
        writer.take().map(JoinHandle::join);
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.close();
    }
}

impl Journal for Store {
    fn append(&self, record: Record<'_>, expected: Expected) -> Result<Receipt, AppendError> {
        self.queue.append(record, expected)
    }

    fn last(&self) -> Receipt {
        self.queue.last()
    }

    fn progress(&self) -> Progress {
        self.queue.progress()
    }

    fn follow(&self, from: Revision) -> Result<Follow, FollowError> {
        let from = from.max(1);
        match self.shelf.first()? {
            first if first > from => Err(FollowError::Trimmed { first }),
            _ => Ok(Follow::new(from, self.progress(), Arc::new(self.shelf.reader()))),
        }
    }

    fn snapshot(&self) -> Result<Option<Snapshot>, SnapshotError> {
        self.shelf.snapshot()
    }

    fn write_snapshot(&self, revision: Revision) -> Result<SnapshotWriter, SnapshotError> {
        self.shelf.write_snapshot(revision)
    }

    fn trim(&self, keep: Keep) -> Result<Revision, TrimError> {
        self.shelf.trim(keep)
    }

    fn mend(&self) -> Later<'_, Result<Revision, Failure>> {
        let (answer, answered) = oneshot::channel();
        self.queue.mend(answer);
        Box::pin(async { answered.await.unwrap_or(Err(Failure::Closed)) })
    }
}

/// Reads the end of the log from the disk alone.
///
/// After a sync that failed the kernel may still have what it could not write, and say of a later
/// sync that all is well; a process that then ends leaves that to the next one. Two segments, since
/// the seal of the one before may have failed.
fn forget_unwritten(disk: &dyn Disk) -> Result<(), DiskError> {
    for first in revisions(&disk.list()?, EXTENSION).iter().rev().take(2) {
        let file = disk.open(&name(*first, EXTENSION))?;
        file.sync()?;
        file.forget();
    }
    Ok(())
}

/// Whether there was a journal once.
fn is_known(disk: &dyn Disk) -> Result<bool, DiskError> {
    let is_there = disk.list()?.iter().any(|it| it == LOCK);
    Ok(is_there && disk.open(LOCK)?.length()? > 0)
}

/// Says that there is one, once its first segment is durable: if all of them are gone later, that
/// is no new journal.
fn make_known(disk: &dyn Disk) -> Result<(), DiskError> {
    let file = disk.create(LOCK)?;
    file.write(b"journal\n", 0)?;
    file.sync()?;
    disk.sync()
}

/// What tells this journal from all others, and nobody outside can know.
fn new_id(disk: &dyn Disk) -> Result<u64, DiskError> {
    let path = disk.path("");
    getrandom::u64()
        .map_err(|error| failed("find a random number for", &path)(io::Error::other(error)))
}
