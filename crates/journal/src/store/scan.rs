//! What a directory holds, and whether it is what was written.

use std::{path::PathBuf, sync::Arc};

use super::{
    disk::Disk,
    head::parse_head,
    name::{name, revisions},
    segment::{self, Broken, Contents, EXTENSION, examine, read_all},
    snapshot_file::{self, SnapshotFile},
};
use crate::{Check, Damage, DiskError, Revision, SnapshotError, keys::Keys};

/// What was found in a directory.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    /// Of the journal; `None` in an empty directory.
    pub(crate) id: Option<u64>,
    /// What the newest snapshot stands for.
    pub(crate) snapshot: Option<Revision>,
    /// Those that could be read, oldest first.
    pub(crate) segments: Vec<Found>,
    pub(crate) keys: Keys,
    /// Everything that no crash explains.
    pub(crate) damage: Vec<Damage>,
}

/// A segment that could be read.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) first: Revision,
    pub(crate) bytes: u64,
    pub(crate) contents: Contents,
}

/// Looks at everything but the bytes of the snapshot, which are checked as they are read.
pub(crate) fn scan(disk: &Arc<dyn Disk>) -> Result<Scan, DiskError> {
    let names = disk.list()?;
    let mut scan = Scan::default();
    if let Some(newest) = revisions(&names, snapshot_file::EXTENSION).last() {
        scan.add_snapshot(disk, *newest)?;
    }
    let mut buffer = Vec::new();
    for first in revisions(&names, EXTENSION) {
        read_all(&*disk.open(&name(first, EXTENSION))?, &mut buffer)?;
        scan.add_segment(&**disk, first, &buffer);
    }
    if scan.damage.is_empty() {
        scan.damage.extend(scan.broken_chain(&**disk));
    }
    Ok(scan)
}

impl Scan {
    /// The revision that comes next.
    pub(crate) fn next(&self) -> Revision {
        self.segments.last().map_or(1, |it| it.contents.next)
    }

    fn add_snapshot(&mut self, disk: &Arc<dyn Disk>, revision: Revision) -> Result<(), DiskError> {
        self.snapshot = Some(revision);
        let opened = SnapshotFile::open(disk, revision).and_then(|it| Ok((it.id, it.keys()?)));
        match opened {
            Ok((id, keys)) => {
                self.id = Some(id);
                keys.iter().for_each(|(key, revision)| self.keys.found(key, *revision));
            }
            Err(SnapshotError::Damaged(damage)) => self.damage.push(damage),
            Err(SnapshotError::Disk(error)) => return Err(error),
            Err(_) => {}
        }
        Ok(())
    }

    fn add_segment(&mut self, disk: &dyn Disk, first: Revision, file: &[u8]) {
        let found = parse_head(segment::SEGMENT, file);
        let found = found.filter(|(_, found)| *found == first && first > 0);
        let contents = match found {
            None => Err(Broken { offset: 0, check: Check::Head }),
            Some((id, _)) if *self.id.get_or_insert(id) != id => {
                Err(Broken { offset: 0, check: Check::Owner })
            }
            Some((id, _)) => examine(file, id, first, Revision::MAX, |frame| {
                self.keys.found(frame.key, frame.revision);
            }),
        };
        match contents {
            Ok(contents) => self.segments.push(Found { first, bytes: file.len() as u64, contents }),
            Err(Broken { offset, check }) => {
                self.damage.push(Damage {
                    file: disk.path(&name(first, EXTENSION)),
                    offset,
                    check,
                });
            }
        }
    }

    /// The first place where something is missing between files that are whole each.
    fn broken_chain(&self, disk: &dyn Disk) -> Option<Damage> {
        let damage = |file: PathBuf, offset, first| {
            Some(Damage { file, offset, check: Check::Whole { first } })
        };
        let wanted = self.snapshot.map_or(1, |it| it + 1);
        let Some(oldest) = self.segments.first() else {
            let snapshot = disk.path(&name(self.snapshot?, snapshot_file::EXTENSION));
            return damage(snapshot, 0, wanted);
        };
        if oldest.first > wanted {
            return damage(disk.path(&name(oldest.first, EXTENSION)), 0, wanted);
        }
        let followers = self.segments[1..].iter().map(Some).chain([None]);
        for (segment, follower) in self.segments.iter().zip(followers) {
            let Contents { next, end, is_sealed, .. } = segment.contents;
            let is_whole = match follower {
                // What is torn behind its last record is the rest of a seal.
                Some(follower) => follower.first == next,
                None => !is_sealed && next >= wanted,
            };
            if !is_whole {
                return damage(disk.path(&name(segment.first, EXTENSION)), end, next);
            }
        }
        None
    }
}
