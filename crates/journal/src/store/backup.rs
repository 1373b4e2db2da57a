//! A copy of what is durable.

use std::{fs, path::Path, sync::Arc};

use super::{
    disk::{Directory, Disk, Stored},
    parts,
    segment::{self, examine, name, read_all, revisions},
    shelf::Shelf,
};
use crate::{Damage, DiskError, Revision, SnapshotError};

/// How much is copied at once.
const CHUNK: usize = 1 << 20;

/// A copy that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backup {
    /// The last record in it.
    pub revision: Revision,
    /// How large it is.
    pub bytes: u64,
}

impl Shelf {
    pub(crate) fn backup(&self, directory: &Path) -> Result<Backup, SnapshotError> {
        let mut partial = directory.as_os_str().to_owned();
        partial.push(".partial");
        let partial = Path::new(&partial);
        let backup = self.copy(&Directory::fresh(partial)?)?;
        let failed = |source| DiskError { act: "rename", file: partial.to_owned(), source };
        fs::rename(partial, directory).map_err(failed)?;
        Directory::sync_parent(directory)?;
        Ok(backup)
    }

    /// Copies all that is durable now.
    fn copy(&self, target: &dyn Disk) -> Result<Backup, SnapshotError> {
        let _files = self.hold();
        let revision = self.queue.durable();
        let mut bytes = 0;
        if let Some(newest) = self.newest()? {
            bytes += self.copy_file(target, &name(newest, parts::EXTENSION))?;
        }
        let mut segments = revisions(&self.disk.list()?, segment::EXTENSION);
        // A segment that has just been begun need not have anything durable.
        segments.retain(|it| *it <= revision.max(1));
        let last = segments.pop();
        for full in segments {
            bytes += self.copy_file(target, &name(full, segment::EXTENSION))?;
        }
        if let Some(last) = last {
            bytes += self.copy_last(target, last, revision)?;
        }
        target.sync()?;
        Ok(Backup { revision, bytes })
    }

    fn copy_file(&self, target: &dyn Disk, name: &str) -> Result<u64, DiskError> {
        let (from, to) = (self.disk.open(name)?, target.create(name)?);
        let (mut buffer, mut at) = (vec![0; CHUNK], 0);
        loop {
            let length = from.read(&mut buffer, at)?;
            to.write(&buffer[..length], at)?;
            at += length as u64;
            if length < CHUNK {
                to.sync()?;
                return Ok(at);
            }
        }
    }

    /// The part of a segment that is durable; the writer may just be writing behind it.
    fn copy_last(
        &self,
        target: &dyn Disk,
        first: Revision,
        until: Revision,
    ) -> Result<u64, SnapshotError> {
        let name = name(first, segment::EXTENSION);
        let mut bytes = Vec::new();
        read_all(&*self.disk.open(&name)?, &mut bytes)?;
        let found = examine(&bytes, self.id, first, until, |_| {}).map_err(|it| Damage {
            file: self.disk.path(&name),
            offset: it.offset,
            check: it.check,
        })?;
        let to: Arc<dyn Stored> = target.create(&name)?;
        to.write(&bytes[..found.end as usize], 0)?;
        to.sync()?;
        Ok(found.end)
    }
}
