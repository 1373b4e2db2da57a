//! The step between the keeper and a child's program: the keeper's own binary, run again.
//!
//! A fork of the keeper with code before `exec` would be slow and would run in a half process; this
//! is an ordinary program that arranges itself and then becomes the child. Its environment is the
//! child's, so that no secret stands in its arguments.

use std::ffi::{CString, OsString};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::process::ExitCode;

use nix::sys::signal::SigSet;
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit};

use super::protocol::Step;
use super::syscall;

/// The hidden subcommand that gets here.
pub const SUBCOMMAND: &str = "exec-step";

/// What a process shows that could not become the child's program; nobody sees it but `ps`.
const FAILED: u8 = 127;

/// How a failed step is told: its index in [`Step::REMOTE`], then errno, little endian.
pub const FAILURE_BYTES: usize = 5;

/// Becomes the child's program: `CWD UMASK NOFILE PROGRAM ARGS…`, the control socket as stdin.
///
/// Returns only if that failed, which the keeper has then been told. The program starts when the
/// keeper has sent one byte, and never if the keeper is gone before.
pub fn run(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let Some(plan) = Plan::read(arguments) else { return ExitCode::from(FAILED) };
    // Above stderr and closed by `exec`, which tells the keeper that it succeeded.
    let Ok(control) = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3) else {
        return ExitCode::from(FAILED);
    };
    let mut control = File::from(control);
    if let Err((step, errno)) = plan.perform(&mut control) {
        // If the keeper is gone there is nobody to tell.
        drop(control.write_all(&failure(step, errno)));
    }
    ExitCode::from(FAILED)
}

/// What the keeper reads when a step failed.
fn failure(step: Step, errno: Errno) -> [u8; FAILURE_BYTES] {
    let index = Step::REMOTE.iter().position(|it| *it == step).unwrap_or(usize::MAX);
    let [a, b, c, d] = errno.raw_os_error().to_le_bytes();
    [u8::try_from(index).unwrap_or(u8::MAX), a, b, c, d]
}

/// The other direction of what the exec step writes; `None` for anything else.
pub fn parse_failure(bytes: &[u8]) -> Option<(Step, i32)> {
    let (&index, errno) = bytes.split_first()?;
    Some((*Step::REMOTE.get(usize::from(index))?, i32::from_le_bytes(errno.try_into().ok()?)))
}

struct Plan {
    cwd: OsString,
    umask: u32,
    nofile: u64,
    command: Vec<CString>,
}

impl Plan {
    fn read(mut arguments: impl Iterator<Item = OsString>) -> Option<Self> {
        Some(Self {
            cwd: arguments.next()?,
            umask: arguments.next()?.to_str()?.parse().ok()?,
            nofile: arguments.next()?.to_str()?.parse().ok()?,
            command: arguments.map(c_string).collect::<Option<_>>()?,
        })
    }

    fn perform(&self, control: &mut File) -> Result<(), (Step, Errno)> {
        rustix::process::setsid().map_err(|errno| (Step::Session, errno))?;
        syscall::default_signals();
        SigSet::empty().thread_set_mask().map_err(|errno| (Step::Session, same(errno)))?;
        rustix::process::chdir(&self.cwd).map_err(|errno| (Step::Cwd, errno))?;
        rustix::process::umask(Mode::from_raw_mode(self.umask));
        limit_files(self.nofile).map_err(|errno| (Step::Nofile, errno))?;
        null_stdin().map_err(|errno| (Step::Stdin, errno))?;
        syscall::close_on_exec().map_err(|errno| (Step::Close, errno))?;
        match control.read_exact(&mut [0]) {
            Ok(()) => Err((Step::Exec, self.exec())),
            Err(_) => Err((Step::Exec, Errno::CANCELED)),
        }
    }

    /// Returns why the program does not run.
    fn exec(&self) -> Errno {
        let environment: Vec<CString> = std::env::vars_os()
            .filter_map(|(key, value)| c_string([key, value].join("=".as_ref())))
            .collect();
        let Some(program) = self.command.first() else { return Errno::NOENT };
        match nix::unistd::execve(program, &self.command, &environment) {
            Ok(never) => match never {},
            Err(errno) => same(errno),
        }
    }
}

/// Sets the soft limit back to what programs expect; the keeper has raised its own.
fn limit_files(soft: u64) -> Result<(), Errno> {
    let hard = rustix::process::getrlimit(Resource::Nofile).maximum;
    let soft = hard.map_or(soft, |hard| soft.min(hard));
    rustix::process::setrlimit(Resource::Nofile, Rlimit { current: Some(soft), maximum: hard })
}

fn null_stdin() -> Result<(), Errno> {
    let null: OwnedFd = File::open("/dev/null").map_err(|e| errno_of(&e))?.into();
    rustix::stdio::dup2_stdin(null)
}

fn errno_of(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

/// The same number in the other crate's type.
fn same(errno: nix::errno::Errno) -> Errno {
    Errno::from_raw_os_error(errno as i32)
}

fn c_string(text: OsString) -> Option<CString> {
    CString::new(text.into_vec()).ok()
}
