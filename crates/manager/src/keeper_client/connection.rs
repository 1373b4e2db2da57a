//! One connection with the keeper: lines in both directions, some with descriptors.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    sync::Arc,
};

use tokio::{io::Interest, net::UnixStream, sync::mpsc};

use super::{
    Message,
    known::{Adoption, Known},
};
use crate::{
    keeper::{
        handed::{self, Groups, Handed},
        protocol::{LINE_LIMIT_BYTES, Listed, Report, Request},
    },
    manager::Event,
    proc::Pid,
};

/// What is read at once.
const READ_BYTES: usize = 64 << 10;

/// A connection, both of its directions.
#[derive(Debug)]
pub(super) struct Connection {
    stream: Arc<UnixStream>,
    reports: Reports,
}

impl Connection {
    pub(super) fn new(stream: UnixStream, known: Known) -> Self {
        let stream = Arc::new(stream);
        let reports = Reports {
            stream: Arc::clone(&stream),
            known,
            bytes: vec![],
            seen: 0,
            groups: Groups::default(),
        };
        Self { stream, reports }
    }

    /// The process at the other end; 0 if the kernel does not tell.
    pub(super) fn peer(&self) -> Pid {
        let pid = self.stream.peer_cred().ok().and_then(|it| it.pid());
        pid.map(i32::cast_unsigned).unwrap_or_default()
    }

    /// All that the keeper has. What it reports before is told by the list as well.
    pub(super) async fn list(&mut self) -> Option<Vec<Listed>> {
        self.reports.known.sockets().forget_told();
        write(&self.stream, &line(&Request::List {}), &[]).await.ok()?;
        loop {
            if let Report::Children(children) = self.reports.next().await? {
                return Some(children);
            }
        }
    }

    /// Asks for the adoption of a child; the next list tells what came of it.
    pub(super) async fn adopt(&self, Adoption { adopt, handed }: Adoption) -> io::Result<()> {
        let descriptors = handed.as_ref().map(Handed::descriptors).unwrap_or_default();
        write(&self.stream, &line(&Request::Adopt(adopt)), &descriptors).await
    }

    /// Carries requests out and reports in, until the keeper is gone.
    pub(super) async fn carry(
        self,
        mailbox: &mpsc::Sender<Event>,
        queue: &mut mpsc::Receiver<Message>,
    ) {
        let Self { stream, mut reports } = self;
        let hear = async {
            while let Some(report) = reports.next().await {
                let is_empty = reports.take_empty_of(&report);
                if mailbox.send(Event::Reported { report, is_empty }).await.is_err() {
                    return;
                }
            }
        };
        let tell = async {
            let mut messages = vec![];
            while queue.recv_many(&mut messages, 64).await > 0 {
                if write_all(&stream, messages.drain(..)).await.is_err() {
                    return;
                }
            }
            // The manager is ending; what the keeper still says is heard.
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = hear => {}
            () = tell => {}
        }
    }
}

/// What the keeper says.
#[derive(Debug)]
struct Reports {
    stream: Arc<UnixStream>,
    known: Known,
    /// What was read and is not yet taken.
    bytes: Vec<u8>,
    /// How many of them hold no end of a line.
    seen: usize,
    groups: Groups,
}

impl Reports {
    /// The next report; `None` when the keeper is gone or talks nonsense. Not cancel safe.
    async fn next(&mut self) -> Option<Report> {
        loop {
            let line = self.line().await?;
            let report = serde_json::from_slice(&line)
                .inspect_err(|error| tracing::error!(%error, "the keeper is not understood"))
                .ok()?;
            match report {
                Report::Held { name, pid, carried } => {
                    self.known.hold(name, pid, self.groups.take(carried));
                }
                Report::Sockets { name, sockets } => {
                    let came = self.groups.take_all().unwrap_or_default();
                    self.known.sockets().hand(&name, sockets, came);
                }
                report => {
                    self.known.note(&report);
                    return Some(report);
                }
            }
        }
    }

    /// Whether the report behind `exited` is already here and says that its whole tree has ended.
    /// That one is then taken too: most daemons leave nothing behind, and both ends come in one
    /// write.
    fn take_empty_of(&mut self, report: &Report) -> bool {
        let Report::Exited { name, pid, .. } = report else { return false };
        let Some(end) = self.bytes.iter().position(|&byte| byte == b'\n') else { return false };
        let next: Option<Report> = serde_json::from_slice(&self.bytes[..end]).ok();
        let is_its_own = matches!(
            next, Some(Report::Empty { name: of, pid: leader }) if of == *name && leader == *pid
        );
        if is_its_own {
            self.take_line(end);
        }
        is_its_own
    }

    async fn line(&mut self) -> Option<Vec<u8>> {
        loop {
            let unseen = &self.bytes[self.seen..];
            if let Some(end) = unseen.iter().position(|&byte| byte == b'\n') {
                return Some(self.take_line(self.seen + end));
            }
            self.seen = self.bytes.len();
            if self.seen > LINE_LIMIT_BYTES {
                return None;
            }
            self.read().await.ok()?;
        }
    }

    fn take_line(&mut self, end: usize) -> Vec<u8> {
        self.seen = 0;
        self.bytes.drain(..=end).collect()
    }

    async fn read(&mut self) -> io::Result<()> {
        let before = self.bytes.len();
        self.bytes.resize(before + READ_BYTES, 0);
        let Self { stream, bytes, groups, .. } = self;
        let read = stream.async_io(Interest::READABLE, || {
            Ok(handed::receive(&**stream, &mut bytes[before..], groups)?)
        });
        let read = read.await;
        bytes.truncate(before + read.as_ref().map_or(0, |count| *count));
        match read? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

/// In as few writes as can be: what comes with descriptors needs one of its own.
async fn write_all(stream: &UnixStream, messages: impl Iterator<Item = Message>) -> io::Result<()> {
    let mut plain = vec![];
    for Message { line, descriptors } in messages {
        if descriptors.is_empty() {
            plain.extend(line);
            continue;
        }
        write(stream, &std::mem::take(&mut plain), &[]).await?;
        let descriptors: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
        write(stream, &line, &descriptors).await?;
    }
    write(stream, &plain, &[]).await
}

async fn write(
    stream: &UnixStream,
    mut bytes: &[u8],
    mut descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    while !bytes.is_empty() {
        let sent =
            stream.async_io(Interest::WRITABLE, || Ok(handed::send(stream, bytes, descriptors)?));
        bytes = &bytes[sent.await?..];
        // They go with the first byte.
        descriptors = &[];
    }
    Ok(())
}

pub(super) fn line(request: &Request) -> Vec<u8> {
    let mut line = serde_json::to_vec(request).expect("strings and numbers are JSON");
    line.push(b'\n');
    line
}
