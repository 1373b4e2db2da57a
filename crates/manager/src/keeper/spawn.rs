//! From a request to a process that waits for its go.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::PipeFlags;

use super::cgroups::Cgroups;
use super::clock::Now;
use super::exec::{Ends, Plan};
use super::forker::Forker;
use super::protocol::{Spawn, Step};
use crate::cgroup::Cgroup;
use crate::identity::{Identity, StoreError};
use crate::proc::Pid;

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
    /// Lets the child become the program. Nobody waits for that: see `control`.
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

/// Where children are made.
pub(super) struct Place<'a> {
    /// Where their identities are stored.
    pub(super) runtime: &'a Path,
    /// The soft limit of open files of those whose order has none.
    pub(super) nofile: u64,
    pub(super) cgroups: Option<&'a Cgroups>,
    pub(super) forker: &'a Forker,
}

/// Forks a child and writes down who it is. It runs the program when it is told to
/// ([`Started::go`]); dropped before, it ends.
///
/// # Errors
/// [`SpawnError`], and nothing runs.
pub(super) fn start(
    order: &Spawn,
    sockets: Vec<OwnedFd>,
    Place { runtime, nofile, cgroups, forker }: Place<'_>,
    now: Now,
) -> Result<Started, SpawnError> {
    let plan = Plan::new(order, nofile).map_err(SpawnError::at(Step::Spawn))?;
    let (out, out_end) = pipe().map_err(SpawnError::at(Step::Pipe))?;
    let (err, err_end) = pipe().map_err(SpawnError::at(Step::Pipe))?;
    let (control, control_end) = UnixStream::pair().map_err(SpawnError::at(Step::Pipe))?;
    control.set_nonblocking(true).map_err(SpawnError::at(Step::Pipe))?;
    let ends = Ends { control: control_end.into(), outputs: [out_end, err_end], sockets };
    let cgroup = cgroups.and_then(|it| it.make(&order.name, now));
    let (pid, cgroup) = fork(forker, plan, &ends, cgroup).map_err(SpawnError::at(Step::Spawn))?;
    // An early return drops `control`, and without its go the child ends.
    let mut identity = Identity::read(&order.name, pid, &order.secret, now.unix_ms)
        .map_err(|error| SpawnError::at(Step::Identity)(error.source))?;
    identity.pipes = inode(&out).zip(inode(&err)).map(|(out, err)| [out, err]);
    identity.log = Some(order.log.clone());
    identity.cgroup = cgroup;
    identity
        .store(runtime)
        .map_err(|StoreError { source, .. }| SpawnError::at(Step::Identity)(source))?;
    Ok(Started { identity, control, outputs: [out, err] })
}

/// Forks into a cgroup if there is one, and takes it away if it cannot be entered.
fn fork(
    forker: &Forker,
    plan: Plan,
    ends: &Ends,
    cgroup: Option<(Cgroup, File)>,
) -> Result<(Pid, Option<Cgroup>), Errno> {
    let (cgroup, dir) = cgroup.unzip();
    let forked = forker.fork(plan, ends, dir.as_ref().map(AsFd::as_fd));
    let is_in_cgroup = forked.as_ref().is_ok_and(|it| it.is_in_cgroup);
    if let Some(cgroup) = cgroup.as_ref().filter(|_| !is_in_cgroup) {
        cgroup.remove();
    }
    Ok((forked?.pid, cgroup.filter(|_| is_in_cgroup)))
}

/// The end to read, which never blocks, and the one to write.
///
/// The child can also read from its end: so the pipe has a reader as long as the child has it, and
/// a child that writes while no keeper lives waits for the next one instead of being killed by
/// SIGPIPE. It ends as always, when the last one who can write has closed it.
fn pipe() -> Result<(OwnedFd, OwnedFd), Errno> {
    let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    rustix::fs::fcntl_setfl(&reader, OFlags::NONBLOCK)?;
    let writer = format!("/proc/self/fd/{}", writer.as_raw_fd());
    let end = rustix::fs::open(writer, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    Ok((reader, end))
}

fn inode(pipe: &OwnedFd) -> Option<u64> {
    rustix::fs::fstat(pipe).ok().map(|stat| stat.st_ino)
}
