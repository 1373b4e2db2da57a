//! The files of one log: `current` with its index, and the pairs that rotation renamed.

use std::collections::VecDeque;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// When a file was rotated: Unix milliseconds, and a number within one.
pub(crate) type Stamp = (u64, u32);

/// The directory of one log.
#[derive(Debug)]
pub(super) struct Files {
    dir: PathBuf,
    /// How many rotated pairs stay.
    keep: usize,
    /// Those that are there, oldest first.
    old: VecDeque<Stamp>,
}

impl Files {
    /// Makes the directory if it is missing.
    pub(super) fn open(dir: &Path, keep: usize) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        Ok(Self { dir: dir.to_owned(), keep, old: rotated(dir)? })
    }

    /// Whether a rotated file is not compressed yet.
    pub(super) fn has_raw(&self) -> bool {
        self.old.iter().any(|stamp| self.rotated_paths(*stamp)[0].exists())
    }

    /// Opens `current` and its index, which are made if need be.
    pub(super) fn current(&self) -> io::Result<(File, File)> {
        let [data, index] = self.current_paths();
        Ok((open_append(&data)?, open_append(&index)?))
    }

    /// Whether this is `current`, and not one that was removed or replaced with its directory.
    pub(super) fn is_current(&self, data: &File) -> bool {
        let inode = |it: Metadata| (it.dev(), it.ino());
        let [current, _] = self.current_paths();
        let there = fs::metadata(current).map(inode).ok();
        there.is_some() && there == data.metadata().map(inode).ok()
    }

    /// Gives the current files their final names and opens new ones; on failure all is as before.
    pub(super) fn rotate(&mut self, unix_ms: u64) -> io::Result<(File, File)> {
        let stamp = match self.old.back() {
            // Never before an older file, whatever the clock says.
            Some(&newest) if newest.0 >= unix_ms => after(newest),
            _ => (unix_ms, 0),
        };
        let [current, current_index] = self.current_paths();
        let [data, index] = self.rotated_paths(stamp);
        // The index goes first: between the two, a crash leaves bytes without records, which the
        // next start mends, and not records without bytes.
        fs::rename(&current_index, &index)?;
        fs::rename(&current, &data)?;
        match self.current() {
            Ok(opened) => {
                self.old.push_back(stamp);
                self.delete_oldest();
                Ok(opened)
            }
            Err(error) => {
                fs::rename(&data, &current)?;
                fs::rename(&index, &current_index)?;
                Err(error)
            }
        }
    }

    fn delete_oldest(&mut self) {
        while self.old.len() > self.keep {
            let Some(stamp) = self.old.pop_front() else { return };
            for path in self.all_paths(stamp) {
                // Somebody else may have deleted it, which is as good.
                drop(fs::remove_file(path));
            }
        }
    }

    fn current_paths(&self) -> [PathBuf; 2] {
        ["current", "current.index"].map(|name| self.dir.join(name))
    }

    fn rotated_paths(&self, (ms, number): Stamp) -> [PathBuf; 2] {
        ["log", "index"].map(|ending| self.dir.join(format!("@{ms}-{number}.{ending}")))
    }

    /// What there may be of a rotated pair; the compressed form comes while the raw one is there.
    fn all_paths(&self, (ms, number): Stamp) -> [PathBuf; 3] {
        let name = |ending| self.dir.join(format!("@{ms}-{number}.{ending}"));
        ["log", "log.gz", "index"].map(name)
    }
}

/// Opens a file to be written at its end.
pub(super) fn open_append(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
}

/// The rotated files that are there, oldest first.
pub(super) fn rotated(dir: &Path) -> io::Result<VecDeque<Stamp>> {
    let mut stamps = Vec::new();
    for entry in fs::read_dir(dir)? {
        stamps.extend(entry?.file_name().to_str().and_then(stamp));
    }
    stamps.sort_unstable();
    stamps.dedup();
    Ok(stamps.into())
}

/// A name that somebody made up may have the last number of its millisecond.
fn after((ms, number): Stamp) -> Stamp {
    number.checked_add(1).map_or((ms.saturating_add(1), 0), |number| (ms, number))
}

/// When a file was rotated, compressed or not, by its name; `None` for one that the keeper would
/// have called otherwise.
pub(crate) fn stamp(file_name: &str) -> Option<Stamp> {
    let name = file_name.strip_suffix(".gz").unwrap_or(file_name);
    let (ms, number) = name.strip_prefix('@')?.strip_suffix(".log")?.split_once('-')?;
    let stamp: Stamp = (ms.parse().ok()?, number.parse().ok()?);
    (format!("@{}-{}.log", stamp.0, stamp.1) == name).then_some(stamp)
}
