//! One message to many: how many deliveries a second of the server's processor time brings.

use std::{
    io::{self, Write},
    net::TcpStream,
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

use super::verdict;
use crate::{
    bench::{
        clock::now,
        load::connect,
        report::median,
        server::{Contender, Server, ServerError, patient, read_line},
    },
    step::say,
};

/// How a message is sent and heard.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// A free message, not stored.
    Emit,
    /// A change, on the disk before anybody hears of it.
    Update,
    Redis,
    Nats,
    /// What no server can be below: it looks at nothing that it passes on.
    Floor,
}

const WAYS: [Way; 5] = [Way::Emit, Way::Update, Way::Redis, Way::Nats, Way::Floor];

/// How many deliveries an `emit` must bring, of those of the rivals.
const MUST: [(Way, f64); 2] = [(Way::Redis, 1.3), (Way::Nats, 1.5)];

/// A byte that each message has once, and nothing else that is sent.
const MARK: u8 = b'~';

/// Bytes of a message.
const LENGTH: usize = 200;

/// Who says nothing for so long has lost a message.
const STALLED: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };

/// Why there is no figure.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FanError {
    #[error(transparent)]
    Server(#[from] ServerError),

    #[error("cannot subscribe at {server}")]
    Subscribe { server: &'static str, source: io::Error },

    #[error("connection to {server} lost")]
    Lost { server: &'static str, source: Errno },

    #[error("{server} told {heard} of {wanted}, then nothing for {} s", STALLED.tv_sec)]
    Stalled { server: &'static str, heard: usize, wanted: usize },
}

/// One run.
#[derive(Clone, Copy)]
struct Heard {
    deliveries: f64,
    seconds: f64,
    processor: f64,
}

impl Heard {
    fn a_processor_second(&self) -> f64 {
        self.deliveries / self.processor
    }
}

/// How many hear, and how many messages are sent before all of them must be heard.
#[derive(Clone, Copy)]
pub(crate) struct Cell {
    pub(crate) count: usize,
    pub(crate) burst: usize,
}

pub(crate) fn fan(
    state: &Contender,
    cells: impl IntoIterator<Item = Cell>,
    rounds: u64,
    duration: Duration,
) -> Result<(), FanError> {
    say("heard by  in a row  way           deliveries/s  per server CPU s  server");
    for cell in cells {
        let mut all = WAYS.map(|_| Vec::new());
        for _ in 0..rounds {
            for (way, heard) in WAYS.iter().zip(&mut all) {
                let contender = way.contender(state);
                heard.push(run(*way, &Server::start(&contender)?, cell, duration)?);
            }
        }
        for (way, heard) in WAYS.iter().zip(&all) {
            say(&row(cell, *way, heard));
        }
        for (rival, must) in MUST {
            let place = WAYS.iter().position(|it| *it == rival).unwrap_or_default();
            let beside = all[0].iter().zip(&all[place]);
            let ratios = beside.map(|(a, b)| a.a_processor_second() / b.a_processor_second());
            let found = median(ratios.collect());
            let what = format!("times the deliveries of {}", rival.name());
            verdict(&what, found, found >= must, &format!("at least {must}"));
        }
    }
    Ok(())
}

fn row(cell: Cell, way: Way, heard: &[Heard]) -> String {
    let of = |figure: fn(&Heard) -> f64| median(heard.iter().map(figure).collect());
    format!(
        "{:>8}  {:>8}  {:<12}  {:>12.0}  {:>16.0}  {:>5.0}%",
        cell.count,
        cell.burst,
        way.name(),
        of(|it| it.deliveries / it.seconds),
        of(Heard::a_processor_second),
        of(|it| it.processor / it.seconds * 100.0),
    )
}

/// Sends bursts and waits until everybody has heard each, for as long as `duration`.
fn run(way: Way, server: &Server, cell: Cell, duration: Duration) -> Result<Heard, FanError> {
    let mut audience = Audience::gather(way, server, cell.count)?;
    let (burst, wanted) = (way.message().repeat(cell.burst), cell.count * cell.burst);
    audience.hear(&burst, wanted)?;
    let look = |errno| server.look(errno);
    let clock = server.processor_clock()?;
    let (begun, before) = (now(), clock.read().map_err(look)?);
    let mut deliveries = 0;
    while now() - begun < duration {
        audience.hear(&burst, wanted)?;
        deliveries += wanted;
    }
    let processor = (clock.read().map_err(look)? - before).as_secs_f64();
    Ok(Heard { deliveries: deliveries as f64, seconds: (now() - begun).as_secs_f64(), processor })
}

/// Who hears, and who speaks; the speaker is the last.
struct Audience {
    server: &'static str,
    epoll: OwnedFd,
    sockets: Vec<OwnedFd>,
    speaker: TcpStream,
    buffer: Vec<u8>,
}

impl Audience {
    fn gather(way: Way, server: &Server, count: usize) -> Result<Self, FanError> {
        let name = server.contender.name();
        let failed = |source| FanError::Subscribe { server: name, source };
        let epoll = epoll::create(CreateFlags::CLOEXEC).map_err(|it| failed(it.into()))?;
        let mut sockets = Vec::with_capacity(count);
        for number in 0..count as u64 {
            let mut stream = guest(way, server).map_err(failed)?;
            way.subscribe(&mut stream).map_err(failed)?;
            epoll::add(&epoll, &stream, EventData::new_u64(number), EventFlags::IN)
                .map_err(|it| failed(it.into()))?;
            sockets.push(stream.into());
        }
        let speaker = guest(way, server).map_err(failed)?;
        epoll::add(&epoll, &speaker, EventData::new_u64(count as u64), EventFlags::IN)
            .map_err(|it| failed(it.into()))?;
        Ok(Self { server: name, epoll, sockets, speaker, buffer: vec![0; 64 << 10] })
    }

    /// Sends `burst` and reads until `wanted` messages have been heard.
    fn hear(&mut self, burst: &[u8], wanted: usize) -> Result<(), FanError> {
        let server = self.server;
        let lost = |source| FanError::Lost { server, source };
        self.speaker
            .write_all(burst)
            .map_err(|it| lost(Errno::from_io_error(&it).unwrap_or(Errno::IO)))?;
        let (mut heard, mut events) = (0, Vec::with_capacity(1024));
        while heard < wanted {
            events.clear();
            epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&STALLED)).map_err(lost)?;
            if events.is_empty() {
                return Err(FanError::Stalled { server, heard, wanted });
            }
            for event in &events {
                let number = event.data.u64() as usize;
                let buffer = &mut self.buffer[..];
                let read = match self.sockets.get(number) {
                    Some(socket) => rustix::net::recv(socket, buffer, RecvFlags::DONTWAIT),
                    None => rustix::net::recv(&self.speaker, buffer, RecvFlags::DONTWAIT),
                };
                let (length, _) = read.map_err(lost)?;
                if length == 0 {
                    return Err(lost(Errno::CONNRESET));
                }
                heard += self.buffer[..length].iter().filter(|&&byte| byte == MARK).count();
            }
        }
        Ok(())
    }
}

/// Connected, and logged in where that is needed.
fn guest(way: Way, server: &Server) -> io::Result<TcpStream> {
    let mut stream = patient(TcpStream::from(connect(server.address)?))?;
    match way {
        Way::Nats => {
            read_line(&mut stream)?;
            stream.write_all(b"CONNECT {\"verbose\":false}\r\n")?;
        }
        _ => server.greet(&mut stream)?,
    }
    Ok(stream)
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::Emit => "State emit",
            Self::Update => "State update",
            Self::Redis => "Redis",
            Self::Nats => "NATS",
            Self::Floor => "floor",
        }
    }

    fn contender(self, state: &Contender) -> Contender {
        match self {
            Self::Emit | Self::Update => state.clone(),
            Self::Redis => Contender::Redis,
            Self::Nats => Contender::Nats,
            Self::Floor => Contender::Passing,
        }
    }

    /// Asks to hear, and reads what that brings: so many lines.
    fn subscribe(self, stream: &mut TcpStream) -> io::Result<()> {
        let (request, lines) = match self {
            Self::Emit => ("subscribe [null]\n", 1),
            Self::Update => ("subscribe [[\"key\"]]\n", 2),
            Self::Redis => ("SUBSCRIBE c\r\n", 6),
            Self::Nats => ("SUB c 1\r\nPING\r\n", 1),
            Self::Floor => ("", 0),
        };
        stream.write_all(request.as_bytes())?;
        for _ in 0..lines {
            let line = read_line(stream)?;
            if line.starts_with("err") || line.starts_with('-') {
                return Err(io::Error::other(line));
            }
        }
        Ok(())
    }

    /// What the speaker sends.
    fn message(self) -> Vec<u8> {
        let text = "x".repeat(LENGTH - 1) + "~";
        let message = match self {
            Self::Emit => format!("emit [\"root\",\"m\",\"{text}\"]\n"),
            Self::Update => format!("update [[\"key\"],\"{text}\"]\n"),
            Self::Redis => format!("*3\r\n$7\r\nPUBLISH\r\n$1\r\nc\r\n${LENGTH}\r\n{text}\r\n"),
            Self::Floor => {
                format!("event [\"message\",{{\"name\":\"m\",\"payload\":\"{text}\"}},1]\n")
            }
            Self::Nats => format!("PUB c {LENGTH}\r\n{text}\r\n"),
        };
        message.into_bytes()
    }
}
