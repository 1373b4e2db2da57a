//! Which process a pid meant when it was written down.
//!
//! A pid alone is a number that the kernel gives to somebody else later. With the moment of its
//! start, the boot and the inode of its pidfd it is one process for ever, so that a manager which
//! comes back can tell its daemon from a stranger.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::cgroup::Cgroup;
use crate::keeper::protocol::LogSettings;
use crate::proc::{self, Pid, has_ended, inode};

/// The variable in the environment of a whole tree by which it can be told whose a process is.
pub(crate) const SECRET_VARIABLE: &str = "DAE_SECRET";

/// One process, as `running/NAME.json` has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The daemon that it runs.
    pub name: String,
    /// Its pid, which somebody else may have by now.
    pub pid: Pid,
    /// When it started, in clock ticks since boot (field 22 of `/proc/PID/stat`).
    pub start_ticks: u64,
    /// The boot in which it started.
    pub boot_id: String,
    /// The inode of its pidfd, unique within a boot; absent before Linux 6.9.
    pub inode: Option<u64>,
    /// Which spawn it is: in the environment of the whole tree, and in no other.
    pub secret: String,
    /// When it was spawned, in Unix milliseconds.
    pub spawned_at_ms: u64,
    /// The inodes of its pipes, stdout and stderr: by them the next keeper finds their other ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pipes: Option<[u64; 2]>,
    /// Where its output goes, and goes on under the next keeper.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<LogSettings>,
    /// The cgroup of its tree; absent where none can be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<Cgroup>,
}

/// What has become of a process that was identified.
#[derive(Debug)]
pub enum Fate {
    /// It runs. Only through this pidfd may it be signalled.
    Runs(OwnedFd),
    /// It has ended, and its pid may be somebody else's. The pidfd is its own.
    Ended(Option<OwnedFd>),
    /// It started in another boot: nothing of it can be left.
    OtherBoot,
    /// A process has its pid and does not show whether it is it. The pidfd is that process's.
    Unclear(Option<OwnedFd>),
}

/// Why a process could not be told from others.
#[derive(Debug, thiserror::Error)]
#[error("cannot identify pid {pid}")]
pub struct ReadError {
    pid: Pid,
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
    /// The file is kept for the next one of its name, and tells of nobody.
    #[error("`{}` tells of nobody", path.display())]
    Forgotten {
        /// The file.
        path: PathBuf,
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
        let failed = |source| ReadError { pid, source };
        let pidfd = proc::open(pid).map_err(|errno| failed(errno.into()))?;
        let stat = proc::stat(pid).map_err(failed)?;
        Ok(Self {
            name: name.to_owned(),
            pid,
            start_ticks: stat.ok_or_else(|| failed(Errno::SRCH.into()))?.started,
            boot_id: boot_id().map_err(failed)?.to_owned(),
            inode: inode(&pidfd),
            secret: secret.to_owned(),
            spawned_at_ms: now_ms,
            pipes: None,
            log: None,
            cgroup: None,
        })
    }

    /// The directory of all identities, below a runtime directory. It may outlive a reboot, so the
    /// boot stands in them.
    pub fn directory(runtime: &Path) -> PathBuf {
        runtime.join("running")
    }

    /// The file of a daemon's identity.
    pub fn path(runtime: &Path, name: &str) -> PathBuf {
        Self::directory(runtime).join(format!("{name}.json"))
    }

    /// Writes it into the file of its name, mode 0600, in one call. Should it be torn all the same,
    /// it is no identity, or that of a process that waits for its go and ends.
    ///
    /// The file is neither replaced nor cut, since making one costs more than the rest of a spawn
    /// where many have just been removed. So what follows the line is of an earlier one.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn store(&self, runtime: &Path) -> Result<(), StoreError> {
        let path = Self::path(runtime, &self.name);
        let mut line = serde_json::to_vec(self).expect("strings and numbers always serialise");
        line.push(b'\n');
        write_line(&path, true, &line).map_err(|source| StoreError { path, source })
    }

    /// Makes the file of a name tell of nobody. It stays for the next one of that name; without one
    /// there is nothing to do.
    pub fn forget(runtime: &Path, name: &str) {
        // What is left over is told from a live process by its content, so a failure is no harm.
        drop(write_line(&Self::path(runtime, name), false, b"\n"));
    }

    /// Reads a file that [`store`](Self::store) wrote.
    ///
    /// # Errors
    /// [`LoadError`]
    pub fn load(path: &Path) -> Result<Self, LoadError> {
        let path = path.to_owned();
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(source) => return Err(LoadError::Read { path, source }),
        };
        match bytes.split(|&byte| byte == b'\n').next() {
            None | Some([]) => Err(LoadError::Forgotten { path }),
            Some(line) => {
                serde_json::from_slice(line).map_err(|source| LoadError::Content { path, source })
            }
        }
    }

    /// Whether this very process still runs; a zombie does not.
    pub fn is_alive(&self) -> bool {
        self.open().is_some()
    }

    /// How long ago it started, whatever the wall clock says.
    pub fn age(&self) -> Option<Duration> {
        let ticks = rustix::param::clock_ticks_per_second();
        let started = Duration::from_millis(self.start_ticks.checked_mul(1000)? / ticks.max(1));
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        Duration::try_from(now).ok()?.checked_sub(started)
    }

    /// A pidfd of this very process, if it still runs. Only through it may it be signalled.
    pub fn open(&self) -> Option<OwnedFd> {
        if let Fate::Runs(pidfd) = self.fate(None) { Some(pidfd) } else { None }
    }

    /// Finds out what has become of it. A pidfd that was kept since then needs no more proof than
    /// that it is of this process.
    pub fn fate(&self, kept: Option<OwnedFd>) -> Fate {
        // The inode of a pidfd is of this boot alone.
        if self.inode.is_some()
            && let Some(pidfd) = kept.as_ref().filter(|it| inode(it) == self.inode)
            && let Ok(pidfd) = pidfd.try_clone()
        {
            return if has_ended(&pidfd) { Fate::Ended(Some(pidfd)) } else { Fate::Runs(pidfd) };
        }
        match boot_id() {
            Ok(boot_id) if boot_id != self.boot_id => return Fate::OtherBoot,
            Ok(_) => {}
            Err(_) => return Fate::Unclear(None),
        }
        if let Some(pidfd) = kept.filter(|it| self.has_inode_of(it)) {
            return if has_ended(&pidfd) { Fate::Ended(Some(pidfd)) } else { Fate::Runs(pidfd) };
        }
        // The pidfd comes first: what is read after it was opened is about the process it holds,
        // or about a later one, whose start differs.
        let pidfd = match proc::open(self.pid) {
            Ok(pidfd) => pidfd,
            // Nobody has the number, or a thread of somebody.
            Err(Errno::SRCH | Errno::INVAL | Errno::NOENT) => return Fate::Ended(None),
            Err(_) => return Fate::Unclear(None),
        };
        if !self.has_inode_of(&pidfd) {
            return Fate::Ended(None);
        }
        match proc::stat(self.pid).ok().flatten() {
            Some(stat) if stat.started != self.start_ticks => Fate::Ended(None),
            Some(_) if has_ended(&pidfd) => Fate::Ended(Some(pidfd)),
            Some(_) => Fate::Runs(pidfd),
            None if has_ended(&pidfd) => Fate::Ended(None),
            // Whoever cannot be looked at is known by the inode alone, if there is one.
            None if self.inode.is_some() => Fate::Runs(pidfd),
            None => Fate::Unclear(Some(pidfd)),
        }
    }

    /// False if the inode proves that this pidfd is another process's.
    fn has_inode_of(&self, pidfd: &OwnedFd) -> bool {
        self.inode.is_none() || inode(pidfd) == self.inode
    }
}

/// Writes over the beginning of a file.
fn write_line(path: &Path, create: bool, line: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(create).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    options.open(path)?.write_all(line)
}

/// It stays what it is for as long as a process can.
fn boot_id() -> io::Result<&'static str> {
    static BOOT_ID: OnceLock<String> = OnceLock::new();
    if let Some(known) = BOOT_ID.get() {
        return Ok(known);
    }
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    Ok(BOOT_ID.get_or_init(|| text.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> Identity {
        Identity::read("Sample", std::process::id(), "secret", 5).unwrap()
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
    fn the_fate_of_a_process_is_told_by_what_was_written_down() {
        let it = own();
        let gone = || std::process::Command::new("true").spawn().unwrap();
        assert!(matches!(it.fate(None), Fate::Runs(_)));
        let earlier = Identity { boot_id: "another".to_owned(), ..it.clone() };
        assert!(matches!(earlier.fate(None), Fate::OtherBoot));
        let before = Identity { start_ticks: it.start_ticks - 1, ..it.clone() };
        assert!(matches!(before.fate(None), Fate::Ended(None)), "somebody else has the pid");

        let mut child = gone();
        let pid = child.id();
        let kept = proc::open(pid).unwrap();
        let it = Identity::read("Sample", pid, "secret", 5).unwrap();
        child.wait().unwrap();
        assert!(matches!(it.fate(None), Fate::Ended(None)));
        assert!(matches!(it.fate(Some(kept)), Fate::Ended(Some(_))));
        // A kept pidfd of somebody else is worth nothing.
        let other = proc::open(std::process::id()).unwrap();
        assert!(it.inode.is_none() || matches!(it.fate(Some(other)), Fate::Ended(None)));
    }

    #[test]
    fn an_identity_of_an_older_version_is_loaded() {
        let old = r#"{"name":"Sample","pid":7,"start_ticks":1,"boot_id":"b","inode":null,
            "secret":"s","spawned_at_ms":2}"#;
        let it: Identity = serde_json::from_str(old).unwrap();
        assert_eq!((it.pid, it.pipes, it.log), (7, None, None));
    }

    #[test]
    fn a_zombie_is_not_alive() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id();
        let it = Identity::read("Sample", pid, "secret", 5).unwrap();
        while !proc::stat(pid).unwrap().unwrap().is_zombie() {
            std::thread::yield_now();
        }
        assert!(!it.is_alive());
        assert!(child.wait().unwrap().success());
    }

    #[test]
    fn what_is_stored_is_loaded() {
        let runtime = tempfile::tempdir().unwrap();
        fs::create_dir(Identity::directory(runtime.path())).unwrap();
        own().store(runtime.path()).unwrap();
        assert_eq!(Identity::load(&Identity::path(runtime.path(), "Sample")).unwrap(), own());
    }

    #[test]
    fn nothing_of_an_earlier_one_is_loaded() {
        let runtime = tempfile::tempdir().unwrap();
        fs::create_dir(Identity::directory(runtime.path())).unwrap();
        let load = || Identity::load(&Identity::path(runtime.path(), "Sample"));
        Identity::forget(runtime.path(), "Sample");
        assert!(matches!(load(), Err(LoadError::Read { .. })), "nobody has made the file");

        let longer = Identity { secret: "a longer secret".to_owned(), ..own() };
        longer.store(runtime.path()).unwrap();
        own().store(runtime.path()).unwrap();
        assert_eq!(load().unwrap(), own());
        Identity::forget(runtime.path(), "Sample");
        assert!(matches!(load(), Err(LoadError::Forgotten { .. })));
        longer.store(runtime.path()).unwrap();
        assert_eq!(load().unwrap(), longer);
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
}
