//! `bench state`: the state server beside Redis, SQLite and NATS, each at what it is known for.

pub(crate) mod daemon;
mod fan;
mod sqlite;
mod start;
mod sync;

use std::time::Duration;

use clap::{Args, ValueEnum, value_parser};

use self::{
    fan::{Cell, FanError},
    sqlite::SqliteError,
    start::StartError,
    sync::SyncError,
};
use super::{
    get::{GetError, SPARE, allow_open_files, measure, start as start_servers},
    load::{Load, Measured},
    machine, nats,
    protocol::Question,
    redis,
    report::{self, median},
    server::Contender,
};
use crate::{
    step::{self, StepError, announce, say},
    tools::ToolError,
    workspace::{cargo, release},
};

#[derive(Args)]
pub(crate) struct State {
    /// What is measured
    #[arg(value_enum, value_delimiter = ',', default_value = "get,update,fan,start")]
    parts: Vec<Part>,

    /// How often each cell is measured; the median is shown
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = value_parser!(u64).range(1..))]
    rounds: u64,

    /// How long each measurement takes
    #[arg(long, default_value_t = 2.0, value_name = "SECONDS")]
    seconds: f64,

    /// How many change at the same time
    #[arg(long, value_delimiter = ',', default_value = "1,10,100", value_name = "N,…",
          value_parser = value_parser!(u64).range(1..=10_000))]
    writers: Vec<u64>,

    /// How many hear each message
    #[arg(long, value_delimiter = ',', default_value = "10,100,1000", value_name = "N,…",
          value_parser = value_parser!(u64).range(1..=10_000))]
    subscribers: Vec<u64>,

    /// How many messages are sent in a row, before all of them must be heard
    #[arg(long, value_delimiter = ',', default_value = "16,256", value_name = "N,…",
          value_parser = value_parser!(u64).range(1..=1024))]
    bursts: Vec<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Reading a small value
    Get,
    /// Changing one, on the disk before it is acknowledged
    Update,
    /// Telling many
    Fan,
    /// Starting with a million nodes, and what they cost
    Start,
}

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StateError {
    #[error(transparent)]
    Tool(#[from] ToolError),

    #[error(transparent)]
    Build(#[from] StepError),

    #[error(transparent)]
    Load(#[from] GetError),

    #[error(transparent)]
    Fan(#[from] FanError),

    #[error(transparent)]
    Start(#[from] StartError),

    #[error(transparent)]
    Sync(#[from] SyncError),

    #[error(transparent)]
    Sqlite(#[from] SqliteError),
}

/// How many clients read, how many requests each has on its way, and what one may cost of what it
/// costs Redis.
const READERS: usize = 100;
const MUST_COST: [(usize, f64); 2] = [(1, 1.0), (16, 1.2)];

/// Of Redis with `appendfsync always`: speed at least, and the slowest hundredth at most.
const MUST_WRITE: f64 = 1.0;
const MUST_WAIT: f64 = 1.1;

/// Of SQLite, with the most writers.
const MUST_EXCEED_SQLITE: f64 = 2.0;

/// Measures and prints, a cell at a time.
pub(crate) fn state(arguments: &State) -> Result<(), StateError> {
    announce("building the state server");
    step::run(&mut cargo(["build", "--release", "--package", "state-daemon"]))?;
    redis::ensure()?;
    // A server lets in half as many as it may have files open.
    let clients = arguments.subscribers.iter().chain(&arguments.writers).copied();
    let most = clients.max().unwrap_or(0).max(READERS as u64);
    let needed = 2 * most + SPARE;
    allow_open_files(needed).map_err(|source| GetError::OpenFiles { needed, source })?;
    machine::announce_machine();
    announce(&format!("the median of {} rounds of {} s each", arguments.rounds, arguments.seconds));
    for part in &arguments.parts {
        match part {
            Part::Get => get(arguments)?,
            Part::Update => update(arguments)?,
            Part::Fan => fan(arguments)?,
            Part::Start => start::start(&ours(), arguments.load(Question::Get, READERS, 1))?,
        }
        machine::say_load();
    }
    Ok(())
}

fn ours() -> Contender {
    Contender::State(release("state"))
}

impl State {
    fn cells(&self) -> impl Iterator<Item = Cell> {
        self.subscribers.iter().flat_map(|&count| {
            let cell = move |&burst: &u64| Cell { count: count as usize, burst: burst as usize };
            self.bursts.iter().map(cell)
        })
    }

    fn load(&self, question: Question, connections: usize, pipeline: usize) -> Load {
        let duration = Duration::from_secs_f64(self.seconds);
        Load { question, connections, pipeline, duration }
    }
}

fn get(arguments: &State) -> Result<(), StateError> {
    announce("`get` of a small value, beside Redis GET");
    say(report::HEADER);
    let servers = start_servers(&[ours(), Contender::Redis], false)?;
    for (pipeline, must) in MUST_COST {
        let load = arguments.load(Question::Get, READERS, pipeline);
        let measured = measure(&servers, load, arguments.rounds)?;
        print_rows(load, &measured);
        let cost = report::cost_ratio(&measured[0], &measured[1]);
        verdict("of Redis's processor time", cost, cost <= must, &format!("at most {must}"));
    }
    Ok(())
}

fn update(arguments: &State) -> Result<(), StateError> {
    announce("durable `update` of a small value, beside Redis SET with appendfsync always");
    say(report::HEADER);
    let servers = start_servers(&[ours(), Contender::DurableRedis], false)?;
    let mut fastest = 0.0;
    for &writers in &arguments.writers {
        let load = arguments.load(Question::Set, writers as usize, 1);
        let measured = measure(&servers, load, arguments.rounds)?;
        print_rows(load, &measured);
        let speed = ratio(&measured, |it| it.requests_per_second);
        verdict("of Redis's speed", speed, speed >= MUST_WRITE, "at least 1");
        let p99 = ratio(&measured, |it| it.p99.as_secs_f64());
        verdict("of Redis's p99", p99, p99 <= MUST_WAIT, "at most 1.1");
        fastest = median(measured[0].iter().map(|it| it.requests_per_second).collect());
    }
    let most = arguments.writers.iter().copied().max().unwrap_or(1);
    sync::count(&servers[0], arguments.load(Question::Set, most as usize, 1))?;
    drop(servers);
    let sqlite = sqlite::commits_per_second(arguments.rounds, arguments.seconds)?;
    say(&format!("SQLite (WAL, synchronous FULL): {sqlite:.0} commits/s by one writer"));
    let times = fastest / sqlite;
    verdict("times SQLite's speed", times, times >= MUST_EXCEED_SQLITE, "at least 2");
    Ok(())
}

fn fan(arguments: &State) -> Result<(), StateError> {
    nats::ensure()?;
    announce("a message of 200 bytes to many, beside Redis and NATS publish/subscribe");
    let duration = Duration::from_secs_f64(arguments.seconds);
    Ok(fan::fan(&ours(), arguments.cells(), arguments.rounds, duration)?)
}

fn print_rows(load: Load, measured: &[Vec<Measured>]) {
    for (name, rounds) in ["State", "Redis"].iter().zip(measured) {
        let row = report::row(name, rounds, &measured[1]);
        say(&format!("{:>5}  {:>8}  {row}", load.connections, load.pipeline));
    }
}

/// The median over rounds of ours over the rival's beside it.
fn ratio(measured: &[Vec<Measured>], figure: fn(&Measured) -> f64) -> f64 {
    let [ours, rival] = measured else { return f64::NAN };
    median(ours.iter().zip(rival).map(|(ours, rival)| figure(ours) / figure(rival)).collect())
}

pub(crate) fn verdict(what: &str, found: f64, is_met: bool, must: &str) {
    let word = if is_met { "met" } else { "MISSED" };
    say(&format!("       {word}: {found:.2} {what}, {must}"));
}
