//! The calls that neither nix nor rustix has. Nothing else in the manager is unsafe.
#![expect(unsafe_code, reason = "no crate of ours wraps these calls")]

use std::ffi::{CStr, CString, NulError, c_char};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::ptr;

use rustix::io::Errno;

use crate::proc::Pid;

/// What a process shows that could not become a program; nobody sees it but `ps`.
const FAILED: libc::c_int = 127;

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
    // SAFETY: the descriptor is borrowed, hence open; a null siginfo is allowed; nothing is
    // written.
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
    number(pid)
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
    close_range(FIRST.cast_unsigned(), libc::c_uint::MAX, Table::Shared)
}

/// Gives descriptors the numbers behind stderr, for the program that this process becomes; returns
/// the number behind theirs. They lie above those, and what lay there is closed.
///
/// # Errors
/// Those of dup2(2).
pub(super) fn hand_over(descriptors: &[OwnedFd]) -> Result<RawFd, Errno> {
    let mut next = FIRST;
    for descriptor in descriptors {
        // SAFETY: takes no memory. The caller promises that nothing uses what is closed by this.
        outcome(unsafe { libc::dup2(descriptor.as_raw_fd(), next) }.into())?;
        next += 1;
    }
    Ok(next)
}

/// Closes every descriptor from `first` on but one, for a process that will use no other.
///
/// # Errors
/// ENOSYS before Linux 5.9.
pub(super) fn close_others(kept: BorrowedFd<'_>, first: RawFd) -> Result<(), Errno> {
    close_but(kept, first, Table::Shared)
}

/// Gives the calling thread a table of descriptors of its own, with nothing above stderr but one.
///
/// # Errors
/// ENOSYS before Linux 5.9.
pub(super) fn leave_table(kept: BorrowedFd<'_>) -> Result<(), Errno> {
    close_but(kept, FIRST, Table::Own)
}

/// The first descriptor above stderr.
pub(super) const FIRST: RawFd = 3;

/// In which table descriptors are closed.
#[derive(Clone, Copy)]
enum Table {
    /// The one that there is.
    Shared = 0,
    /// A copy, which is the thread's from then on.
    Own = 1 << 1,
}

fn close_but(kept: BorrowedFd<'_>, first: RawFd, table: Table) -> Result<(), Errno> {
    let (kept, first) = (kept.as_raw_fd().cast_unsigned(), first.cast_unsigned());
    if kept > first {
        close_range(first, kept - 1, table)?;
    }
    close_range(kept.max(first - 1) + 1, libc::c_uint::MAX, table)
}

fn close_range(first: libc::c_uint, last: libc::c_uint, table: Table) -> Result<(), Errno> {
    // SAFETY: takes no memory. The callers promise that nothing that has this table from now on
    // uses these descriptors.
    outcome(unsafe { libc::syscall(libc::SYS_close_range, first, last, table as libc::c_uint) })
}

/// Runs `step` in a process that is a copy of this one, and ends it when `step` returns.
///
/// Only this thread is copied, and not what the C library would arrange around its own fork; so
/// `step` may make system calls and nothing that takes a lock, memory included.
///
/// With the directory of a cgroup it is born in there.
///
/// # Errors
/// Those of fork(2), and with a cgroup those of writing to its `cgroup.procs`.
pub(super) fn fork(cgroup: Option<BorrowedFd<'_>>, step: impl FnOnce()) -> Result<Pid, Errno> {
    let copy = match (clone(cgroup), cgroup) {
        // Some containers still know nothing of clone3, which only a cgroup needs.
        (Err(Errno::NOSYS | Errno::PERM), None) => plain_fork(),
        (copy, _) => copy,
    };
    match copy? {
        Some(child) => Ok(child),
        None => {
            let never_returns = Exit;
            step();
            drop(never_returns);
            unreachable!("dropping it ends the process")
        }
    }
}

/// The new process, or `None` in it.
fn clone(cgroup: Option<BorrowedFd<'_>>) -> Result<Option<Pid>, Errno> {
    const CLONE_INTO_CGROUP: u64 = 1 << 33;
    // SAFETY: clone_args is plain data for which zero is valid.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.exit_signal = libc::SIGCHLD as u64;
    if let Some(cgroup) = cgroup {
        args.flags = CLONE_INTO_CGROUP;
        args.cgroup = u64::from(cgroup.as_raw_fd().cast_unsigned());
    }
    // SAFETY: without CLONE_VM the new process has a memory, and so a stack, of its own; the kernel
    // reads as many bytes as there are, and writes none without the flags that ask for it.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of_val(&args)) };
    outcome(pid)?;
    Ok(i32::try_from(pid).ok().and_then(number))
}

/// As [`clone`], by the older call.
fn plain_fork() -> Result<Option<Pid>, Errno> {
    // SAFETY: as in `clone`.
    let pid = unsafe { libc::fork() };
    outcome(pid.into())?;
    Ok(number(pid))
}

/// Whom a call has named; `None` for nobody, and for this process itself.
fn number(pid: libc::pid_t) -> Option<Pid> {
    u32::try_from(pid).ok().filter(|pid| *pid != 0)
}

/// Ends the process when it is dropped, also by a panic: what was copied must not go on as two.
struct Exit;

impl Drop for Exit {
    fn drop(&mut self) {
        // SAFETY: ends the process without running anything of it.
        unsafe { libc::_exit(FAILED) }
    }
}

/// Strings as a program takes them: an array of pointers that ends in null, with room for one more.
#[derive(Debug)]
pub(super) struct Strings {
    /// What the pointers point at; a string's bytes stay where they are.
    #[expect(dead_code, reason = "owns what is pointed at")]
    strings: Vec<CString>,
    pointers: Vec<*const c_char>,
}

// SAFETY: the pointers are into what goes along, and nothing is written through them.
unsafe impl Send for Strings {}

impl Strings {
    /// Copies them.
    ///
    /// # Errors
    /// If one holds a NUL.
    pub(super) fn new<S: Into<Vec<u8>>>(
        strings: impl IntoIterator<Item = S>,
    ) -> Result<Self, NulError> {
        let strings: Vec<_> = strings.into_iter().map(CString::new).collect::<Result<_, _>>()?;
        let pointers = strings.iter().map(|it| it.as_ptr()).chain([ptr::null(); 2]).collect();
        Ok(Self { strings, pointers })
    }
}

/// Becomes another program, with one variable more if there is one; returns why not.
pub(super) fn exec(
    program: &CStr,
    arguments: &Strings,
    environment: &mut Strings,
    variable: Option<&CStr>,
) -> Errno {
    if let [.., place, _] = &mut environment.pointers[..] {
        *place = variable.map_or(ptr::null(), CStr::as_ptr);
    }
    let (arguments, environment) = (arguments.pointers.as_ptr(), environment.pointers.as_ptr());
    // SAFETY: the program and the variable end in NUL, both arrays end in null, and what they point
    // at is borrowed with them.
    let returned = unsafe { libc::execve(program.as_ptr(), arguments, environment) };
    outcome(returned.into()).err().unwrap_or(Errno::IO)
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

fn outcome(returned: libc::c_long) -> Result<(), Errno> {
    match returned {
        -1 => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)),
        _ => Ok(()),
    }
}
