//! Another process, watched until it ends.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    io::retry_on_intr,
};
use tokio::io::unix::AsyncFd;

/// A process that cannot be mistaken for a later one with its pid. Readable once it has ended.
#[derive(Debug)]
pub(super) struct Process(OwnedFd);

impl Process {
    /// The process that has `pid` now.
    pub(super) fn open(pid: u32) -> io::Result<Self> {
        Ok(Self(manager::proc::open(pid)?))
    }

    /// Waits until it has ended. Cancel safe.
    pub(super) async fn ended(&self) -> io::Result<()> {
        #[expect(
            deprecated,
            reason = "a pidfd that is owned has the safety that the new one asks for"
        )]
        let process = AsyncFd::new(self.0.try_clone()?)?;
        drop(process.readable().await?);
        Ok(())
    }

    /// Waits until it has ended. Blocks, since a command has nothing else to do meanwhile.
    pub(super) fn wait(&self) -> io::Result<()> {
        retry_on_intr(|| poll(&mut [PollFd::new(self, PollFlags::IN)], None))?;
        Ok(())
    }
}

impl AsFd for Process {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
