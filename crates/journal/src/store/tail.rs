//! The end of the log: where groups are written.

use std::{mem, sync::Arc};

use super::{
    Options,
    disk::{Disk, Stored},
    head::{HEAD, head, parse_head},
    name::{name, revisions},
    queue::Group,
    record::{Frame, Kind, room},
    segment::{Contents, EXTENSION, SEGMENT, examine, read_all},
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
    segment: Segment,
    options: Options,
    /// How far the file has room on the disk.
    allocated: u64,
    /// The one before, until it is known to have its seal.
    unsealed: Option<Segment>,
}

/// A segment that is or was written to.
#[derive(Debug)]
struct Segment {
    disk: Arc<dyn Disk>,
    id: u64,
    file: Arc<dyn Stored>,
    first: Revision,
    /// Behind the last durable record.
    end: u64,
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
        let segment = Segment { disk, id, file, first, end };
        let mut tail = Self { segment, options, allocated: end, unsealed: None };
        tail.reserve(LEAST)?;
        tail.segment.file.sync()?;
        tail.segment.disk.rename(UNNAMED, &name(first, EXTENSION))?;
        tail.segment.disk.sync()?;
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
        let segment = Segment { disk, id, file, first, end };
        // Also room that was never written to: bytes of a lost group must not turn up behind the
        // next one.
        segment.cut()?;
        Ok(Self { segment, options, allocated: end, unsealed: None })
    }

    /// The journal's.
    pub(crate) fn id(&self) -> u64 {
        self.segment.id
    }

    /// Makes a group durable.
    pub(crate) fn write(&mut self, group: &Group) -> Result<(), DiskError> {
        if self.segment.end >= self.options.segment_bytes {
            self.roll(group.first)?;
        }
        self.reserve(group.bytes.len() as u64)?;
        self.segment.file.write(&group.bytes, self.segment.end)?;
        self.segment.file.sync()?;
        self.segment.end += group.bytes.len() as u64;
        Ok(())
    }

    /// Takes away what may be there of a group that failed, as far as the disk lets us.
    pub(crate) fn cut(&self) -> Result<(), DiskError> {
        self.segment.cut()
    }

    /// Says that nothing before `next` is torn, so that whatever may be found there later is
    /// damage.
    pub(crate) fn close(&mut self, next: Revision) -> Result<(), DiskError> {
        self.segment.mark(Kind::Mark, next)
    }

    /// Goes on after a failure, when `durable` is the last revision that was acknowledged.
    pub(crate) fn mend(&mut self, durable: Revision) -> Result<(), Failure> {
        // All of it is read below: for nothing, as long as the disk is full.
        self.segment.file.allocate(self.segment.end, LEAST)?;
        if let Some(full) = &mut self.unsealed {
            full.mend(self.segment.first - 1)?;
        }
        self.seal()?;
        self.segment.mend(durable)?;
        self.allocated = self.segment.end;
        if self.has_follower()? {
            self.roll(durable + 1)?;
        }
        self.reserve(LEAST)?;
        Ok(self.segment.file.sync()?)
    }

    /// Whether the next segment was begun, and failed: what comes must not go into this one, since
    /// after a crash both may be there.
    fn has_follower(&self) -> Result<bool, DiskError> {
        let last = revisions(&self.segment.disk.list()?, EXTENSION).pop();
        Ok(last.is_some_and(|it| it > self.segment.first))
    }

    /// Ends this segment and begins the next.
    fn roll(&mut self, next: Revision) -> Result<(), DiskError> {
        let Segment { disk, id, .. } = &self.segment;
        let follower = Self::create(disk.clone(), *id, next, self.options)?;
        let full = mem::replace(self, follower);
        self.unsealed = Some(full.segment);
        // Not before the next one is there: a sealed segment without one says that it was removed.
        self.seal()
    }

    /// Says of the segment before that this one follows, unless it is said.
    fn seal(&mut self) -> Result<(), DiskError> {
        let next = self.segment.first;
        if let Some(full) = &mut self.unsealed {
            full.mark(Kind::Seal, next)?;
            full.file.truncate(full.end)?;
            self.unsealed = None;
        }
        Ok(())
    }

    /// Takes room for `length` more bytes and a mark; much more than that, unless the disk is
    /// nearly full.
    fn reserve(&mut self, length: u64) -> Result<(), DiskError> {
        let missing = (self.segment.end + length + MARK).saturating_sub(self.allocated);
        if missing == 0 {
            return Ok(());
        }
        let (file, much) = (&self.segment.file, missing.max(STEP.min(self.options.segment_bytes)));
        let taken = match file.allocate(self.allocated, much) {
            Err(error) if error.is_full() => {
                file.allocate(self.allocated, missing).map(|()| missing)
            }
            result => result.map(|()| much),
        };
        self.allocated += taken?;
        Ok(())
    }
}

impl Segment {
    /// Takes away what is behind the end.
    fn cut(&self) -> Result<(), DiskError> {
        self.file.truncate(self.end)?;
        self.file.sync()
    }

    fn mark(&mut self, kind: Kind, next: Revision) -> Result<(), DiskError> {
        let mut bytes = Vec::new();
        Frame::mark(kind, next).encode(self.id, &mut bytes);
        self.file.write(&bytes, self.end)?;
        self.file.sync()?;
        self.end += bytes.len() as u64;
        Ok(())
    }

    /// Leaves what it has up to `durable`, all of which must be on the disk.
    ///
    /// What is in memory need not be what is on the disk after a failed sync, so it is read again.
    fn mend(&mut self, durable: Revision) -> Result<(), Failure> {
        let before = self.examine(durable)?;
        self.end = before.end;
        self.cut()?;
        self.file.forget();
        let after = self.examine(durable)?;
        if after != before {
            return Err(self.damage(after.end, Check::Whole { first: after.next }));
        }
        Ok(())
    }

    /// What it has up to `durable`, all of which must be there.
    fn examine(&self, durable: Revision) -> Result<Contents, Failure> {
        let mut bytes = Vec::new();
        read_all(&*self.file, &mut bytes)?;
        if parse_head(SEGMENT, &bytes) != Some((self.id, self.first)) {
            return Err(self.damage(0, Check::Head));
        }
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
}
