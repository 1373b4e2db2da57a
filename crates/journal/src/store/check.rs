//! Looks at a journal that nobody uses, and changes nothing.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    disk::{Directory, Disk},
    parts::{self, SnapshotFile},
    scan::scan,
    segment::{EXTENSION, name, revisions},
};
use crate::{Damage, DiskError, OpenError, Revision, SnapshotError};

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

/// Reads and checks all of the journal in `directory`. Blocks.
///
/// # Errors
/// It is in use, or can't be read.
pub fn check(directory: &Path) -> Result<Report, OpenError> {
    let failed = |source| DiskError { act: "open", file: directory.to_owned(), source };
    fs::metadata(directory).map_err(failed)?;
    Ok(report(&(Arc::new(Directory::hold(directory)?) as Arc<dyn Disk>))?)
}

pub(crate) fn report(disk: &Arc<dyn Disk>) -> Result<Report, DiskError> {
    let scan = scan(disk)?;
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
    for revision in revisions(&disk.list()?, parts::EXTENSION) {
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
