//! Looks at a journal that nobody uses, and changes nothing.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    backup,
    disk::{Directory, Disk},
    name::{name, revisions},
    reader::Reader,
    scan::{Scan, scan},
    segment::EXTENSION,
    snapshot_file::{self, SnapshotFile},
};
use crate::{
    Check, Damage, DiskError, Follow, OpenError, Progress, Revision, Snapshot, SnapshotError,
};

/// What a journal has, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What the newest snapshot stands for.
    pub snapshot: Option<Revision>,
    /// The first record that is kept; more than `last` when there is none.
    pub first: Revision,
    /// The last record that can be read.
    pub last: Revision,
    /// How many segments there are.
    pub segments: usize,
    /// How large everything is.
    pub bytes: u64,
    /// What the next [`Store::open`](crate::Store::open) will cut off: the rest of a group that
    /// nobody was told of.
    pub torn: Option<Torn>,
    /// Everything that no crash explains. With any of it, the journal does not open.
    pub damage: Vec<Damage>,
}

/// Where the end of the log is torn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Torn {
    /// In which file.
    pub file: PathBuf,
    /// From where on.
    pub offset: u64,
}

/// A journal that nobody uses, as it is. Nothing is changed or made, so it may lie where nothing can
/// be written.
#[derive(Debug)]
pub struct Look {
    disk: Arc<dyn Disk>,
    id: u64,
    report: Report,
}

/// Reads and checks all of the journal in `directory`. Blocks.
///
/// # Errors
/// It is in use, or can't be read.
pub fn check(directory: &Path) -> Result<Report, OpenError> {
    Ok(Look::at(directory)?.report)
}

impl Look {
    /// Reads and checks all of it. Blocks.
    ///
    /// # Errors
    /// It is in use, or can't be read.
    pub fn at(directory: &Path) -> Result<Self, OpenError> {
        let disk: Arc<dyn Disk> = Arc::new(Directory::look(directory)?);
        let scan = scan(&disk)?;
        let id = scan.id.unwrap_or_default();
        let report = report(&disk, scan)?;
        Ok(Self { disk, id, report })
    }

    /// The same of a [`Backup`](crate::Backup): it is damaged also when it is not all that was
    /// copied, and nothing of it may be torn.
    ///
    /// # Errors
    /// It is in use, or can't be read.
    pub fn at_backup(directory: &Path) -> Result<Self, OpenError> {
        let mut look = Self::at(directory)?;
        look.report.damage.extend(backup::incomplete(&*look.disk, look.report.last)?);
        let torn = look.report.torn.take();
        let damage = torn.map(|Torn { file, offset }| Damage { file, offset, check: Check::Copy });
        look.report.damage.extend(damage);
        Ok(look)
    }

    /// What was found.
    #[must_use]
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// The newest snapshot, if there is one.
    ///
    /// # Errors
    /// It can't be opened.
    pub fn snapshot(&self) -> Result<Option<Snapshot>, SnapshotError> {
        let open = |revision| SnapshotFile::open(&self.disk, revision);
        let Some(file) = self.report.snapshot.map(open).transpose()? else { return Ok(None) };
        Ok(Some(Snapshot { revision: file.revision, bytes: Box::new(file.bytes()) }))
    }

    /// All records from `from` on; there will be no more.
    #[must_use]
    pub fn follow(&self, from: Revision) -> Follow {
        let progress = Progress::ended(self.report.last);
        Follow::new(from, progress, Arc::new(Reader::new(self.disk.clone(), self.id)))
    }
}

fn report(disk: &Arc<dyn Disk>, scan: Scan) -> Result<Report, DiskError> {
    let mut report = Report {
        snapshot: scan.snapshot,
        first: scan.segments.first().map_or(1, |it| it.first),
        last: scan.next() - 1,
        segments: scan.segments.len(),
        bytes: scan.segments.iter().map(|it| it.bytes).sum(),
        torn: scan.segments.last().filter(|it| it.contents.torn.is_some()).map(|it| Torn {
            file: disk.path(&name(it.first, EXTENSION)),
            offset: it.contents.end,
        }),
        damage: scan.damage,
    };
    for revision in revisions(&disk.list()?, snapshot_file::EXTENSION) {
        match SnapshotFile::open(disk, revision).and_then(|it| it.check()) {
            Ok(bytes) => report.bytes += bytes,
            Err(SnapshotError::Damaged(it)) if report.damage.contains(&it) => {}
            Err(SnapshotError::Damaged(it)) => report.damage.push(it),
            Err(SnapshotError::Disk(error)) => return Err(error),
            Err(_) => {}
        }
    }
    Ok(report)
}
