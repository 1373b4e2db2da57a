//! Descriptors that go over the link beside a line: what is left of a child when its keeper dies.
//!
//! A line that comes with descriptors says how many ([`Carried`]); both ends queue the groups that
//! arrive and give each such line one. A group that did not fit into the receiver's table is empty,
//! and so is what its line hands over.

use std::collections::VecDeque;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};

use super::protocol::{Carried, SOCKETS};

/// A control socket, two pipes, listening sockets and a cgroup; with a line it is a pidfd and two
/// pipes, or listening sockets.
const MOST: usize = 4 + SOCKETS;

/// How many groups may wait for their lines. A line is taken before more is read, so that an honest
/// peer never has more than one on its way.
const GROUPS: usize = 4;

/// What somebody else can go on with: the process, and the ends of its pipes that are read.
#[derive(Debug)]
pub(crate) struct Handed {
    /// Stands for the leader, also after its death.
    pub(crate) pidfd: OwnedFd,
    /// The read ends of stdout and stderr, but those that were at their end.
    pub(crate) outputs: [Option<OwnedFd>; 2],
}

impl Handed {
    /// What a group is that came with a line; `None` if it did not arrive whole.
    pub(crate) fn new(group: Vec<OwnedFd>, carried: Carried) -> Option<Self> {
        let mut group = group.into_iter();
        let pidfd = group.next()?;
        let mut output = |is_there: bool| match is_there {
            true => group.next().map(Some),
            false => Some(None),
        };
        let outputs = [output(carried.out)?, output(carried.err)?];
        group.next().is_none().then_some(Self { pidfd, outputs })
    }

    /// What of it goes along with a line.
    pub(crate) fn carried(&self) -> Carried {
        let [out, err] = self.outputs.each_ref().map(Option::is_some);
        Carried { out, err }
    }

    /// Its descriptors in the order in which they are sent.
    pub(crate) fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        let outputs = self.outputs.iter().flatten().map(AsFd::as_fd);
        [self.pidfd.as_fd()].into_iter().chain(outputs).collect()
    }
}

/// Groups of descriptors that wait for their lines.
#[derive(Debug, Default)]
pub(crate) struct Groups(VecDeque<Vec<OwnedFd>>);

impl Groups {
    /// The child of a line; `None` if it did not arrive whole.
    pub(crate) fn take(&mut self, carried: Carried) -> Option<Handed> {
        Handed::new(self.take_all()?, carried)
    }

    /// The group of the next line that has one; empty if it did not arrive whole.
    pub(crate) fn take_all(&mut self) -> Option<Vec<OwnedFd>> {
        self.0.pop_front()
    }
}

/// Sends bytes, and descriptors with the first of them.
pub(crate) fn send(
    socket: impl AsFd,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> Result<usize, Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(Errno::INVAL);
    }
    rustix::net::sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)
}

/// Receives bytes, and puts the descriptors that came with one of them behind the others.
///
/// The kernel ends a message where descriptors begin or end, so it is one group at most.
pub(crate) fn receive(
    socket: impl AsFd,
    bytes: &mut [u8],
    groups: &mut Groups,
) -> Result<usize, Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC;
    let received =
        rustix::net::recvmsg(socket, &mut [IoSliceMut::new(bytes)], &mut control, flags)?;
    let mut group = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            group.extend(descriptors);
        }
    }
    let is_cut = received.flags.contains(ReturnFlags::CTRUNC);
    if is_cut {
        group.clear();
    }
    if is_cut || !group.is_empty() {
        groups.0.push_back(group);
    }
    if groups.0.len() > GROUPS { Err(Errno::TOOMANYREFS) } else { Ok(received.bytes) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    fn handed(out: bool, err: bool) -> Handed {
        let pipe = |is_there: bool| is_there.then(|| rustix::pipe::pipe().unwrap().0);
        let own = rustix::process::getpid();
        let pidfd = rustix::process::pidfd_open(own, rustix::process::PidfdFlags::empty()).unwrap();
        Handed { pidfd, outputs: [pipe(out), pipe(err)] }
    }

    #[test]
    fn each_line_gets_the_descriptors_that_were_sent_with_it() {
        let (here, there) = UnixStream::pair().unwrap();
        let sent = [(true, true), (false, true), (false, false)].map(|(o, e)| handed(o, e));
        let mut groups = Groups::default();
        let mut line = [0; 64];
        for it in &sent {
            assert_eq!(send(&here, b"plain\n", &[]).unwrap(), 6);
            assert_eq!(send(&here, b"held\n", &it.descriptors()).unwrap(), 5);
            let mut read = 0;
            while read < 11 {
                read += receive(&there, &mut line, &mut groups).unwrap();
            }
            let got = groups.take(it.carried()).unwrap();
            assert_eq!(got.carried(), it.carried());
            let inode = |fd: &OwnedFd| rustix::fs::fstat(fd).unwrap().st_ino;
            assert_eq!(inode(&got.pidfd), inode(&it.pidfd));
            for (got, sent) in got.outputs.iter().zip(&it.outputs) {
                assert_eq!(got.as_ref().map(inode), sent.as_ref().map(inode));
            }
        }
        assert!(groups.take(Carried::default()).is_none());
    }

    #[test]
    fn who_floods_with_descriptors_is_hung_up_on() {
        let (here, there) = UnixStream::pair().unwrap();
        let it = handed(true, true);
        let mut groups = Groups::default();
        for at in 0..=GROUPS {
            send(&here, b"x", &it.descriptors()).unwrap();
            let received = receive(&there, &mut [0; 8], &mut groups);
            assert_eq!(received.is_ok(), at < GROUPS);
        }
    }

    #[test]
    fn a_group_that_is_not_whole_hands_over_nothing() {
        let mut groups = Groups::default();
        let pipe = || rustix::pipe::pipe().unwrap().0;
        groups.0.extend([vec![], vec![pipe()], vec![pipe(), pipe(), pipe()]]);
        let both = Carried { out: true, err: true };
        assert!(groups.take(both).is_none());
        assert!(groups.take(both).is_none());
        assert!(groups.take(both).is_some());
    }
}
