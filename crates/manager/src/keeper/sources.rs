//! What the keeper waits for.

use std::os::fd::{AsFd, OwnedFd};

use rustix::event::epoll;
use rustix::io::Errno;

use super::child::{Child, Leader};
use super::link::Link;
use super::log::Stream;
use super::spawn::Started;

/// Whom an event is about, as the number that epoll carries for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Listener,
    Link,
    Newcomer,
    Signals,
    Cgroups,
    Control(u64),
    Output(u64, Stream),
    /// Somebody of an adopted tree has ended.
    Ended(u64),
}

/// No key gets so far.
const CGROUPS: u64 = u64::MAX;

impl Source {
    fn number(self) -> u64 {
        match self {
            Self::Listener => 0,
            Self::Link => 1,
            Self::Signals => 2,
            Self::Newcomer => 3,
            Self::Cgroups => CGROUPS,
            Self::Control(key) => key << 2,
            Self::Output(key, stream) => (key << 2) + 1 + stream.index() as u64,
            Self::Ended(key) => (key << 2) + 3,
        }
    }

    /// Keys begin at 1, so that the numbers of children and of others differ.
    pub(super) fn from_number(number: u64) -> Self {
        match (number >> 2, number & 3) {
            _ if number == CGROUPS => Self::Cgroups,
            (0, 0) => Self::Listener,
            (0, 1) => Self::Link,
            (0, 2) => Self::Signals,
            (0, _) => Self::Newcomer,
            (key, 0) => Self::Control(key),
            (key, 1) => Self::Output(key, Stream::Out),
            (key, 2) => Self::Output(key, Stream::Err),
            (key, _) => Self::Ended(key),
        }
    }
}

/// Waits for something to read, or the end.
pub(super) fn watch(epoll: &OwnedFd, fd: impl AsFd, source: Source) -> Result<(), Errno> {
    let data = epoll::EventData::new_u64(source.number());
    epoll::add(epoll, fd, data, epoll::EventFlags::IN)
}

/// Waits for all that a new child may say.
pub(super) fn watch_started(epoll: &OwnedFd, key: u64, started: &Started) -> Result<(), Errno> {
    watch(epoll, &started.control, Source::Control(key))?;
    let mut outputs = Stream::ALL.into_iter().zip(&started.outputs);
    outputs.try_for_each(|(stream, fd)| watch(epoll, fd, Source::Output(key, stream)))
}

/// Waits for all that an adopted child may say, and for its end.
pub(super) fn watch_adopted(epoll: &OwnedFd, key: u64, child: &Child) -> Result<(), Errno> {
    if let Leader::Adopted(pidfd) | Leader::Unverified(Some(pidfd)) = child.leader() {
        watch(epoll, pidfd, Source::Ended(key))?;
    }
    let mut outputs = child.outputs();
    outputs.try_for_each(|(stream, fd)| watch(epoll, fd, Source::Output(key, stream)))
}

/// Waits for the moment at which a dead process is reaped, and its status known to all.
pub(super) fn watch_reaping(epoll: &OwnedFd, pidfd: &OwnedFd, key: u64) -> Result<(), Errno> {
    let data = epoll::EventData::new_u64(Source::Ended(key).number());
    // That is told unasked (EPOLLHUP).
    epoll::modify(epoll, pidfd, data, epoll::EventFlags::empty())
}

/// Closes what a child will not say any more.
pub(super) fn close(epoll: &OwnedFd, child: &mut Child) {
    for pipe in child.take_closing() {
        unwatch(epoll, pipe);
    }
}

/// Waits no longer for what is about to be closed.
pub(super) fn unwatch(epoll: &OwnedFd, fd: impl AsFd) {
    // One that is not watched just now is none the worse for it.
    let _ = epoll::delete(epoll, fd);
}

/// Reads a child's pipes or lets them be, as its log wants.
///
/// A blocked pipe is taken out altogether: its end would wake the keeper even unasked.
pub(super) fn pause_or_resume(epoll: &OwnedFd, key: u64, child: &mut Child) {
    let Some(is_paused) = child.take_pause_change() else { return };
    for (stream, fd) in child.outputs() {
        // Each is watched exactly when it is not paused, so neither can fail.
        let _ = if is_paused {
            epoll::delete(epoll, fd)
        } else {
            watch(epoll, fd, Source::Output(key, stream))
        };
    }
}

/// Waits from now on for a newcomer as for the manager.
pub(super) fn promote(epoll: &OwnedFd, link: &Link) -> Result<(), Errno> {
    let data = epoll::EventData::new_u64(Source::Link.number());
    epoll::modify(epoll, link.socket(), data, epoll::EventFlags::IN)
}

/// Waits until the manager reads on, while it leaves something unread.
pub(super) fn watch_backlog(epoll: &OwnedFd, link: &mut Link, owes: bool) {
    let Some(has_backlog) = link.take_backlog_change(owes) else { return };
    let is_wanted = if has_backlog { epoll::EventFlags::OUT } else { epoll::EventFlags::empty() };
    let data = epoll::EventData::new_u64(Source::Link.number());
    // It is watched, so this cannot fail.
    let _ = epoll::modify(epoll, link.socket(), data, epoll::EventFlags::IN | is_wanted);
}
