//! A file system that is soon full.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    unistd::geteuid,
};

/// A small file system; unmounted with its owner.
pub(crate) struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts one on `directory`; nothing, and why is printed, without the right to.
    pub(crate) fn on(directory: &Path, size: &str) -> Option<Self> {
        if !geteuid().is_root() {
            // Not by `println!`, which is heard only of tests that fail.
            io::stderr().write_all(b"skipped: only root can mount a small tmpfs\n").unwrap();
            return None;
        }
        mount(Some("tmpfs"), directory, Some("tmpfs"), MsFlags::empty(), Some(&*options(size)))
            .unwrap();
        Some(Self(directory.to_owned()))
    }

    /// Makes it larger.
    pub(crate) fn grow(&self, size: &str) {
        let none = None::<&str>;
        mount(none, &self.0, none, MsFlags::MS_REMOUNT, Some(&*options(size))).unwrap();
    }

    /// Takes all the room that is left.
    pub(crate) fn fill(&self) {
        let error = fs::write(self.filler(), vec![0; 1 << 20]).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(nix::libc::ENOSPC));
    }

    /// Gives it back.
    pub(crate) fn make_room(&self) {
        fs::remove_file(self.filler()).unwrap();
    }

    /// Lets nobody write to it any more.
    pub(crate) fn make_read_only(&self) {
        let none = None::<&str>;
        let flags = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        mount(none, &self.0, none, flags, none).unwrap();
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily, since a failed test leaves processes in it.
        umount2(&self.0, MntFlags::MNT_DETACH).unwrap();
    }
}

fn options(size: &str) -> String {
    format!("size={size},mode=0700")
}
