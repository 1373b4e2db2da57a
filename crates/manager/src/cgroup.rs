//! A control group (version 2): the kernel's own list of who belongs to a tree.
//!
//! A process is in its parent's from its birth on, whatever it does to its environment, session or
//! parents, so no member can hide; and all of them can be killed at once. No child is moved into
//! one, since that takes a lock of the whole system: it is born there.
//!
//! Nothing here is needed. Without a hierarchy, or without leave to use it, a tree is found by its
//! parents, its group and its secret.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::proc::Pid;

/// What the directories of a keeper's cgroups begin with.
pub const PREFIX: &str = "dae-";

/// The cgroup of one spawn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// Makes a new one, with nobody in it.
    ///
    /// # Errors
    /// Those of mkdir(2), EEXIST among them.
    pub fn make(path: PathBuf) -> io::Result<Self> {
        fs::create_dir(&path)?;
        Ok(Self { path })
    }

    /// One that was made before.
    pub fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file that changes when the last process has left.
    pub fn events(&self) -> PathBuf {
        self.path.join("cgroup.events")
    }

    /// Whether a process is in it or below; a zombie is not. So it is also if that cannot be told.
    pub fn is_populated(&self) -> bool {
        match fs::read_to_string(self.events()) {
            Ok(events) => events.lines().any(|line| line == "populated 1"),
            Err(error) => {
                let is_gone = matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV));
                !is_gone
            }
        }
    }

    /// Those in it, but not below.
    pub fn processes(&self) -> Vec<Pid> {
        let all = fs::read_to_string(self.path.join("cgroup.procs")).unwrap_or_default();
        all.lines().filter_map(|pid| pid.parse().ok()).collect()
    }

    /// Kills all in it and below, with those that are just being born.
    ///
    /// # Errors
    /// If it is gone, or is not one that a keeper has made.
    pub fn kill(&self) -> io::Result<()> {
        // The path may come from a file, and its neighbours hold the whole system.
        if !self.is_keepers() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        OpenOptions::new().write(true).open(self.path.join("cgroup.kill"))?.write_all(b"1")
    }

    /// Kills as [`kill`](Self::kill) does; true if there is nothing to be killed by it, now or
    /// ever.
    pub fn is_gone_when_killed(&self) -> bool {
        self.kill().is_err_and(|error| match error.kind() {
            io::ErrorKind::InvalidInput => true,
            _ => matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV)),
        })
    }

    /// Whether it lies right below a directory that a keeper makes, by its whole path.
    fn is_keepers(&self) -> bool {
        let mut parts = self.path.components().rev();
        let (Some(Component::Normal(_)), Some(Component::Normal(parent))) =
            (parts.next(), parts.next())
        else {
            return false;
        };
        let is_plain = parts.all(|it| matches!(it, Component::Normal(_) | Component::RootDir));
        is_plain && parent.as_bytes().starts_with(PREFIX.as_bytes())
    }

    /// Takes it away with those that its own processes made below it, as far as they are empty.
    pub fn remove(&self) {
        if self.is_keepers() {
            remove(&self.path);
        }
    }

    /// Whether a process with this line of `/proc/PID/cgroup` is in it or below.
    pub fn is_named_by(&self, line: &[u8]) -> bool {
        let mut own = self.path.iter().rev();
        let (Some(name), Some(keeper)) = (own.next(), own.next()) else { return false };
        let parts: Vec<_> = line.split(|&byte| byte == b'/').collect();
        parts.windows(2).any(|it| it[0] == keeper.as_bytes() && it[1] == name.as_bytes())
    }
}

fn remove(path: &Path) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|it| it.is_dir()) {
            remove(&entry.path());
        }
    }
    // One that somebody is in stays.
    drop(fs::remove_dir(path));
}

/// The line of `/proc/PID/cgroup` about the unified hierarchy, without its end.
pub fn line_of(pid: Pid) -> Option<Vec<u8>> {
    unified(&fs::read(format!("/proc/{pid}/cgroup")).ok()?).map(<[u8]>::to_vec)
}

/// The directory of a process's own cgroup; `None` without a unified hierarchy.
pub fn directory_of(pid: Pid) -> Option<PathBuf> {
    directory(&fs::read("/proc/self/mountinfo").ok()?, &line_of(pid)?)
}

/// The directory outside of all keepers' that a process in one of their cgroups is below.
pub fn outside(directory: &Path) -> Option<&Path> {
    let is_keepers = |it: &&Path| {
        it.file_name().is_some_and(|name| name.as_bytes().starts_with(PREFIX.as_bytes()))
    };
    directory.ancestors().filter(is_keepers).last()?.parent()
}

/// Moves this process out of the cgroup of the daemon that it was started by, if there is one, so
/// that it does not end with it.
pub fn leave() {
    let pid = std::process::id();
    let Some(own) = directory_of(pid) else { return };
    if let Some(outside) = outside(&own) {
        // Where that is not allowed it stays a part of the daemon.
        drop(fs::write(outside.join("cgroup.procs"), pid.to_string()));
    }
}

fn unified(cgroups: &[u8]) -> Option<&[u8]> {
    cgroups.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(b"0::"))
}

/// Finds the directory of `line` below the mount of type cgroup2, which on hybrid hosts is not
/// `/sys/fs/cgroup` itself. What is mounted may be a part of the hierarchy.
pub(crate) fn directory(mountinfo: &[u8], line: &[u8]) -> Option<PathBuf> {
    mountinfo.split(|&byte| byte == b'\n').find_map(|mount| {
        let fields: Vec<_> = mount.split(|&byte| byte == b' ').collect();
        let end = fields.iter().position(|&field| field == b"-")?;
        (*fields.get(end + 1)? == b"cgroup2").then_some(())?;
        let [root, point] = [3, 4].map(|at| fields.get(at).map(|field| unescaped(field)));
        let below = Path::new(OsStr::from_bytes(line)).strip_prefix(root?).ok()?.to_owned();
        Some(point?.join(below))
    })
}

/// Blanks and the like stand as `\040` in `mountinfo`.
fn unescaped(field: &[u8]) -> PathBuf {
    let mut path = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, after)) = rest.split_first() {
        let octal = rest.get(1..4).filter(|_| byte == b'\\');
        let code = octal.and_then(|it| u8::from_str_radix(str::from_utf8(it).ok()?, 8).ok());
        path.push(code.unwrap_or(byte));
        rest = if code.is_some() { &rest[4..] } else { after };
    }
    std::ffi::OsString::from_vec(path).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &[u8] = b"31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
        32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime shared:9 - cgroup cgroup rw,cpu\n\
        41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";

    fn found(mountinfo: &[u8], line: &str) -> Option<PathBuf> {
        directory(mountinfo, line.as_bytes())
    }

    #[test]
    fn the_own_directory_is_found_wherever_the_hierarchy_is() {
        assert_eq!(found(HYBRID, "/"), Some("/sys/fs/cgroup/unified/".into()));
        assert_eq!(found(HYBRID, "/a/b"), Some("/sys/fs/cgroup/unified/a/b".into()));
        let part = b"9 8 0:7 /docker/x /mnt/c\\040g rw - cgroup2 none rw";
        assert_eq!(found(part, "/docker/x/y"), Some("/mnt/c g/y".into()));
        assert_eq!(found(part, "/elsewhere"), None);
        assert_eq!(found(b"32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu", "/"), None);
        assert_eq!(unified(b"1:cpu:/a\n0::/b\n"), Some(&b"/b"[..]));
    }

    #[test]
    fn a_process_names_its_cgroup_by_whole_parts() {
        let it = Cgroup::at("/sys/fs/cgroup/user/dae-1-2/Sample-9".into());
        for inside in ["/user/dae-1-2/Sample-9", "/dae-1-2/Sample-9/own/part"] {
            assert!(it.is_named_by(inside.as_bytes()), "{inside}");
        }
        for outside in ["/", "/dae-1-2", "/dae-1-2/Sample-91", "/dae-1-22/Sample-9", "/Sample-9"] {
            assert!(!it.is_named_by(outside.as_bytes()), "{outside}");
        }
    }

    #[test]
    fn what_no_keeper_made_is_not_killed() {
        for path in
            ["/sys/fs/cgroup/system.slice", "/cg/dae-1-2/..", "/cg/dae-1-2/A/../B", "dae-1-2"]
        {
            let error = Cgroup::at(path.into()).kill().unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{path}");
        }
    }

    #[test]
    fn what_is_outside_of_nested_keepers_is_outside_of_all() {
        let outside_of = |path| outside(Path::new(path)).map(Path::to_str);
        assert_eq!(outside_of("/cg/user/dae-1-2/A-3/dae-4-5/B-6"), Some(Some("/cg/user")));
        assert_eq!(outside_of("/cg/user"), None);
    }
}
