//! From a request to a process that waits for its go.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use rustix::process::Pid;

use super::clock::Now;
use super::exec;
use super::protocol::{Spawn, Step};
use crate::identity::{Identity, StoreError};

/// What each output pipe should hold, so that a loud child seldom waits for the keeper. The kernel
/// allows it until the user has 64 MiB in pipes, then the pipe stays as it is.
const PIPE_BYTES: usize = 1 << 20;

/// A process between `spawn` and its program.
#[derive(Debug)]
pub(super) struct Started {
    /// Which process it is; stored already.
    pub(super) identity: Identity,
    /// Ends when the program runs; before, it may tell a failure.
    pub(super) control: UnixStream,
    /// The read ends of stdout and stderr. They never block.
    pub(super) outputs: [OwnedFd; 2],
}

impl Started {
    /// Lets the exec step become the program. Nobody waits for that: see `control`.
    pub(super) fn go(&mut self) {
        // It may have failed and ended by now; why is still to be read then.
        drop(self.control.write_all(b"!"));
    }
}

/// Why there is no process.
#[derive(Debug, thiserror::Error)]
#[error("cannot start a child")]
pub(super) struct SpawnError {
    /// What failed.
    pub(super) step: Step,
    /// Why.
    pub(super) source: io::Error,
}

impl SpawnError {
    /// Names the step that failed.
    pub(super) fn at<E: Into<io::Error>>(step: Step) -> impl Fn(E) -> Self {
        move |source| Self { step, source: source.into() }
    }
}

/// Starts the exec step and writes down who it is. It runs the program when it is told to
/// ([`Started::go`]); dropped before, it ends.
///
/// # Errors
/// [`SpawnError`], and nothing runs.
pub(super) fn start(
    order: &Spawn,
    runtime: &Path,
    nofile: u64,
    now: Now,
) -> Result<Started, SpawnError> {
    let (out, out_writer) = pipe().map_err(SpawnError::at(Step::Pipe))?;
    let (err, err_writer) = pipe().map_err(SpawnError::at(Step::Pipe))?;
    let (control, childs_control) = UnixStream::pair().map_err(SpawnError::at(Step::Pipe))?;
    control.set_nonblocking(true).map_err(SpawnError::at(Step::Pipe))?;
    let child = exec_step(order, nofile)
        .stdin(OwnedFd::from(childs_control))
        .stdout(out_writer)
        .stderr(err_writer)
        .spawn()
        .map_err(SpawnError::at(Step::Spawn))?;
    // An early return drops `control`, and without its go the exec step ends.
    let mut identity =
        Identity::read(&order.name, Pid::from_child(&child), &order.secret, now.unix_ms)
            .map_err(|error| SpawnError::at(Step::Identity)(error.source))?;
    identity.pipes = inode(&out).zip(inode(&err)).map(|(out, err)| [out, err]);
    identity.log = Some(order.log.clone());
    identity
        .store(runtime)
        .map_err(|StoreError { source, .. }| SpawnError::at(Step::Identity)(source))?;
    Ok(Started { identity, control, outputs: [out, err] })
}

/// Without code between fork and exec, std uses `posix_spawn`, which does not copy the keeper.
fn exec_step(order: &Spawn, nofile: u64) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0("dae")
        .arg(exec::SUBCOMMAND)
        .arg(&order.cwd)
        .arg(order.umask.to_string())
        .arg(order.nofile.unwrap_or(nofile).to_string())
        .arg(&order.program)
        .args(&order.args)
        .env_clear()
        .envs(order.env.iter().map(|(key, value)| (key, value)));
    command
}

fn pipe() -> Result<(OwnedFd, Stdio), Errno> {
    let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    // Smaller is slower and nothing else.
    let _ = rustix::pipe::fcntl_setpipe_size(&reader, PIPE_BYTES);
    rustix::fs::fcntl_setfl(&reader, OFlags::NONBLOCK)?;
    Ok((reader, Stdio::from(File::from(both_ends(&writer)?))))
}

/// The pipe of a writer, open for both: with nobody else to read, it is full in the end, but whoever writes is
/// not killed by SIGPIPE.
fn both_ends(writer: &OwnedFd) -> Result<OwnedFd, Errno> {
    let path = format!("/proc/self/fd/{}", writer.as_raw_fd());
    rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
}

fn inode(pipe: &OwnedFd) -> Option<u64> {
    rustix::fs::fstat(pipe).ok().map(|stat| stat.st_ino)
}
