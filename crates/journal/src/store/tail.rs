//! The end of the log: where groups are written.

use std::{mem, sync::Arc};

use super::{
    Options,
    disk::{Disk, Stored},
    queue::Group,
    record::{Frame, Kind, room},
    segment::{Contents, EXTENSION, HEAD, SEGMENT, examine, head, name, read_all},
};
use crate::{Check, Damage, DiskError, Failure, Revision};

/// A segment gets its name when it is complete, so that one without a head is always damage.
pub(crate) const UNNAMED: &str = "segment.temp";

/// How much room is taken at once: a file that grows costs a second write for each sync.
const STEP: u64 = 4 << 20;

/// Without so much room it is not worth while to go on.
const LEAST: u64 = 4 << 10;

/// What a mark takes.
const MARK: u64 = room(0, 0) as u64;

/// The segment that is written to. Only the writer has it.
#[derive(Debug)]
pub(crate) struct Tail {
    disk: Arc<dyn Disk>,
    id: u64,
    options: Options,
    file: Arc<dyn Stored>,
    first: Revision,
    /// Behind the last durable record.
    end: u64,
    /// How far the file has room on the disk.
    allocated: u64,
}

impl Tail {
    /// A new segment that begins with `first`.
    pub(crate) fn create(
        disk: Arc<dyn Disk>,
        id: u64,
        first: Revision,
        options: Options,
    ) -> Result<Self, DiskError> {
        let file = disk.create(UNNAMED)?;
        file.write(&head(SEGMENT, id, first), 0)?;
        let end = HEAD as u64;
        let mut tail = Self { disk, id, options, file, first, end, allocated: end };
        tail.reserve(LEAST)?;
        tail.file.sync()?;
        tail.disk.rename(UNNAMED, &name(first, EXTENSION))?;
        tail.disk.sync()?;
        Ok(tail)
    }

    /// The segment that begins with `first`, from its end on. What is torn behind is cut off.
    pub(crate) fn resume(
        disk: Arc<dyn Disk>,
        id: u64,
        first: Revision,
        end: u64,
        options: Options,
    ) -> Result<Self, DiskError> {
        let file = disk.open(&name(first, EXTENSION))?;
        // Also room that was never written to: bytes of a lost group must not turn up behind the
        // next one.
        let tail = Self { disk, id, options, file, first, end, allocated: end };
        tail.cut()?;
        Ok(tail)
    }

    /// The journal's.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Makes a group durable.
    pub(crate) fn write(&mut self, group: &Group) -> Result<(), DiskError> {
        if self.end >= self.options.segment_bytes {
            self.roll(group.first)?;
        }
        self.reserve(group.bytes.len() as u64)?;
        self.file.write(&group.bytes, self.end)?;
        self.file.sync()?;
        self.end += group.bytes.len() as u64;
        Ok(())
    }

    /// Takes away what may be there of a group that failed, as far as the disk lets us.
    pub(crate) fn cut(&self) -> Result<(), DiskError> {
        self.file.truncate(self.end)?;
        self.file.sync()
    }

    /// Says that nothing before `next` is torn, so that whatever may be found there later is
    /// damage.
    pub(crate) fn close(&mut self, next: Revision) -> Result<(), DiskError> {
        self.mark(Kind::Mark, next)
    }

    /// Goes on after a failure, when `durable` is the last revision that was acknowledged.
    ///
    /// What is in memory need not be what is on the disk after a failed sync, so the durable part
    /// is read again.
    pub(crate) fn mend(&mut self, durable: Revision) -> Result<(), Failure> {
        let before = self.examine(durable)?;
        self.end = before.end;
        self.cut()?;
        self.file.forget();
        let after = self.examine(durable)?;
        if after != before {
            return Err(self.damage(after.end, Check::Whole { first: after.next }));
        }
        self.allocated = self.end;
        self.reserve(LEAST)?;
        Ok(self.file.sync()?)
    }

    /// What the segment has up to `durable`, all of which must be there.
    fn examine(&self, durable: Revision) -> Result<Contents, Failure> {
        let mut bytes = Vec::new();
        read_all(&*self.file, &mut bytes)?;
        let found = examine(&bytes, self.id, self.first, durable, |_| {});
        let found = found.map_err(|it| self.damage(it.offset, it.check))?;
        if found.next <= durable {
            return Err(self.damage(found.end, Check::Whole { first: found.next }));
        }
        Ok(found)
    }

    fn damage(&self, offset: u64, check: Check) -> Failure {
        Damage { file: self.disk.path(&name(self.first, EXTENSION)), offset, check }.into()
    }

    /// Ends this segment and begins the next.
    fn roll(&mut self, next: Revision) -> Result<(), DiskError> {
        let follower = Self::create(self.disk.clone(), self.id, next, self.options)?;
        // Not before the next one is there: a sealed segment without one says that it was removed.
        let mut full = mem::replace(self, follower);
        full.mark(Kind::Seal, next)?;
        full.file.truncate(full.end)
    }

    fn mark(&mut self, kind: Kind, next: Revision) -> Result<(), DiskError> {
        let mut bytes = Vec::new();
        Frame::mark(kind, next).encode(self.id, &mut bytes);
        self.file.write(&bytes, self.end)?;
        self.file.sync()?;
        self.end += bytes.len() as u64;
        Ok(())
    }

    /// Takes room for `length` more bytes and a mark; much more than that, unless the disk is
    /// nearly full.
    fn reserve(&mut self, length: u64) -> Result<(), DiskError> {
        let missing = (self.end + length + MARK).saturating_sub(self.allocated);
        if missing == 0 {
            return Ok(());
        }
        let much = missing.max(STEP.min(self.options.segment_bytes));
        let taken = match self.file.allocate(self.allocated, much) {
            Err(error) if error.is_full() => {
                self.file.allocate(self.allocated, missing).map(|()| missing)
            }
            result => result.map(|()| much),
        };
        self.allocated += taken?;
        Ok(())
    }
}
