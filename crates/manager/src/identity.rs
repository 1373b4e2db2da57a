//! Which process a pid meant when it was written down.
//!
//! A pid alone is a number that the kernel gives to somebody else later. With the moment of its
//! start, the boot and the inode of its pidfd it is one process for ever, so that a manager which
//! comes back can tell its daemon from a stranger.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::cgroup::Cgroup;

/// One process, as `running/NAME.json` has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The daemon that it runs.
    pub name: String,
    /// Its pid, which somebody else may have by now.
    pub pid: i32,
    /// When it started, in clock ticks since boot (field 22 of `/proc/PID/stat`).
    pub start_ticks: u64,
    /// The boot in which it started.
    pub boot_id: String,
    /// The inode of its pidfd, unique within a boot; absent before Linux 6.9.
    pub inode: Option<u64>,
    /// The cookie of this spawn, `DAE_SECRET` in the environment of the whole tree.
    pub secret: String,
    /// When it was spawned, in Unix milliseconds.
    pub spawned_at_ms: u64,
    /// The cgroup of its tree; absent where none can be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<Cgroup>,
}

/// Why a process could not be told from others.
#[derive(Debug, thiserror::Error)]
#[error("cannot identify pid {pid}")]
pub struct ReadError {
    pid: i32,
    /// What the kernel said.
    pub source: io::Error,
}

/// Why an identity could not be stored.
#[derive(Debug, thiserror::Error)]
#[error("cannot write `{}`", path.display())]
pub struct StoreError {
    path: PathBuf,
    /// What the file system said.
    pub source: io::Error,
}

/// Why an identity could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file holds something else.
    #[error("`{}` is not an identity", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
}

impl Identity {
    /// Identifies a process that cannot vanish meanwhile: an unreaped child of the caller.
    ///
    /// # Errors
    /// [`ReadError`] if there is no such process.
    pub fn read(name: &str, pid: Pid, secret: &str, now_ms: u64) -> Result<Self, ReadError> {
        let failed = |source| ReadError { pid: pid.as_raw_pid(), source };
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).map_err(|errno| failed(errno.into()))?;
        Ok(Self {
            name: name.to_owned(),
            pid: pid.as_raw_pid(),
            start_ticks: Stat::of(pid).map_err(failed)?.start_ticks,
            boot_id: boot_id().map_err(failed)?,
            inode: inode(&pidfd),
            secret: secret.to_owned(),
            spawned_at_ms: now_ms,
            cgroup: None,
        })
    }

    /// The file of a daemon's identity below a runtime directory.
    pub fn path(runtime: &Path, name: &str) -> PathBuf {
        runtime.join("running").join(format!("{name}.json"))
    }

    /// Writes the file anew, mode 0600, so that a reader sees the old or the new one whole.
    ///
    /// # Errors
    /// [`StoreError`], and the old file stays.
    pub fn store(&self, runtime: &Path) -> Result<(), StoreError> {
        let path = Self::path(runtime, &self.name);
        let new = path.with_file_name(format!(".{}.json.new", self.name));
        let bytes = serde_json::to_vec(self).expect("strings and numbers always serialise");
        create_private(&new)
            .and_then(|mut file| file.write_all(&bytes))
            .and_then(|()| fs::rename(&new, &path))
            .map_err(|source| StoreError { path, source })
    }

    /// Reads a file that [`store`](Self::store) wrote.
    ///
    /// # Errors
    /// [`LoadError`]
    pub fn load(path: &Path) -> Result<Self, LoadError> {
        let bytes =
            fs::read(path).map_err(|source| LoadError::Read { path: path.to_owned(), source })?;
        serde_json::from_slice(&bytes)
            .map_err(|source| LoadError::Content { path: path.to_owned(), source })
    }

    /// Whether this very process still runs; a zombie does not.
    pub fn is_alive(&self) -> bool {
        self.open().is_some()
    }

    /// A pidfd of this very process, if it still runs. Only through it may it be signalled.
    pub fn open(&self) -> Option<OwnedFd> {
        let pid = Pid::from_raw(self.pid)?;
        // The pidfd comes first: what is read after it was opened is about the process it holds,
        // or about a later one, whose start differs.
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        let stat = Stat::of(pid).ok()?;
        let is_same = boot_id().ok()? == self.boot_id
            && stat.start_ticks == self.start_ticks
            && (self.inode.is_none() || inode(&pidfd) == self.inode);
        (is_same && !stat.is_dead()).then_some(pidfd)
    }
}

/// How often processes are looked for that were forked while others were killed.
const SWEEPS: usize = 20;

/// How long the killed may take to end, all together; more is one in a system call that cannot be interrupted.
const DEATH: Duration = Duration::from_millis(900);

/// Kills these processes with their cgroups, and all of this user's that carry one of their cookies, each
/// through a pidfd that was opened before it was looked at; waits until they have ended. For the case that the keeper, who could
/// do better, is gone.
pub fn kill_trees(identities: &[Identity]) {
    let until = Instant::now() + DEATH;
    let boot_id = boot_id().unwrap_or_default();
    let cgroups =
        identities.iter().filter(|it| it.boot_id == boot_id).filter_map(|it| it.cgroup.as_ref());
    for cgroup in cgroups {
        // It may be gone, with all that were in it.
        drop(cgroup.kill());
    }
    for _ in 0..SWEEPS {
        let living = living(identities);
        if living.is_empty() {
            return;
        }
        for pidfd in &living {
            // It may end by itself just now.
            _ = pidfd_send_signal(pidfd, Signal::KILL);
        }
        wait_for(&living, until);
    }
}

/// Who of these trees still runs, by one walk over all processes.
fn living(identities: &[Identity]) -> Vec<OwnedFd> {
    let boot_id = boot_id().unwrap_or_default();
    // A file that somebody has mended by hand may hold no secret; that of an earlier boot tells of nobody.
    let own = identities.iter().filter(|it| !it.secret.is_empty() && it.boot_id == boot_id);
    let cookies: HashSet<&OsStr> = own.map(|it| OsStr::new(&it.secret)).collect();
    let carries_one = |pid: u32| {
        let pidfd =
            pidfd_open(Pid::from_raw(i32::try_from(pid).ok()?)?, PidfdFlags::empty()).ok()?;
        let cookie = crate::proc::variable(pid, "DAE_SECRET").ok()??;
        cookies.contains(cookie.as_os_str()).then_some(pidfd)
    };
    let leaders = identities.iter().filter_map(Identity::open);
    let all = crate::proc::own_processes().unwrap_or_default();
    leaders.chain(all.into_iter().filter_map(carries_one)).collect()
}

/// Waits for the end of all these processes, but not for ever.
fn wait_for(pidfds: &[OwnedFd], until: Instant) {
    for pidfd in pidfds {
        let left = until.saturating_duration_since(Instant::now());
        let left = Timespec { tv_sec: 0, tv_nsec: i64::from(left.subsec_nanos()) };
        // A pidfd is readable once its process has ended; an interrupted wait is made up for by the next look.
        _ = poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&left));
    }
}

/// What `/proc/PID/stat` says of a process's relations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// `R`, `S`, `Z` and so on.
    pub state: u8,
    /// Its parent's pid.
    pub parent: i32,
    /// The number of its process group.
    pub group: i32,
    /// The number of its session.
    pub session: i32,
    /// When it started, in clock ticks since boot.
    pub start_ticks: u64,
}

impl Stat {
    /// Asks the kernel.
    ///
    /// # Errors
    /// Those of reading the file: there is no such process.
    pub fn of(pid: Pid) -> io::Result<Self> {
        let text = fs::read(format!("/proc/{pid}/stat"))?;
        Self::parse(&text).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// Whether it has ended and waits to be reaped.
    pub fn is_dead(&self) -> bool {
        matches!(self.state, b'Z' | b'X')
    }

    /// The program's name, field 2, may hold blanks and parentheses: the last one ends it.
    fn parse(text: &[u8]) -> Option<Self> {
        let name_end = text.iter().rposition(|&byte| byte == b')')?;
        let rest = str::from_utf8(text.get(name_end + 1..)?).ok()?;
        let mut fields = rest.split_ascii_whitespace();
        Some(Self {
            state: *fields.next()?.as_bytes().first()?,
            parent: fields.next()?.parse().ok()?,
            group: fields.next()?.parse().ok()?,
            session: fields.next()?.parse().ok()?,
            start_ticks: fields.nth(15)?.parse().ok()?,
        })
    }
}

fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
}

fn boot_id() -> io::Result<String> {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|text| text.trim().to_owned())
}

/// Before Linux 6.9 all pidfds share one anonymous inode, which identifies nothing.
fn inode(pidfd: impl AsFd) -> Option<u64> {
    const PIDFS_MAGIC: u64 = 0x5049_4446;
    let system = rustix::fs::fstatfs(&pidfd).ok()?;
    let is_pidfs = u64::try_from(system.f_type).is_ok_and(|magic| magic == PIDFS_MAGIC);
    is_pidfs.then(|| rustix::fs::fstat(pidfd).ok().map(|stat| stat.st_ino)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> Identity {
        Identity::read("Sample", rustix::process::getpid(), "secret", 5).unwrap()
    }

    #[test]
    fn a_running_process_is_itself_and_nothing_else() {
        let it = own();
        assert!(it.is_alive());
        assert!(!Identity { start_ticks: it.start_ticks + 1, ..it.clone() }.is_alive());
        assert!(!Identity { boot_id: "another".to_owned(), ..it.clone() }.is_alive());
        assert!(it.inode.is_none() || !Identity { inode: Some(1), ..it }.is_alive());
    }

    #[test]
    fn a_cookie_of_no_spawn_or_of_another_boot_kills_nobody() {
        let start = |secret: &str| {
            let mut sleep = std::process::Command::new("sleep");
            sleep.arg("60").env("DAE_SECRET", secret).spawn().unwrap()
        };
        let gone = Identity { start_ticks: 0, ..own() };
        let without = Identity { secret: String::new(), ..gone.clone() };
        let old = format!("{:032x}", std::process::id());
        let earlier = Identity { boot_id: "another".to_owned(), secret: old.clone(), ..gone };
        let mut both = [start(""), start(&old)];
        kill_trees(&[without, earlier.clone()]);
        let living = both.each_mut().map(|it| it.try_wait().unwrap().is_none());
        assert_eq!(living, [true, true]);

        kill_trees(&[Identity { boot_id: boot_id().unwrap(), ..earlier }]);
        assert!(both[1].try_wait().unwrap().is_some());
        both[0].kill().unwrap();
        both[0].wait().unwrap();
    }

    #[test]
    fn a_zombie_is_not_alive() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = Pid::from_child(&child);
        let it = Identity::read("Sample", pid, "secret", 5).unwrap();
        while !Stat::of(pid).unwrap().is_dead() {
            std::thread::yield_now();
        }
        assert!(!it.is_alive());
        assert!(child.wait().unwrap().success());
    }

    #[test]
    fn what_is_stored_is_loaded() {
        let runtime = tempfile::tempdir().unwrap();
        fs::create_dir(runtime.path().join("running")).unwrap();
        own().store(runtime.path()).unwrap();
        assert_eq!(Identity::load(&Identity::path(runtime.path(), "Sample")).unwrap(), own());
    }

    #[test]
    fn what_was_stored_before_there_were_cgroups_is_loaded() {
        let runtime = tempfile::tempdir().unwrap();
        let path = runtime.path().join("Sample.json");
        let text = serde_json::to_string(&own()).unwrap();
        assert!(!text.contains("cgroup"));
        fs::write(&path, text).unwrap();
        assert_eq!(Identity::load(&path).unwrap().cgroup, None);
    }

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let line = b"7 (a) R 1 (b) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 20";
        let stat = Stat::parse(line).unwrap();
        assert_eq!((stat.state, stat.parent, stat.group, stat.session), (b'S', 1, 2, 3));
        assert_eq!(stat.start_ticks, 4242);
    }
}
