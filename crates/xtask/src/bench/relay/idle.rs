//! So many idle peers in one database: how long until all are in and have heard of each other, and
//! what they cost.

use std::{
    io::{self, Write},
    net::TcpStream,
    path::Path,
    time::Duration,
};

use rustix::{
    buffer::spare_capacity,
    event::{
        Timespec,
        epoll::{self, CreateFlags, EventData, EventFlags},
    },
    fd::OwnedFd,
    io::Errno,
    net::RecvFlags,
};

use super::{
    crowd::CrowdError,
    way::{Way, request},
};
use crate::bench::{clock::now, load::connect, server::Server};

/// What a database of AceBase is called: newcomers are greeted there, which makes two frames of
/// each.
const DB: &str = "bench_data";

/// What all get first.
const WELCOME: &str = "welcome:{\"maxPayload\":16384}";

/// So many may have asked and not been let in, as after a restart: no more than a listener holds.
const HURRY: usize = 1000;

const STALLED: Timespec = Timespec { tv_sec: 60, tv_nsec: 0 };

/// One run.
pub(super) struct Idle {
    /// Until all are in; until each has heard of all others.
    pub(super) connected: Duration,
    pub(super) told: Duration,
    pub(super) processor: Duration,
    pub(super) resident: u64,
}

/// Who has come so far.
struct Newcomers {
    way: Way,
    epoll: OwnedFd,
    peers: Vec<(TcpStream, Head)>,
    welcomed: usize,
    /// What all have read, without the heads of HTTP.
    bytes: usize,
    buffer: Vec<u8>,
}

/// How much of the end of a head was seen, and whether it was all of it.
#[derive(Default)]
struct Head {
    matched: usize,
    /// What follows it so far, up to the length of the welcome.
    following: usize,
}

/// Lets `count` in.
pub(super) fn idle(way: Way, folder: &Path, count: usize) -> Result<Idle, CrowdError> {
    let server = Server::start(&way.contender(folder))?;
    let look = |errno| server.look(errno);
    let clock = server.processor_clock()?;
    let (begun, before) = (now(), clock.read().map_err(look)?);
    let mut newcomers = Newcomers::new(way)?;
    for number in 0..count {
        newcomers.connect(&server, number)?;
        while newcomers.hurry() >= HURRY {
            newcomers.hear()?;
        }
    }
    while newcomers.welcomed < count {
        newcomers.hear()?;
    }
    let connected = now() - begun;
    let wanted = count * (2 + WELCOME.len()) + count * (count - 1) / 2 * told_bytes(way);
    while newcomers.bytes < wanted {
        newcomers.hear()?;
    }
    let told = now() - begun;
    let processor = clock.read().map_err(look)? - before;
    Ok(Idle { connected, told, processor, resident: server.resident()? })
}

/// What a peer is told of another one, in bytes.
fn told_bytes(way: Way) -> usize {
    let id = id(0);
    let connected = 2 + "connect:".len() + id.len();
    match way {
        Way::Ours => connected + 2 + format!("{{\"type\":\"hello\",\"from\":\"{id}\"}}").len(),
        Way::Node | Way::Nats | Way::Floor => connected,
    }
}

fn id(number: usize) -> String {
    format!("idle{number:06}")
}

impl Newcomers {
    fn new(way: Way) -> Result<Self, CrowdError> {
        let failed = |it: Errno| CrowdError::Connect { server: way.name(), source: it.into() };
        let epoll = epoll::create(CreateFlags::CLOEXEC).map_err(failed)?;
        let (peers, buffer) = (Vec::new(), vec![0; 64 << 10]);
        Ok(Self { way, epoll, peers, welcomed: 0, bytes: 0, buffer })
    }

    /// How many have asked and were not let in.
    fn hurry(&self) -> usize {
        self.peers.len() - self.welcomed
    }

    fn connect(&mut self, server: &Server, number: usize) -> Result<(), CrowdError> {
        let open = || -> io::Result<TcpStream> {
            let mut stream = TcpStream::from(connect(server.address)?);
            stream.write_all(request(DB, &id(number)).as_bytes())?;
            let data = EventData::new_u64(number as u64);
            epoll::add(&self.epoll, &stream, data, EventFlags::IN)?;
            Ok(stream)
        };
        let failed = |source| CrowdError::Connect { server: self.way.name(), source };
        self.peers.push((open().map_err(failed)?, Head::default()));
        Ok(())
    }

    fn hear(&mut self) -> Result<(), CrowdError> {
        let lost = |source| CrowdError::Lost { server: self.way.name(), source };
        let mut events = Vec::with_capacity(2048);
        epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&STALLED)).map_err(lost)?;
        if events.is_empty() {
            return Err(CrowdError::Stalled { server: self.way.name() });
        }
        for event in &events {
            let (stream, head) = &mut self.peers[event.data.u64() as usize];
            let read = rustix::net::recv(&*stream, &mut self.buffer[..], RecvFlags::DONTWAIT);
            let length = match read.map_err(lost)?.0 {
                0 => return Err(lost(Errno::CONNRESET)),
                length => length,
            };
            let (following, is_in) = head.feed(&self.buffer[..length]);
            self.bytes += following;
            self.welcomed += usize::from(is_in);
        }
        Ok(())
    }
}

impl Head {
    /// How much of `bytes` follows the head, and whether the welcome ends in it.
    fn feed(&mut self, bytes: &[u8]) -> (usize, bool) {
        const END: &[u8] = b"\r\n\r\n";
        let mut rest = bytes;
        while self.matched < END.len()
            && let Some((byte, after)) = rest.split_first()
        {
            self.matched = match *byte == END[self.matched] {
                true => self.matched + 1,
                false => usize::from(*byte == END[0]),
            };
            rest = after;
        }
        let (before, welcome) = (self.following, 2 + WELCOME.len());
        self.following = (before + rest.len()).min(welcome);
        (rest.len(), before < welcome && self.following == welcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_ends_where_it_ends_however_it_is_cut() {
        let welcome = 2 + WELCOME.len();
        let all = ["HTTP/1.1 101 x\r\n\r\r\n\r\n", &"w".repeat(welcome), "more"].concat();
        for cut in 0..all.len() {
            let mut head = Head::default();
            let (one, two) = all.as_bytes().split_at(cut);
            let (one, two) = (head.feed(one), head.feed(two));
            assert_eq!(one.0 + two.0, welcome + 4, "{cut}");
            assert!(one.1 != two.1, "{cut}");
        }
    }
}
