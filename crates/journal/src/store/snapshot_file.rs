//! The file of a snapshot: a head like that of a segment, parts of the bytes, parts of the table of
//! keys, and an end which tells where the table begins.

use std::sync::Arc;

use super::{
    disk::{Disk, Stored},
    head::{HEAD, parse_head},
    name::name,
    parts::PartReader,
};
use crate::{Check, Damage, Revision, SnapshotError};

/// The first bytes of a snapshot; the last one is the version of the format.
pub(crate) const SNAPSHOT: &[u8; 8] = b"daesnap\x01";

/// The first bytes of its end, which has the form of a head.
pub(crate) const END: &[u8; 8] = b"daesend\x01";

/// The end of the names of snapshots.
pub(crate) const EXTENSION: &str = ".snapshot";

/// A snapshot in its file, seen to have a head and an end.
#[derive(Debug)]
pub(crate) struct SnapshotFile {
    disk: Arc<dyn Disk>,
    file: Arc<dyn Stored>,
    pub(crate) id: u64,
    pub(crate) revision: Revision,
    keys_at: u64,
    end: u64,
}

impl SnapshotFile {
    /// Opens the snapshot that stands for `revision`.
    pub(crate) fn open(disk: &Arc<dyn Disk>, revision: Revision) -> Result<Self, SnapshotError> {
        let file = disk.open(&name(revision, EXTENSION))?;
        let length = file.length()?;
        let end = length.saturating_sub(HEAD as u64);
        let read = |at| {
            let mut bytes = [0; HEAD];
            file.read(&mut bytes, at).map(|_| bytes)
        };
        let damage =
            |offset, check| Damage { file: disk.path(&name(revision, EXTENSION)), offset, check };
        let (id, _) = parse_head(SNAPSHOT, &read(0)?)
            .filter(|(_, found)| *found == revision)
            .ok_or_else(|| damage(0, Check::Head))?;
        let (_, keys_at) = parse_head(END, &read(end)?)
            .filter(|(owner, keys_at)| *owner == id && *keys_at <= end)
            .ok_or_else(|| damage(end, Check::End))?;
        Ok(Self { disk: disk.clone(), file, id, revision, keys_at, end })
    }

    /// Checks all of it, and tells how many bytes it has.
    pub(crate) fn check(&self) -> Result<u64, SnapshotError> {
        let (mut parts, mut length) = (self.bytes(), 0);
        loop {
            match parts.take()?.len() {
                0 => break,
                part => length += part as u64,
            }
        }
        self.keys().map(|_| length)
    }

    /// Its bytes.
    pub(crate) fn bytes(&self) -> PartReader {
        self.parts(HEAD as u64, self.keys_at)
    }

    /// The table of keys.
    pub(crate) fn keys(&self) -> Result<Vec<(String, Revision)>, SnapshotError> {
        let (mut parts, mut table) = (self.parts(self.keys_at, self.end), Vec::new());
        loop {
            match parts.take()? {
                part if part.is_empty() => break,
                part => table.extend(part),
            }
        }
        let (mut rest, mut keys) = (&table[..], Vec::new());
        while !rest.is_empty() {
            let (key, revision, behind) = key(rest).ok_or_else(|| parts.damage())?;
            keys.push((key.to_owned(), revision));
            rest = behind;
        }
        Ok(keys)
    }

    fn parts(&self, at: u64, end: u64) -> PartReader {
        let path = self.disk.path(&name(self.revision, EXTENSION));
        PartReader::new(self.file.clone(), path, self.id, at, end)
    }
}

/// The first key of a table, its last revision, and the rest of the table.
fn key(table: &[u8]) -> Option<(&str, Revision, &[u8])> {
    let (revision, rest) = table.split_first_chunk()?;
    let (length, rest) = rest.split_first()?;
    let (key, rest) = rest.split_at_checked(usize::from(*length))?;
    Some((str::from_utf8(key).ok()?, u64::from_le_bytes(*revision), rest))
}
