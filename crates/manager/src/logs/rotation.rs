//! Names of rotated files, and opening them while they are being renamed and removed.

use std::{fs, io, os::unix::fs::MetadataExt, path::Path};

/// Where a file stands in the order of its siblings: oldest first, the current one last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// Renamed at `ms` (Unix milliseconds); `n` tells those of one millisecond apart.
    Rotated {
        /// When it was rotated.
        ms: u64,
        /// Counts from 0 within the millisecond.
        n: u32,
    },
    /// Still written to.
    Current,
}

/// How the files of one kind are called.
#[derive(Debug, Clone, Copy)]
pub struct Names {
    /// The file still written to.
    pub current: &'static str,
    /// What the name of a rotated file ends with.
    pub suffix: &'static str,
}

/// The output of a daemon.
pub const DATA: Names = Names { current: "current", suffix: ".log" };
/// What says what is in it.
pub const INDEX: Names = Names { current: "current.index", suffix: ".index" };
/// Output that has been rotated and compressed; the file still written to never is.
pub const PACKED: Names = Names { current: "", suffix: ".log.gz" };

/// The names in a directory at one moment, sorted.
#[derive(Debug, PartialEq, Eq)]
pub struct Listing {
    names: Vec<String>,
}

impl Key {
    /// The key for a file rotated now, always behind `newest`, even if the clock was set back.
    pub fn next(newest: Option<Self>, now_ms: u64) -> Self {
        match newest {
            Some(Self::Rotated { ms, n }) if ms >= now_ms => Self::after(ms, n),
            _ => Self::Rotated { ms: now_ms, n: 0 },
        }
    }

    /// A name that somebody made up may have the last number of its millisecond.
    fn after(ms: u64, n: u32) -> Self {
        match n.checked_add(1) {
            Some(n) => Self::Rotated { ms, n },
            None => Self::Rotated { ms: ms.saturating_add(1), n: 0 },
        }
    }
}

impl Names {
    /// The name of the file with this key.
    pub fn file(&self, key: Key) -> String {
        match key {
            Key::Rotated { ms, n } => format!("@{ms}-{n}{}", self.suffix),
            Key::Current => self.current.to_owned(),
        }
    }

    /// The key of a file, if it is one of this kind and called as [`file`](Self::file) calls it: it
    /// is opened by that.
    pub fn key(&self, file: &str) -> Option<Key> {
        if file == self.current {
            return Some(Key::Current);
        }
        let (ms, n) = file.strip_prefix('@')?.strip_suffix(self.suffix)?.split_once('-')?;
        let key = Key::Rotated { ms: ms.parse().ok()?, n: n.parse().ok()? };
        (self.file(key) == file).then_some(key)
    }
}

impl Listing {
    /// Reads the names in `dir`; none if there is no such directory.
    ///
    /// # Errors
    /// Those of reading a directory.
    pub fn read(dir: &Path) -> io::Result<Self> {
        let entries = match fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Self { names: vec![] });
            }
            Err(error) => return Err(error),
        };
        let mut names = vec![];
        for entry in entries {
            names.extend(entry?.file_name().into_string());
        }
        names.sort_unstable();
        Ok(Self { names })
    }

    /// The keys of the files of one kind, oldest first.
    pub fn keys(&self, names: &Names) -> Vec<Key> {
        let mut keys: Vec<_> = self.names.iter().filter_map(|it| names.key(it)).collect();
        keys.sort_unstable();
        keys
    }

    /// The keys of rotated files, each in at least one of these kinds, oldest first.
    pub fn rotated(&self, kinds: &[Names]) -> Vec<Key> {
        let mut keys: Vec<_> = kinds.iter().flat_map(|names| self.keys(names)).collect();
        keys.retain(|it| *it != Key::Current);
        keys.sort_unstable();
        keys.dedup();
        keys
    }
}

/// Opens by a listing of `dir` that is still true once the files are open.
///
/// A name may belong to another file by the time it is opened. Rotation and pruning each change the
/// set of names, so an equal listing afterwards proves that `open` got what it meant; otherwise it
/// is asked again.
///
/// # Errors
/// Those of listing `dir`, and of `open` if the names stood still.
pub fn settled<T>(
    dir: &Path,
    mut open: impl FnMut(&Listing) -> io::Result<Option<T>>,
) -> io::Result<Option<T>> {
    let mut before = Listing::read(dir)?;
    loop {
        let opened = open(&before);
        let after = Listing::read(dir)?;
        if before == after {
            return opened;
        }
        before = after;
    }
}

/// Whether `path` is the file with this inode now.
///
/// # Errors
/// Those of `stat`, but a missing file is `false`.
pub fn is_file(path: &Path, inode: u64) -> io::Result<bool> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(metadata.ino() == inode),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_keys_are_the_same_thing() {
        for name in ["current", "@1700000000000-0.log", "@5-12.log"] {
            assert_eq!(DATA.file(DATA.key(name).unwrap()), name);
        }
        for name in ["current.index", "@5-1.index", "@5.log", "@x-1.log", "5-1.log", "@5-1.log.zst"]
        {
            assert_eq!(DATA.key(name), None, "{name}");
        }
    }

    #[test]
    fn a_number_that_is_written_in_another_way_makes_no_key() {
        for name in
            ["@+5-1.log", "@05-1.log", "@5-+1.log", "@5-01.log", "@99999999999999999999-0.log"]
        {
            assert_eq!(DATA.key(name), None, "{name}");
        }
    }

    #[test]
    fn keys_sort_by_number_and_current_is_last() {
        let names =
            ["@10-0.log", "@9-2.log", "@9-10.log", "current"].map(|it| DATA.key(it).unwrap());
        let mut sorted = names;
        sorted.sort();
        assert_eq!(sorted, [names[1], names[2], names[0], names[3]]);
    }

    #[test]
    fn a_new_key_is_behind_all_others_even_if_the_clock_goes_back() {
        let first = Key::next(None, 100);
        let same = Key::next(Some(first), 100);
        let back = Key::next(Some(same), 50);
        let later = Key::next(Some(back), 101);
        assert!(first < same && same < back && back < later && later < Key::Current);
    }

    #[test]
    fn a_name_with_the_last_number_of_its_millisecond_is_followed_by_the_next() {
        let last = DATA.key("@7-4294967295.log");
        assert_eq!(Key::next(last, 7), Key::Rotated { ms: 8, n: 0 });
        let very_last = DATA.key("@18446744073709551615-4294967295.log");
        assert_eq!(Key::next(very_last, 7), Key::Rotated { ms: u64::MAX, n: 0 });
    }

    #[test]
    fn a_listing_that_changed_meanwhile_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("current"), "").unwrap();
        let mut calls = 0;
        let keys = settled(dir.path(), |listing| {
            calls += 1;
            fs::rename(dir.path().join("current"), dir.path().join("@1-0.log")).ok();
            Ok(Some(listing.keys(&DATA)))
        });
        assert_eq!(keys.unwrap(), Some(vec![Key::Rotated { ms: 1, n: 0 }]));
        assert_eq!(calls, 2);
    }
}
