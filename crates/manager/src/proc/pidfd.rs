//! A hold on one process, which its number alone is not.

use std::os::fd::{AsFd, OwnedFd};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::{PidfdFlags, pidfd_open},
};

use super::{Pid, raw};

/// A pidfd of the process that has this number now. Readable once it has ended.
///
/// # Errors
/// Those of `pidfd_open`: ESRCH if nobody has the number.
pub fn open(pid: Pid) -> Result<OwnedFd, Errno> {
    pidfd_open(raw(pid).ok_or(Errno::SRCH)?, PidfdFlags::empty())
}

/// Whether the process has ended for which a pidfd stands; a zombie has.
pub fn has_ended(pidfd: impl AsFd) -> bool {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut polled = [PollFd::new(&pidfd, PollFlags::IN)];
    poll(&mut polled, Some(&now)).is_ok_and(|count| count > 0)
}

/// Unique within a boot. Before Linux 6.9 all pidfds share one anonymous inode, which identifies
/// nothing: then there is none.
pub(crate) fn inode(pidfd: impl AsFd) -> Option<u64> {
    const PIDFS_MAGIC: u64 = 0x5049_4446;
    let system = rustix::fs::fstatfs(&pidfd).ok()?;
    let is_pidfs = u64::try_from(system.f_type).is_ok_and(|magic| magic == PIDFS_MAGIC);
    is_pidfs.then(|| rustix::fs::fstat(pidfd).ok().map(|stat| stat.st_ino)).flatten()
}
