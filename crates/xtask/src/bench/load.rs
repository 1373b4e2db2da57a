//! The load generator: one thread, many connections, no allocation a request.
//!
//! Each connection has a full pipeline on its way; when all of it is answered, it sends the next.

use std::{
    io,
    net::{SocketAddrV4, TcpStream},
    time::Duration,
};

use rustix::{
    buffer::spare_capacity,
    event::{
        Timespec,
        epoll::{self, CreateFlags, EventData, EventFlags},
    },
    fd::OwnedFd,
    io::{Errno, retry_on_intr},
    net::{
        AddressFamily, RecvFlags, SendFlags, SocketAddrAny, SocketFlags, SocketType, ipproto,
        sockopt,
    },
};

use super::{
    clock::{ProcessorClock, now},
    histogram::Histogram,
    protocol::{Counter, Question},
    server::{Server, ServerError, patient},
};

/// Before this much time the caches, buffers and the clock speed are not yet what they will be.
const WARM_UP: Duration = Duration::from_millis(200);

/// A server that says nothing for so long has lost a request.
const STALLED: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };

/// More than all replies of a pipeline, so that one read takes them.
const BUFFER: usize = 64 * 1024;

/// One cell of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) question: Question,
    pub(crate) connections: usize,
    pub(crate) pipeline: usize,
    pub(crate) duration: Duration,
}

/// What a load brought to light.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    pub(crate) requests_per_second: f64,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    /// Processor time of the server for one request, in microseconds.
    pub(crate) server_cost: f64,
    /// How much of one processor the server took, and how much we did.
    pub(crate) server_share: f64,
    pub(crate) client_share: f64,
}

/// Why a load could not be driven.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error(transparent)]
    Server(#[from] ServerError),

    #[error("cannot open connection {number}")]
    Connect { number: usize, source: io::Error },

    #[error("cannot wait for replies")]
    Wait(#[source] Errno),

    #[error("no reply for {} s", STALLED.tv_sec)]
    Stalled,

    #[error("connection lost")]
    Lost(#[source] Errno),

    #[error("the server closed a connection")]
    Closed,

    #[error("an answer begins with {found:?}")]
    Refused { found: String },

    #[error("a pipeline was answered with {found} bytes, not {expected}")]
    WrongReply { expected: usize, found: usize },
}

/// Puts `load` on `server` and measures, after warming up, for as long as it says.
pub(crate) fn drive(server: &Server, load: Load) -> Result<Measured, LoadError> {
    let mut generator = Generator::new(server, load)?;
    generator.run_until(now() + WARM_UP)?;
    generator.latencies.clear();
    let before = Clocks::read(server)?;
    generator.run_until(before.time + load.duration)?;
    let after = Clocks::read(server)?;
    Ok(Measured::new(&generator.latencies, before, after))
}

impl Measured {
    fn new(latencies: &Histogram, before: Clocks, after: Clocks) -> Self {
        let seconds = (after.time - before.time).as_secs_f64();
        let server = (after.server - before.server).as_secs_f64();
        let requests = latencies.total() as f64;
        Self {
            requests_per_second: requests / seconds,
            p50: latencies.quantile(0.50),
            p99: latencies.quantile(0.99),
            server_cost: server * 1e6 / requests,
            server_share: server / seconds,
            client_share: (after.client - before.client).as_secs_f64() / seconds,
        }
    }
}

/// All clocks at one moment.
#[derive(Clone, Copy)]
pub(super) struct Clocks {
    pub(super) time: Duration,
    pub(super) server: Duration,
    pub(super) client: Duration,
}

impl Clocks {
    pub(super) fn read(server: &Server) -> Result<Self, ServerError> {
        let look = |errno| server.look(errno);
        Ok(Self {
            time: now(),
            server: server.processor_clock()?.read().map_err(look)?,
            client: ProcessorClock::of_this_process().read().map_err(look)?,
        })
    }
}

struct Connection {
    socket: OwnedFd,
    counter: Counter,
    /// Requests not yet answered, and the bytes of the answers so far.
    outstanding: usize,
    received: usize,
    sent: Duration,
}

struct Generator {
    epoll: OwnedFd,
    connections: Vec<Connection>,
    /// A full pipeline of requests, and the length of what must come back where that is known.
    burst: Vec<u8>,
    burst_reply: Option<usize>,
    /// What the first reply to it begins with.
    beginning: Vec<u8>,
    pipeline: usize,
    buffer: Vec<u8>,
    latencies: Histogram,
}

impl Generator {
    fn new(server: &Server, load: Load) -> Result<Self, LoadError> {
        let protocol = server.contender.protocol();
        let asked = protocol.exchange(load.question);
        let epoll = epoll::create(CreateFlags::CLOEXEC).map_err(LoadError::Wait)?;
        let mut connections = Vec::with_capacity(load.connections);
        for number in 0..load.connections {
            let socket = open(server)
                .and_then(|socket| Ok(watch(&epoll, socket, number)?))
                .map_err(|source| LoadError::Connect { number, source })?;
            let counter = protocol.counter(load.question);
            let sent = Duration::ZERO;
            connections.push(Connection { socket, counter, outstanding: 0, received: 0, sent });
        }
        let mut generator = Self {
            epoll,
            connections,
            burst: asked.request.repeat(load.pipeline),
            burst_reply: (!asked.is_open).then_some(asked.reply.len() * load.pipeline),
            beginning: asked.reply,
            pipeline: load.pipeline,
            buffer: vec![0; BUFFER],
            latencies: Histogram::new(),
        };
        (0..load.connections).try_for_each(|number| generator.send(number))?;
        Ok(generator)
    }

    fn run_until(&mut self, end: Duration) -> Result<(), LoadError> {
        let mut events = Vec::with_capacity(1024);
        while now() < end {
            events.clear();
            let spare = spare_capacity(&mut events);
            epoll::wait(&self.epoll, spare, Some(&STALLED)).map_err(LoadError::Wait)?;
            if events.is_empty() {
                return Err(LoadError::Stalled);
            }
            for event in &events {
                self.receive(event.data.u64() as usize)?;
            }
        }
        Ok(())
    }

    fn send(&mut self, number: usize) -> Result<(), LoadError> {
        let connection = &mut self.connections[number];
        connection.outstanding = self.pipeline;
        connection.received = 0;
        connection.sent = now();
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        match rustix::net::send(&connection.socket, &self.burst, flags) {
            Ok(length) if length == self.burst.len() => Ok(()),
            // An empty socket takes the longest pipeline that the command line allows.
            Ok(_) => Err(LoadError::Lost(Errno::NOBUFS)),
            Err(errno) => Err(LoadError::Lost(errno)),
        }
    }

    fn receive(&mut self, number: usize) -> Result<(), LoadError> {
        let connection = &mut self.connections[number];
        let (length, _) =
            rustix::net::recv(&connection.socket, &mut self.buffer[..], RecvFlags::DONTWAIT)
                .map_err(LoadError::Lost)?;
        if length == 0 {
            return Err(LoadError::Closed);
        }
        let found = &self.buffer[..length];
        let seen = self.beginning.len().min(length);
        if connection.received == 0 && found[..seen] != self.beginning[..seen] {
            return Err(LoadError::Refused { found: String::from_utf8_lossy(found).into_owned() });
        }
        let replies = connection.counter.feed(found);
        self.latencies.record(now() - connection.sent, replies as u64);
        connection.received += length;
        connection.outstanding = connection.outstanding.saturating_sub(replies);
        if connection.outstanding > 0 {
            return Ok(());
        }
        let found = connection.received;
        match self.burst_reply {
            Some(expected) if expected != found => Err(LoadError::WrongReply { expected, found }),
            _ => self.send(number),
        }
    }
}

/// A connection that leaves no trace when it is closed: its end is a reset, since otherwise each
/// run would leave its ports waiting for a minute.
pub(crate) fn connect(address: SocketAddrV4) -> Result<OwnedFd, Errno> {
    let socket = rustix::net::socket_with(
        AddressFamily::INET,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        Some(ipproto::TCP),
    )?;
    sockopt::set_tcp_nodelay(&socket, true)?;
    sockopt::set_socket_linger(&socket, Some(Duration::ZERO))?;
    retry_on_intr(|| rustix::net::connect(&socket, &SocketAddrAny::from(address)))?;
    Ok(socket)
}

/// A connection that is ready for requests.
fn open(server: &Server) -> io::Result<OwnedFd> {
    let mut stream = patient(TcpStream::from(connect(server.address)?))?;
    server.greet(&mut stream)?;
    Ok(stream.into())
}

fn watch(epoll: &OwnedFd, socket: OwnedFd, number: usize) -> Result<OwnedFd, Errno> {
    epoll::add(epoll, &socket, EventData::new_u64(number as u64), EventFlags::IN)?;
    Ok(socket)
}
