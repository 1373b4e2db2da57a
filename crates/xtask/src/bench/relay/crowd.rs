//! All peers of a run, and one thread that hears for all of them.

use std::{
    io::{self, Write},
    net::TcpStream,
};

use rustix::{
    buffer::spare_capacity,
    event::{
        Timespec,
        epoll::{self, CreateFlags, Event, EventData, EventFlags},
    },
    fd::OwnedFd,
    io::Errno,
    net::RecvFlags,
};

use super::way::{Hears, MARK, Way};
use crate::bench::server::{Server, ServerError};

/// Why there is no figure.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CrowdError {
    #[error(transparent)]
    Server(#[from] ServerError),

    #[error("cannot connect as a peer of {server}")]
    Connect { server: &'static str, source: io::Error },

    #[error("connection to {server} lost")]
    Lost { server: &'static str, source: Errno },

    #[error("{server} told too much: {what}")]
    TooMuch { server: &'static str, what: &'static str },

    #[error("{server} owes messages, and has said nothing for {} s", STALLED.tv_sec)]
    Stalled { server: &'static str },
}

/// Who says nothing for so long has lost a message.
const STALLED: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };

/// So much is read at once.
const BUFFER: usize = 256 << 10;

pub(crate) struct Crowd {
    pub(crate) way: Way,
    epoll: OwnedFd,
    peers: Vec<TcpStream>,
    events: Vec<Event>,
    buffer: Vec<u8>,
}

impl Crowd {
    /// Connects so many, one after the other, who have then heard of each other.
    pub(crate) fn gather(
        way: Way,
        server: &Server,
        count: usize,
        hears: Hears,
    ) -> Result<Self, CrowdError> {
        let failed = |source| CrowdError::Connect { server: way.name(), source };
        let epoll = epoll::create(CreateFlags::CLOEXEC).map_err(|it| failed(it.into()))?;
        let mut peers = Vec::with_capacity(count);
        for number in 0..count {
            let stream = way.connect(server.address, &id(number), hears).map_err(failed)?;
            let data = EventData::new_u64(number as u64);
            epoll::add(&epoll, &stream, data, EventFlags::IN).map_err(|it| failed(it.into()))?;
            peers.push(stream);
        }
        let (events, buffer) = (Vec::with_capacity(1024), vec![0; BUFFER]);
        let mut crowd = Self { way, epoll, peers, events, buffer };
        if way != Way::Nats {
            crowd.settle()?;
        }
        Ok(crowd)
    }

    /// Waits, and has `hear` look at what each peer was sent, who says how many of the messages
    /// that are counted were in it.
    pub(crate) fn wait(
        &mut self,
        mut hear: impl FnMut(&Self, usize, &[u8]) -> Result<usize, CrowdError>,
    ) -> Result<usize, CrowdError> {
        let lost = |source| CrowdError::Lost { server: self.way.name(), source };
        let mut events = std::mem::take(&mut self.events);
        events.clear();
        epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&STALLED)).map_err(lost)?;
        if events.is_empty() {
            return Err(CrowdError::Stalled { server: self.way.name() });
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut heard = 0;
        for event in &events {
            let number = event.data.u64() as usize;
            let read = rustix::net::recv(&self.peers[number], &mut buffer[..], RecvFlags::DONTWAIT);
            match read.map_err(lost)?.0 {
                0 => return Err(lost(Errno::CONNRESET)),
                length => heard += hear(self, number, &buffer[..length])?,
            }
        }
        (self.events, self.buffer) = (events, buffer);
        Ok(heard)
    }

    /// Sends as a peer.
    pub(crate) fn say(&self, number: usize, bytes: &[u8]) -> Result<(), CrowdError> {
        let lost = |it: io::Error| CrowdError::Lost {
            server: self.way.name(),
            source: Errno::from_io_error(&it).unwrap_or(Errno::IO),
        };
        (&self.peers[number]).write_all(bytes).map_err(lost)
    }

    /// Reads away what peers were told of each other: until all have heard the last one, who came
    /// after all others.
    fn settle(&mut self) -> Result<(), CrowdError> {
        let last = self.peers.len() - 1;
        self.say(last, &self.way.to_all("!"))?;
        let mut waiting = last;
        while waiting > 0 {
            waiting -= self.wait(|_, _, bytes| Ok(marks(bytes)))?;
        }
        Ok(())
    }
}

/// By which the others know a peer.
pub(crate) fn id(number: usize) -> String {
    format!("peer{number:04}")
}

/// How many messages end in it.
pub(crate) fn marks(bytes: &[u8]) -> usize {
    bytes.iter().filter(|&&byte| byte == MARK).count()
}

/// So many bytes that end as a message does.
pub(crate) fn text(bytes: usize) -> String {
    "x".repeat(bytes - 1) + "!"
}
