//! The log of a manager in the background: its stderr, so that a panic is in it too, and no longer
//! than it may be.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use manager::{
    logs::rotation::{Key, Listing, Names, PACKED},
    time::now_ms,
};

/// A file is rotated when it has become so long: some days of a busy manager.
const LIMIT_BYTES: u64 = 4 << 20;

/// How many rotated files are kept: with the current one at most 20 MiB.
const KEEP: usize = 4;

const NAMES: Names = Names { current: "manager.log", suffix: ".log" };

/// Rotated files are compressed with those of daemons.
const KINDS: [Names; 2] = [NAMES, PACKED];

/// Writes to stderr, and makes it a new file when the old one is full.
#[derive(Debug)]
pub(super) struct OwnLog {
    dir: PathBuf,
}

impl OwnLog {
    /// For a manager whose stderr is the log in `dir`.
    pub(super) fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    fn turn(&self) -> io::Result<()> {
        rotate_if_full(&self.dir)?;
        Ok(rustix::stdio::dup2_stderr(open(&self.dir)?)?)
    }
}

impl Write for OwnLog {
    /// Asks the kernel how long the file is, since panics and others write to it as well.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let stat = rustix::fs::fstat(rustix::stdio::stderr())?;
        if u64::try_from(stat.st_size).is_ok_and(|it| it >= LIMIT_BYTES) {
            // A log that is too long is better than none.
            drop(self.turn());
        }
        io::stderr().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// Where the manager of these logs writes its own.
pub(super) fn dir(logs: &Path) -> PathBuf {
    logs.join("Dae")
}

/// The file that is written to.
pub(super) fn path(dir: &Path) -> PathBuf {
    dir.join(NAMES.current)
}

/// Opens it to be written at its end.
pub(super) fn open(dir: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    options.open(path(dir))
}

/// Gives a file that has become too long another name, and removes the oldest.
pub(super) fn rotate_if_full(dir: &Path) -> io::Result<()> {
    let is_full = fs::metadata(path(dir)).is_ok_and(|it| it.len() >= LIMIT_BYTES);
    if !is_full {
        return Ok(());
    }
    let rotated = Listing::read(dir)?.rotated(&KINDS);
    let key = Key::next(rotated.last().copied(), now_ms());
    fs::rename(path(dir), dir.join(NAMES.file(key)))?;
    for &key in rotated.iter().take((rotated.len() + 1).saturating_sub(KEEP)) {
        for names in KINDS {
            // It is there in one of both forms.
            drop(fs::remove_file(dir.join(names.file(key))));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_log_is_rotated_and_only_so_many_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("@1-0.log.gz"), "").unwrap();
        for round in 0..KEEP {
            fs::write(path(dir.path()), "short").unwrap();
            rotate_if_full(dir.path()).unwrap();
            assert!(path(dir.path()).exists(), "{round}");
            File::create(path(dir.path())).unwrap().set_len(LIMIT_BYTES).unwrap();
            rotate_if_full(dir.path()).unwrap();
            assert!(!path(dir.path()).exists());
        }
        let keys = Listing::read(dir.path()).unwrap().rotated(&KINDS);
        assert_eq!(keys.len(), KEEP);
        assert!(!keys.contains(&Key::Rotated { ms: 1, n: 0 }));
    }
}
