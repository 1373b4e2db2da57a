//! From a copy of the keeper to a child's program.
//!
//! The keeper forks (`forker`). That is sound, since the copy only makes system calls, on what was
//! prepared before: whatever lock of the other thread is held in it for ever, it takes none. And it
//! is fast, since the keeper is small. `posix_spawn` cannot do it: it returns when the program
//! runs, while this child has to wait until the keeper has written down who it is; and a program of
//! ours that waits in between costs a second `exec` and the start of our binary.

use std::ffi::{CStr, CString, NulError};
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use nix::sys::signal::SigSet;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit};

use super::protocol::{Spawn, Step};
use super::syscall::{self, Strings};

/// How a failed step is told: its index in [`Step::REMOTE`], then errno, little endian.
pub(super) const FAILURE_BYTES: usize = 5;

/// The other direction of what [`Plan::perform`] writes; `None` for anything else.
pub(crate) fn parse_failure(bytes: &[u8]) -> Option<(Step, i32)> {
    let (&index, errno) = bytes.split_first()?;
    Some((*Step::REMOTE.get(usize::from(index))?, i32::from_le_bytes(errno.try_into().ok()?)))
}

/// What the keeper reads when a step failed.
fn failure(step: Step, errno: Errno) -> [u8; FAILURE_BYTES] {
    let index = Step::REMOTE.iter().position(|it| *it == step).unwrap_or(usize::MAX);
    let [a, b, c, d] = errno.raw_os_error().to_le_bytes();
    [u8::try_from(index).unwrap_or(u8::MAX), a, b, c, d]
}

/// All that the copy needs, made before there is one.
#[derive(Debug)]
pub(super) struct Plan {
    program: CString,
    arguments: Strings,
    environment: Strings,
    cwd: CString,
    umask: Mode,
    nofile: Rlimit,
    /// How many listening sockets it gets.
    pub(super) sockets: usize,
}

/// The ends of pipes and socket that the child gets.
#[derive(Debug)]
pub(super) struct Ends {
    /// By which it gets its go, and tells a failure. `exec` closes it, which tells of success.
    pub(super) control: OwnedFd,
    /// Its standard output and error.
    pub(super) outputs: [OwnedFd; 2],
    /// The listening sockets that follow them.
    pub(super) sockets: Vec<OwnedFd>,
}

impl Ends {
    /// Moves what is needed to the end above the numbers that the sockets will have.
    ///
    /// # Errors
    /// Without room for them.
    pub(super) fn out_of_the_way(self) -> Result<Self, Errno> {
        if self.sockets.is_empty() {
            return Ok(self);
        }
        let above = syscall::FIRST + self.sockets.len().try_into().unwrap_or(i32::MAX);
        let moved = |it| rustix::io::fcntl_dupfd_cloexec(it, above);
        let sockets = self.sockets.iter().map(moved).collect::<Result<_, _>>()?;
        Ok(Self { control: moved(&self.control)?, sockets, ..self })
    }
}

impl Plan {
    /// Prepares a child; `nofile` is the soft limit that it gets unless the order has one.
    ///
    /// # Errors
    /// If a string holds a NUL.
    pub(super) fn new(order: &Spawn, nofile: u64) -> Result<Self, NulError> {
        let program = order.program.as_os_str().as_bytes();
        let arguments = order.args.iter().map(|it| it.as_bytes());
        let environment = order.env.iter().map(|(key, value)| format!("{key}={value}"));
        Ok(Self {
            program: CString::new(program)?,
            arguments: Strings::new([program].into_iter().chain(arguments))?,
            environment: Strings::new(environment)?,
            cwd: CString::new(order.cwd.as_os_str().as_bytes())?,
            umask: Mode::from_raw_mode(order.umask),
            nofile: limit(order.nofile.unwrap_or(nofile)),
            sockets: order.sockets.len(),
        })
    }

    /// In the copy: becomes the child's program, or tells why not. Takes no memory.
    pub(super) fn perform(&mut self, ends: &Ends) {
        if let Err((step, errno)) = self.attempt(ends) {
            // If the keeper is gone there is nobody to tell.
            let _ = rustix::io::write(&ends.control, &failure(step, errno));
        }
    }

    fn attempt(&mut self, ends: &Ends) -> Result<(), (Step, Errno)> {
        let Ends { control, outputs: [out, err], sockets } = ends;
        let at = |step| move |errno| (step, errno);
        rustix::stdio::dup2_stdout(out).map_err(at(Step::Close))?;
        rustix::stdio::dup2_stderr(err).map_err(at(Step::Close))?;
        let others = syscall::hand_over(sockets).map_err(at(Step::Socket))?;
        // Early: what is the keeper's, its lock above all, must not outlive it here.
        syscall::close_others(control.as_fd(), others).map_err(at(Step::Close))?;
        rustix::process::setsid().map_err(at(Step::Session))?;
        syscall::default_signals();
        SigSet::empty().thread_set_mask().map_err(|it| (Step::Session, same(it)))?;
        rustix::process::chdir(&self.cwd).map_err(at(Step::Cwd))?;
        rustix::process::umask(self.umask);
        rustix::process::setrlimit(Resource::Nofile, self.nofile).map_err(at(Step::Nofile))?;
        null_stdin().map_err(at(Step::Stdin))?;
        match rustix::io::retry_on_intr(|| rustix::io::read(control, &mut [0])) {
            Ok(1..) => {}
            // The keeper is gone, or has thought better of it.
            Ok(0) => return Err((Step::Exec, Errno::CANCELED)),
            Err(errno) => return Err((Step::Exec, errno)),
        }
        let mut text = [0; LISTEN_PID_BYTES];
        let whose = listen_pid(&mut text).filter(|_| !sockets.is_empty());
        let Self { program, arguments, environment, .. } = self;
        Err((Step::Exec, syscall::exec(program, arguments, environment, whose)))
    }
}

/// `LISTEN_PID=`, a pid and the end.
const LISTEN_PID_BYTES: usize = 11 + 10 + 1;

/// The one variable that nobody knows before there is the process.
fn listen_pid(text: &mut [u8; LISTEN_PID_BYTES]) -> Option<&CStr> {
    let pid = rustix::process::getpid().as_raw_nonzero();
    write!(&mut text[..], "LISTEN_PID={pid}\0").ok()?;
    CStr::from_bytes_until_nul(text).ok()
}

/// The soft limit that programs expect; the keeper has raised its own.
fn limit(soft: u64) -> Rlimit {
    let maximum = rustix::process::getrlimit(Resource::Nofile).maximum;
    Rlimit { current: Some(maximum.map_or(soft, |hard| soft.min(hard))), maximum }
}

fn null_stdin() -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let null = rustix::fs::open(c"/dev/null", flags, Mode::empty())?;
    rustix::stdio::dup2_stdin(null)
}

/// The same number in the other crate's type.
fn same(errno: nix::errno::Errno) -> Errno {
    Errno::from_raw_os_error(errno as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_pid_has_room() {
        assert_eq!(format!("LISTEN_PID={}\0", i32::MAX).len(), LISTEN_PID_BYTES);
        let own = format!("LISTEN_PID={}", std::process::id());
        let mut text = [0; LISTEN_PID_BYTES];
        assert_eq!(listen_pid(&mut text).unwrap().to_str(), Ok(&*own));
    }
}
