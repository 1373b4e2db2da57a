//! Forks for the keeper, from a table of descriptors that stays small.
//!
//! A fork copies its thread's table, and the copy closes what is not its own. With the pipes and
//! logs of a thousand children that took as long as all else of a spawn. So one thread has a table
//! of its own, is handed what the next child gets, and does nothing but fork. The keeper waits for
//! it, so there is still only one that does something at a time.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use rustix::io::Errno;

use super::exec::{Ends, Plan};
use super::handed::{self, Groups};
use super::syscall;
use crate::proc::Pid;

/// A stack for a thread that calls nothing deep.
const STACK_BYTES: usize = 64 << 10;

/// The keeper's side of the thread.
#[derive(Debug)]
pub(super) struct Forker {
    socket: UnixStream,
    /// The thread's end as it is in the keeper's table, where the thread cannot close it.
    #[expect(dead_code, reason = "is closed when this is dropped")]
    other: Arc<UnixStream>,
    /// Absent once it is to end.
    plans: Option<SyncSender<Plan>>,
    forked: Receiver<Result<Forked, Errno>>,
    thread: Option<JoinHandle<()>>,
}

/// A process that was made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Forked {
    pub(super) pid: Pid,
    /// Whether it was born in the cgroup that it should be in.
    pub(super) is_in_cgroup: bool,
}

impl Forker {
    /// Starts the thread.
    ///
    /// # Errors
    /// Without room for a thread, or before Linux 5.9.
    pub(super) fn start() -> io::Result<Self> {
        let (socket, other) = UnixStream::pair()?;
        let other = Arc::new(other);
        let its_own = Arc::clone(&other);
        let (plans, orders) = sync_channel(1);
        let (answers, forked) = sync_channel(1);
        let (readied, ready) = sync_channel(1);
        let builder = thread::Builder::new().name("forker".to_owned()).stack_size(STACK_BYTES);
        let thread = builder.spawn(move || {
            let left = syscall::leave_table(its_own.as_fd());
            let is_ready = left.is_ok();
            if readied.send(left).is_ok() && is_ready {
                serve(&its_own, &orders, &answers);
            }
        })?;
        ready.recv().map_err(io::Error::other)??;
        Ok(Self { socket, other, plans: Some(plans), forked, thread: Some(thread) })
    }

    /// Makes a process that performs the plan: in the cgroup if there is one, and elsewhere if it
    /// cannot be entered.
    ///
    /// # Errors
    /// Those of fork(2), and of handing over what the child gets.
    pub(super) fn fork(
        &self,
        plan: Plan,
        ends: &Ends,
        cgroup: Option<BorrowedFd<'_>>,
    ) -> Result<Forked, Errno> {
        let Ends { control, outputs: [out, err], sockets } = ends;
        let own = [control, out, err].into_iter().chain(sockets).map(AsFd::as_fd);
        let descriptors: Vec<_> = own.chain(cgroup).collect();
        handed::send(&self.socket, b"!", &descriptors)?;
        let is_told = self.plans.as_ref().is_some_and(|plans| plans.send(plan).is_ok());
        // The thread ends only when it is told to.
        if is_told { self.forked.recv().unwrap_or(Err(Errno::CHILD)) } else { Err(Errno::CHILD) }
    }
}

impl Drop for Forker {
    fn drop(&mut self) {
        self.plans = None;
        // It forks nothing now, so this takes no time.
        drop(self.thread.take().map(JoinHandle::join));
    }
}

/// In the thread: forks until nobody asks any more.
fn serve(socket: &UnixStream, plans: &Receiver<Plan>, answers: &SyncSender<Result<Forked, Errno>>) {
    while let Ok(plan) = plans.recv() {
        if answers.send(receive(socket).and_then(|group| fork(plan, group))).is_err() {
            return;
        }
    }
}

fn receive(socket: &UnixStream) -> Result<Vec<OwnedFd>, Errno> {
    let mut groups = Groups::default();
    handed::receive(socket, &mut [0], &mut groups)?;
    groups.take_all().ok_or(Errno::BADF)
}

fn fork(mut plan: Plan, group: Vec<OwnedFd>) -> Result<Forked, Errno> {
    let mut group = group.into_iter();
    let (Some(control), Some(out), Some(err)) = (group.next(), group.next(), group.next()) else {
        return Err(Errno::MFILE);
    };
    let sockets: Vec<OwnedFd> = group.by_ref().take(plan.sockets).collect();
    if sockets.len() < plan.sockets {
        return Err(Errno::MFILE);
    }
    let ends = Ends { control, outputs: [out, err], sockets }.out_of_the_way()?;
    let cgroup = group.next();
    let mut step = || plan.perform(&ends);
    if let Some(cgroup) = &cgroup
        && let Ok(pid) = syscall::fork(Some(cgroup.as_fd()), &mut step)
    {
        return Ok(Forked { pid, is_in_cgroup: true });
    }
    Ok(Forked { pid: syscall::fork(None, step)?, is_in_cgroup: false })
}
