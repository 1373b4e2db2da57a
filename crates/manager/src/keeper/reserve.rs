//! Descriptors for when there are none left.
//!
//! Whose a process is, and whether it is dead, is read from files. Without a descriptor to read
//! them by, a tree would seem to be empty that is not; so some are kept for that, and no child gets
//! them.

use std::os::fd::{AsFd, OwnedFd};

/// Enough for a walk through `/proc`, and for the pidfds of leaders that die meanwhile.
const COUNT: usize = 16;

/// Descriptors that stand for nothing.
#[derive(Debug, Default)]
pub(super) struct Reserve {
    held: Vec<OwnedFd>,
}

impl Reserve {
    /// Lets others have them, until they are kept again.
    pub(super) fn release(&mut self) {
        self.held.clear();
    }

    /// Keeps as many as there are, as copies of any descriptor.
    pub(super) fn keep(&mut self, any: impl AsFd) {
        while self.held.len() < COUNT
            && let Ok(copy) = rustix::io::fcntl_dupfd_cloexec(&any, 0)
        {
            self.held.push(copy);
        }
    }
}
