//! `bench relay`: the relay beside one on Node's `ws` and beside NATS, under the same load.

pub(crate) mod crowd;
mod idle;
pub(crate) mod node;
pub(crate) mod shape;
pub(crate) mod way;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, ValueEnum, value_parser};

use self::{
    crowd::{Crowd, CrowdError},
    shape::{Broadcast, Direct, Shape, Trips},
    way::{Hears, RELAYS, WITH_FLOOR, Way},
};
use super::{
    clock::now,
    get::{GetError, SPARE, allow_open_files},
    histogram::Histogram,
    load::Clocks,
    machine, nats,
    report::median,
    server::Server,
    state::verdict,
    websocket,
};
use crate::{
    step::{self, StepError, announce, say},
    tools::ToolError,
    workspace::cargo,
};

#[derive(Args)]
pub(crate) struct Relay {
    /// What is measured
    #[arg(value_enum, value_delimiter = ',', default_value = "broadcast,direct,trips,idle")]
    parts: Vec<Part>,

    /// How often each cell is measured; the median is shown
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = value_parser!(u64).range(1..))]
    rounds: u64,

    /// How long each measurement takes
    #[arg(long, default_value_t = 2.0, value_name = "SECONDS")]
    seconds: f64,

    /// How many hear a broadcast
    #[arg(long, value_delimiter = ',', default_value = "10,100,1000", value_name = "N,…",
          value_parser = value_parser!(u64).range(1..=1_900))]
    receivers: Vec<u64>,

    /// How many idle peers there are
    #[arg(long, default_value_t = 1_600, value_name = "N",
          value_parser = value_parser!(u64).range(2..=2_000))]
    idle: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// A message to all others
    Broadcast,
    /// A message to one other, in ten pairs
    Direct,
    /// Workers that ask a master, as locks do
    Trips,
    /// Peers that are silent, and hear of each other
    Idle,
}

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RelayError {
    #[error(transparent)]
    Tool(#[from] ToolError),

    #[error(transparent)]
    Build(#[from] StepError),

    #[error(transparent)]
    Load(#[from] GetError),

    #[error(transparent)]
    Crowd(#[from] CrowdError),
}

/// A load.
#[derive(Clone, Copy)]
enum Cell {
    Broadcast { receivers: usize, bytes: usize },
    Direct,
    Trips { workers: usize },
}

/// One run.
#[derive(Clone)]
struct Heard {
    messages: f64,
    seconds: f64,
    server: f64,
    client: f64,
    p50: f64,
    p99: f64,
}

/// What a rival's figure is held against.
struct Must {
    rival: Way,
    /// How many times its messages for the same processor time.
    times: f64,
    /// Whether its p50 must not be below ours.
    has_latency: bool,
}

/// Bytes of a message; of a broadcast the other too.
const LENGTH: usize = 200;
const LONG: usize = 4 << 10;

const PAIRS: usize = 10;
const WORKERS: [usize; 2] = [1, 16];

/// A machine that compiles while it runs, as Node does, is at its speed after so much time.
const WARM_UP: Duration = Duration::from_millis(500);

/// Of so many receivers on, a broadcast must be as cheap as demanded.
const MANY: usize = 100;

const MUST_CONNECT: f64 = 3.0;
const MUST_HOLD_MIB: f64 = 100.0;

/// Measures and prints, a cell at a time.
pub(crate) fn relay(arguments: &Relay) -> Result<(), RelayError> {
    announce("building the relay");
    step::run(&mut cargo(["build", "--release", "--package", "relay-daemon"]))?;
    nats::ensure()?;
    let folder = websocket::installed()?;
    // A server lets in half as many as it may have files open.
    let most = arguments.receivers.iter().copied().max().unwrap_or(0).max(arguments.idle);
    let needed = 2 * most + SPARE;
    allow_open_files(needed).map_err(|source| GetError::OpenFiles { needed, source })?;
    machine::announce_machine();
    announce(&format!("the median of {} rounds of {} s each", arguments.rounds, arguments.seconds));
    for part in &arguments.parts {
        match part {
            Part::Idle => idle(arguments, &folder)?,
            part => {
                say(HEADER);
                let cells = arguments.cells(*part);
                cells.into_iter().try_for_each(|cell| measure(cell, arguments, &folder))?;
            }
        }
        machine::say_load();
    }
    Ok(())
}

const HEADER: &str = "load                   server   messages/s  per server CPU s    p50 µs    p99 µs  server  client";

impl Relay {
    fn cells(&self, part: Part) -> Vec<Cell> {
        let broadcasts = self.receivers.iter().flat_map(|&receivers| {
            [LENGTH, LONG].map(|bytes| Cell::Broadcast { receivers: receivers as usize, bytes })
        });
        match part {
            Part::Broadcast => broadcasts.collect(),
            Part::Direct => vec![Cell::Direct],
            Part::Trips => WORKERS.map(|workers| Cell::Trips { workers }).into(),
            Part::Idle => vec![],
        }
    }
}

/// Every round measures each server, beside the others.
fn measure(cell: Cell, arguments: &Relay, folder: &Path) -> Result<(), RelayError> {
    let ways = cell.ways();
    let mut all = vec![Vec::new(); ways.len()];
    for _ in 0..arguments.rounds {
        for (way, heard) in ways.iter().zip(&mut all) {
            heard.push(run(cell, *way, folder, Duration::from_secs_f64(arguments.seconds))?);
        }
    }
    for (way, heard) in ways.iter().zip(&all) {
        say(&row(cell, *way, heard));
    }
    for must in cell.musts() {
        judge(&must, ways, &all);
    }
    Ok(())
}

fn run(cell: Cell, way: Way, folder: &Path, length: Duration) -> Result<Heard, CrowdError> {
    let server = Server::start(&way.contender(folder))?;
    let mut crowd = Crowd::gather(way, &server, cell.peers(), cell.hears())?;
    let mut shape = cell.shape(&crowd);
    shape.begin(&crowd)?;
    let mut latencies = Histogram::new();
    drive(&mut crowd, &mut *shape, &mut latencies, WARM_UP)?;
    latencies.clear();
    let before = Clocks::read(&server)?;
    let messages = drive(&mut crowd, &mut *shape, &mut latencies, length)?;
    let after = Clocks::read(&server)?;
    let seconds = |of: fn(&Clocks) -> Duration| (of(&after) - of(&before)).as_secs_f64();
    Ok(Heard {
        messages: messages as f64,
        seconds: seconds(|it| it.time),
        server: seconds(|it| it.server),
        client: seconds(|it| it.client),
        p50: latencies.quantile(0.5).as_secs_f64() * 1e6,
        p99: latencies.quantile(0.99).as_secs_f64() * 1e6,
    })
}

/// Lets it go on for so long; how many messages were heard.
fn drive(
    crowd: &mut Crowd,
    shape: &mut dyn Shape,
    latencies: &mut Histogram,
    length: Duration,
) -> Result<usize, CrowdError> {
    let (end, mut messages) = (now() + length, 0);
    while now() < end {
        messages +=
            crowd.wait(|crowd, number, bytes| shape.hear(crowd, number, bytes, latencies))?;
    }
    Ok(messages)
}

impl Cell {
    fn name(self) -> String {
        match self {
            Self::Broadcast { receivers, bytes } => format!("1 to {receivers}, {bytes} B"),
            Self::Direct => format!("{PAIRS} pairs, {LENGTH} B"),
            Self::Trips { workers } => format!("{workers} asking, {LENGTH} B"),
        }
    }

    fn peers(self) -> usize {
        match self {
            Self::Broadcast { receivers, .. } => receivers + 1,
            Self::Direct => 2 * PAIRS,
            Self::Trips { workers } => workers + 1,
        }
    }

    /// Who is measured. The floor tells all others, who are one where there are two.
    fn ways(self) -> &'static [Way] {
        match self {
            Self::Broadcast { .. } | Self::Trips { workers: 1 } => &WITH_FLOOR,
            Self::Direct | Self::Trips { .. } => &RELAYS,
        }
    }

    fn hears(self) -> Hears {
        match self {
            Self::Broadcast { .. } => Hears::All,
            Self::Direct | Self::Trips { .. } => Hears::Own,
        }
    }

    fn shape(self, crowd: &Crowd) -> Box<dyn Shape> {
        match self {
            Self::Broadcast { receivers, bytes } => {
                Box::new(Broadcast::new(crowd, receivers, bytes))
            }
            Self::Direct => Box::new(Direct::new(crowd, PAIRS, LENGTH)),
            Self::Trips { workers } => Box::new(Trips::new(crowd, workers, LENGTH)),
        }
    }

    fn musts(self) -> Vec<Must> {
        let must = |rival, times, has_latency| Must { rival, times, has_latency };
        match self {
            Self::Broadcast { receivers, .. } if receivers < MANY => vec![],
            Self::Broadcast { .. } => {
                vec![must(Way::Nats, 1.5, false), must(Way::Node, 10.0, false)]
            }
            Self::Direct | Self::Trips { .. } => vec![must(Way::Node, 2.0, true)],
        }
    }
}

impl Heard {
    fn a_processor_second(&self) -> f64 {
        self.messages / self.server
    }
}

/// Holds ours against a rival, round by round.
fn judge(must: &Must, ways: &[Way], all: &[Vec<Heard>]) {
    let place = ways.iter().position(|it| *it == must.rival).unwrap_or_default();
    let ratio = |figure: fn(&Heard) -> f64| {
        median(all[0].iter().zip(&all[place]).map(|(a, b)| figure(a) / figure(b)).collect())
    };
    let (found, name) = (ratio(Heard::a_processor_second), must.rival.name());
    let what = format!("times the messages of {name} per CPU second");
    verdict(&what, found, found >= must.times, &format!("at least {}", must.times));
    if must.has_latency {
        let found = ratio(|it| it.p50);
        verdict(&format!("of the p50 of {name}"), found, found <= 1.0, "at most 1");
    }
}

fn row(cell: Cell, way: Way, heard: &[Heard]) -> String {
    let of = |figure: fn(&Heard) -> f64| median(heard.iter().map(figure).collect());
    format!(
        "{:<21}  {:<7}  {:>11.0}  {:>16.0}  {:>8.0}  {:>8.0}  {:>5.0}%  {:>5.0}%",
        cell.name(),
        way.name(),
        of(|it| it.messages / it.seconds),
        of(Heard::a_processor_second),
        of(|it| it.p50),
        of(|it| it.p99),
        of(|it| it.server / it.seconds * 100.0),
        of(|it| it.client / it.seconds * 100.0),
    )
}

/// Ours and the one on Node: NATS tells nobody who is there.
fn idle(arguments: &Relay, folder: &Path) -> Result<(), RelayError> {
    announce(&format!("{} idle peers in one database", arguments.idle));
    say("server    all in, s  all told, s  CPU s  memory, MiB");
    for way in [Way::Ours, Way::Node] {
        let mut runs = Vec::new();
        for _ in 0..arguments.rounds {
            runs.push(idle::idle(way, folder, arguments.idle as usize)?);
        }
        let of = |figure: fn(&idle::Idle) -> f64| median(runs.iter().map(figure).collect());
        let connected = of(|it| it.connected.as_secs_f64());
        let (told, memory) =
            (of(|it| it.told.as_secs_f64()), of(|it| it.resident as f64 / f64::from(1 << 20)));
        let processor = of(|it| it.processor.as_secs_f64());
        let name = way.name();
        say(&format!(
            "{name:<8}  {connected:>9.2}  {told:>11.2}  {processor:>5.2}  {memory:>11.1}"
        ));
        if way == Way::Ours {
            verdict("s until all are told", told, told < MUST_CONNECT, "below 3");
            verdict("MiB", memory, memory < MUST_HOLD_MIB, "below 100");
        }
    }
    Ok(())
}

/// The relay as it is measured.
pub(crate) fn arguments(port: u16) -> Vec<String> {
    let listen = format!("127.0.0.1:{port}");
    ["--listen", &listen, "--port", "0", "--log", "warn"].map(str::to_owned).into()
}

/// The program of the relay on Node.
pub(crate) fn on_node(folder: &Path, port: u16) -> (PathBuf, Vec<String>) {
    node::command(folder, port)
}
