//! Where the keeper makes the cgroups of its children: a directory of its own below its own cgroup.

use std::cell::Cell;
use std::fs::{self, File};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;

use super::clock::Now;
use crate::cgroup::{self, Cgroup};

/// How many names are tried for a spawn: more than one only if the clock was set back.
const ATTEMPTS: u64 = 1_000;

/// The keeper's part of the hierarchy. Those that are empty go when it is dropped.
#[derive(Debug)]
pub(super) struct Cgroups {
    dir: PathBuf,
    changes: OwnedFd,
    /// Whether somebody is in a cgroup that could not be watched.
    is_unwatched: Cell<bool>,
    /// Whether that was said.
    has_told: Cell<bool>,
}

impl Cgroups {
    /// Finds out whether cgroups can be used, by doing so; takes away what an earlier keeper of
    /// this runtime directory left empty.
    pub(super) fn open(runtime: &Path) -> Option<Self> {
        let meta = fs::metadata(runtime).ok()?;
        let name = format!("{}{}-{}", cgroup::PREFIX, meta.dev(), meta.ino());
        let dir = cgroup::directory_of(std::process::id())?.join(name);
        if fs::create_dir(&dir).is_err() && !dir.is_dir() {
            return None;
        }
        let flags = CreateFlags::CLOEXEC | CreateFlags::NONBLOCK;
        let changes = inotify::init(flags).ok()?;
        let (is_unwatched, has_told) = (Cell::new(false), Cell::new(false));
        let cgroups = Self { dir, changes, is_unwatched, has_told };
        cgroups.tidy(|_| false);
        // Linux 5.14; before, all could be listed but not killed at once.
        cgroups.dir.join("cgroup.kill").exists().then_some(cgroups)
    }

    /// Makes one for a spawn, with its directory open. No other spawn of this boot has its name.
    pub(super) fn make(&self, name: &str, now: Now) -> Option<(Cgroup, File)> {
        let stamps = now.unix_ms..now.unix_ms + ATTEMPTS;
        let paths = stamps.map(|stamp| self.dir.join(format!("{name}-{stamp}")));
        let cgroup = paths.map(Cgroup::make).find_map(|made| match made {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => None,
            made => Some(made),
        })?;
        let cgroup = cgroup.ok()?;
        match File::open(cgroup.path()) {
            Ok(dir) => Some((cgroup, dir)),
            Err(_) => {
                cgroup.remove();
                None
            }
        }
    }

    /// Whether somebody is in it. If so, [`changes`](Self::changes) tells when the last process has
    /// left: nothing else does if it was not the keeper's child, or if the kernel takes it out only
    /// after the keeper has reaped it.
    pub(super) fn is_populated(&self, cgroup: &Cgroup) -> bool {
        if !cgroup.is_populated() {
            return false;
        }
        let watched = inotify::add_watch(&self.changes, cgroup.events(), WatchFlags::MODIFY);
        // Asked once more, since the last one may have left before it was watched.
        let is_populated = cgroup.is_populated();
        if let (true, Err(error)) = (is_populated, watched) {
            self.cannot_watch(error);
        }
        is_populated
    }

    /// Whether somebody is in one that nothing will tell of, so that it has to be looked at again.
    pub(super) fn take_unwatched(&self) -> bool {
        self.is_unwatched.replace(false)
    }

    fn cannot_watch(&self, why: Errno) {
        self.is_unwatched.set(true);
        if !self.has_told.replace(true) {
            eprintln!(
                "dae: cgroups cannot be watched, so they are looked at from time to time: {why}"
            );
        }
    }

    /// What to wait on.
    pub(super) fn changes(&self) -> BorrowedFd<'_> {
        self.changes.as_fd()
    }

    /// Takes note of all changes so far; which they were is seen by asking.
    pub(super) fn settle(&self) {
        let mut events = [0; 4096];
        while let Ok(1..) = rustix::io::read(&self.changes, &mut events) {}
    }

    /// Takes away those that nobody is in and that belong to nobody: what a spawn that failed, or a
    /// keeper that was killed, left behind. False if somebody is still in one of them, which is
    /// then watched.
    pub(super) fn tidy(&self, is_owned: impl Fn(&Path) -> bool) -> bool {
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let dirs = entries.filter(|entry| entry.file_type().is_ok_and(|it| it.is_dir()));
        let mut is_tidy = true;
        for cgroup in dirs.map(|it| it.path()).filter(|it| !is_owned(it)).map(Cgroup::at) {
            match self.is_populated(&cgroup) {
                true => is_tidy = false,
                false => cgroup.remove(),
            }
        }
        is_tidy
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        self.tidy(|_| false);
        // One that somebody is in stays.
        drop(fs::remove_dir(&self.dir));
    }
}
