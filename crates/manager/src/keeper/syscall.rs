//! The calls that neither nix nor rustix has. Nothing else in the manager is unsafe.
#![expect(unsafe_code, reason = "no crate of ours wraps these calls")]

use std::os::fd::{AsFd, AsRawFd};

use rustix::io::Errno;
use rustix::process::Pid;

/// To whom a signal through a pidfd goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// The process.
    Process,
    /// The group that has the process's pid as its number, while a member of it exists, whether or
    /// not the process itself does. Linux 6.9; EINVAL before.
    Group,
}

/// Sends any signal, 0 and those without a name too, to whom a pidfd stands for.
///
/// # Errors
/// ESRCH if there is nobody left; EINVAL if the kernel does not know the target or the signal.
pub(super) fn signal(pidfd: impl AsFd, signal: i32, target: Target) -> Result<(), Errno> {
    const PIDFD_SIGNAL_PROCESS_GROUP: libc::c_uint = 1 << 2;
    let flags = if target == Target::Group { PIDFD_SIGNAL_PROCESS_GROUP } else { 0 };
    let fd = pidfd.as_fd().as_raw_fd();
    let info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: the descriptor is borrowed, hence open; a null siginfo is allowed; nothing is written.
    outcome(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, info, flags) })
}

/// The pid of a dead child that is not reaped, without reaping it.
pub(super) fn dead_child() -> Option<Pid> {
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: siginfo_t is plain data for which zero is valid, and waitid fills it; si_pid is what
    // it holds after waitid, and stays zero when no child is dead.
    let pid = unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        match libc::waitid(libc::P_ALL, 0, &raw mut info, options) {
            0 => info.si_pid(),
            _ => 0,
        }
    };
    Pid::from_raw(pid)
}

/// How a process ended for which a pidfd stands, as `wait` would tell it; `None` until it has been
/// reaped, by whomever. Linux 6.15; EINVAL or ENOTTY before.
///
/// # Errors
/// Those of the kernel: it does not know.
pub(super) fn exit_status(pidfd: impl AsFd) -> Result<Option<i32>, Errno> {
    const PIDFD_INFO_EXIT: u64 = 1 << 3;
    /// `struct pidfd_info` as it began: the mask, twelve numbers, the status.
    #[repr(C)]
    struct Info {
        mask: u64,
        cgroup: u64,
        ids: [u32; 11],
        status: i32,
    }
    // `_IOWR(0xFF, 11, struct pidfd_info)`
    const PIDFD_GET_INFO: u64 = 0xC040_FF0B;
    const { assert!(size_of::<Info>() == 64) };
    let mut info = Info { mask: PIDFD_INFO_EXIT, cgroup: 0, ids: [0; 11], status: 0 };
    let fd = pidfd.as_fd().as_raw_fd();
    // SAFETY: the descriptor is borrowed, hence open; the kernel writes at most the 64 bytes that
    // the request names, and all of them are plain numbers.
    outcome(unsafe { libc::syscall(libc::SYS_ioctl, fd, PIDFD_GET_INFO, &raw mut info) })?;
    Ok((info.mask & PIDFD_INFO_EXIT != 0).then_some(info.status))
}

/// Gives every signal its default disposition: neither handlers nor ignored ones pass `exec` then.
pub(super) fn default_signals() {
    // What the kernel takes as a disposition: handler, flags, restorer and mask, all zero. The C
    // library would refuse the two signals that it keeps for itself.
    let default = [0_u64; 4];
    let old = std::ptr::null::<u64>();
    for number in 1..=libc::SIGRTMAX() {
        // SAFETY: the kernel reads 32 bytes that are there; SIG_DFL installs no code. That it
        // refuses SIGKILL and SIGSTOP is as it should be.
        let _ =
            unsafe { libc::syscall(libc::SYS_rt_sigaction, number, &raw const default, old, 8) };
    }
}

/// Closes every descriptor above stderr, for a process that has opened none of its own.
///
/// # Errors
/// ENOSYS before Linux 5.9.
pub(super) fn close_inherited() -> Result<(), Errno> {
    close_range(0)
}

/// Marks every descriptor above stderr so that `exec` closes it.
///
/// # Errors
/// EINVAL before Linux 5.11.
pub(super) fn close_on_exec() -> Result<(), Errno> {
    close_range(libc::CLOSE_RANGE_CLOEXEC)
}

fn close_range(flags: libc::c_uint) -> Result<(), Errno> {
    // SAFETY: takes no memory. With flags 0 the callers promise that no descriptor above stderr is
    // owned by anything in this process; otherwise nothing is closed before `exec`.
    outcome(unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, flags) })
}

fn outcome(returned: libc::c_long) -> Result<(), Errno> {
    match returned {
        -1 => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)),
        _ => Ok(()),
    }
}
