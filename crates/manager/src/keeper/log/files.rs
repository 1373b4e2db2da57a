//! The files of one log: `current` with its index, and the pairs that rotation renamed.

use std::collections::VecDeque;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::logs::rotation::{DATA, INDEX, Key, Listing, PACKED};

/// The directory of one log.
#[derive(Debug)]
pub(super) struct Files {
    dir: PathBuf,
    /// How many rotated pairs stay.
    keep: usize,
    /// Those that are there, oldest first.
    old: VecDeque<Key>,
}

impl Files {
    /// Makes the directory if it is missing.
    pub(super) fn open(dir: &Path, keep: usize) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        Ok(Self { dir: dir.to_owned(), keep, old: rotated(dir)? })
    }

    /// Whether a rotated file is not compressed yet.
    pub(super) fn has_raw(&self) -> bool {
        self.old.iter().any(|&key| self.dir.join(DATA.file(key)).exists())
    }

    /// Opens `current` and its index, which are made if need be.
    pub(super) fn current(&self) -> io::Result<(File, File)> {
        let [data, index] = self.paths(Key::Current);
        Ok((open_append(&data)?, open_append(&index)?))
    }

    /// Whether this is `current`, and not one that was removed or replaced with its directory.
    pub(super) fn is_current(&self, data: &File) -> bool {
        let inode = |it: Metadata| (it.dev(), it.ino());
        let [current, _] = self.paths(Key::Current);
        let there = fs::metadata(current).map(inode).ok();
        there.is_some() && there == data.metadata().map(inode).ok()
    }

    /// Gives the current files their final names and opens new ones; on failure all is as before.
    pub(super) fn rotate(&mut self, unix_ms: u64) -> io::Result<(File, File)> {
        let key = Key::next(self.old.back().copied(), unix_ms);
        let [current, current_index] = self.paths(Key::Current);
        let [data, index] = self.paths(key);
        // The index goes first: between the two, a crash leaves bytes without records, which the
        // next start mends, and not records without bytes.
        fs::rename(&current_index, &index)?;
        fs::rename(&current, &data)?;
        match self.current() {
            Ok(opened) => {
                self.old.push_back(key);
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
            let Some(key) = self.old.pop_front() else { return };
            // The compressed form comes while the raw one is there.
            for names in [DATA, PACKED, INDEX] {
                // Somebody else may have deleted it, which is as good.
                drop(fs::remove_file(self.dir.join(names.file(key))));
            }
        }
    }

    fn paths(&self, key: Key) -> [PathBuf; 2] {
        [DATA, INDEX].map(|names| self.dir.join(names.file(key)))
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
pub(super) fn rotated(dir: &Path) -> io::Result<VecDeque<Key>> {
    Ok(Listing::read(dir)?.rotated(&[DATA, PACKED]).into())
}
