//! The one manager that is connected.

use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};

use rustix::io::Errno;

use super::handed::{self, Groups};
use super::protocol::{LINE_LIMIT_BYTES, Report, Request};

/// What is read at once; a request is usually shorter.
const READ_BYTES: usize = 64 << 10;

/// How much a manager may leave unread; one that leaves more is disconnected. It loses nothing, as
/// `list` tells all when it comes back.
const BACKLOG_BYTES: usize = 4 << 20;

/// A connection with bytes on their way in both directions. Neither direction ever waits.
#[derive(Debug)]
pub(super) struct Link {
    socket: UnixStream,
    input: Vec<u8>,
    groups: Groups,
    line_end: Option<usize>,
    output: Vec<u8>,
    is_backed_up: bool,
}

/// Why a connection is at its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    /// The manager is gone.
    #[error("the manager hung up")]
    Closed,
    /// The socket failed.
    #[error("the manager's connection failed")]
    Broken(#[from] io::Error),
    /// A line passed [`LINE_LIMIT_BYTES`].
    #[error("the manager sent a line without an end")]
    TooLong,
    /// The manager does not read.
    #[error("the manager does not read what it is told")]
    Backlog,
}

impl Link {
    /// Takes who waits at the door; `None` if nobody does, or somebody who is not this user.
    pub(super) fn accept(listener: &UnixListener) -> Option<Self> {
        let (socket, _) = listener.accept().ok()?;
        let peer = rustix::net::sockopt::socket_peercred(&socket).ok()?;
        socket.set_nonblocking(true).ok()?;
        (peer.uid == rustix::process::geteuid()).then(|| Self {
            socket,
            input: Vec::new(),
            groups: Groups::default(),
            line_end: None,
            output: Vec::new(),
            is_backed_up: false,
        })
    }

    /// What to wait on.
    pub(super) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Whether [`next`](Self::next) has a request without reading more.
    pub(super) fn has_request(&self) -> bool {
        self.line_end.is_some()
    }

    /// Whether the manager leaves something unread, or is owed more than that, if that is new since
    /// the last call.
    pub(super) fn take_backlog_change(&mut self, owes: bool) -> Option<bool> {
        let has_backlog = owes || !self.output.is_empty();
        let was_backed_up = std::mem::replace(&mut self.is_backed_up, has_backlog);
        (was_backed_up != has_backlog).then_some(has_backlog)
    }

    /// Reads once, unless a request waits already.
    ///
    /// # Errors
    /// [`LinkError`], after which the link is to be dropped.
    pub(super) fn read(&mut self) -> Result<(), LinkError> {
        if self.has_request() {
            return Ok(());
        }
        let before = self.input.len();
        self.input.resize(before + READ_BYTES, 0);
        let read = handed::receive(&self.socket, &mut self.input[before..], &mut self.groups);
        self.input.truncate(before + read.as_ref().map_or(0, |count| *count));
        match read {
            Ok(0) => return Err(LinkError::Closed),
            Err(Errno::AGAIN) => return Ok(()),
            read => read.map_err(io::Error::from)?,
        };
        self.line_end = newline(&self.input[before..]).map(|at| before + at);
        match self.line_end {
            None if self.input.len() > LINE_LIMIT_BYTES => Err(LinkError::TooLong),
            _ => Ok(()),
        }
    }

    /// The next request that was read, with the descriptors that came with it; an error for a line
    /// that is none.
    pub(super) fn next(&mut self) -> Option<Result<(Request, Vec<OwnedFd>), serde_json::Error>> {
        let end = self.line_end.take()?;
        let request = serde_json::from_slice::<Request>(&self.input[..end]);
        self.input.drain(..=end);
        self.line_end = newline(&self.input);
        Some(request.map(|request| {
            let group = request.carries().then(|| self.groups.take_all()).flatten();
            (request, group.unwrap_or_default())
        }))
    }

    /// Queues a report.
    ///
    /// # Errors
    /// [`LinkError::Backlog`]
    pub(super) fn send(&mut self, report: &Report) -> Result<(), LinkError> {
        serde_json::to_writer(&mut self.output, report)
            .expect("strings and numbers always serialise");
        self.output.push(b'\n');
        if self.output.len() > BACKLOG_BYTES { Err(LinkError::Backlog) } else { Ok(()) }
    }

    /// Whether all that was queued is written, so that descriptors may follow.
    pub(super) fn is_idle(&self) -> bool {
        self.output.is_empty()
    }

    /// Sends a report with descriptors, past the queue; false if the socket takes nothing now.
    ///
    /// They are not queued, so that a manager that does not read costs no descriptors.
    ///
    /// # Errors
    /// [`LinkError::Broken`]
    pub(super) fn hand(
        &mut self,
        report: &Report,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<bool, LinkError> {
        let mut line = serde_json::to_vec(report).expect("strings and numbers always serialise");
        line.push(b'\n');
        match handed::send(&self.socket, &line, descriptors) {
            Ok(count) => self.output.extend_from_slice(&line[count..]),
            Err(Errno::AGAIN) => return Ok(false),
            // Too many of this user's descriptors are on their way: the manager goes without these.
            Err(Errno::TOOMANYREFS) => {}
            Err(errno) => return Err(LinkError::Broken(errno.into())),
        }
        Ok(true)
    }

    /// Writes what the socket takes.
    ///
    /// # Errors
    /// [`LinkError::Broken`]
    pub(super) fn flush(&mut self) -> Result<(), LinkError> {
        while !self.output.is_empty() {
            match self.socket.write(&self.output) {
                Ok(count) => drop(self.output.drain(..count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

fn newline(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|&byte| byte == b'\n')
}
