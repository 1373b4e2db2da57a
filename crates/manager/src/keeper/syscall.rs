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

/// Lets everybody else use the disk first.
///
/// # Errors
/// EPERM where even that needs a privilege; then the class stays what it was.
pub(super) fn yield_disk() -> Result<(), Errno> {
    const WHO_PROCESS: libc::c_int = 1;
    const CLASS_IDLE: libc::c_int = 3 << 13;
    // SAFETY: takes three numbers and no memory; 0 is the calling process.
    outcome(unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, CLASS_IDLE) })
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
