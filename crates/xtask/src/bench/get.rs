//! `bench get`: the same small question to all contenders, in one interleaved run.

use std::{path::PathBuf, time::Duration};

use clap::{Args, value_parser};
use rustix::{
    io::Errno,
    process::{Resource, Rlimit, getrlimit, setrlimit},
};

use super::{
    idle,
    load::{Load, LoadError, Measured, drive},
    machine,
    protocol::Question,
    redis, report,
    server::{Contender, Server, ServerError},
};
use crate::{
    step::{self, StepError, announce, say},
    tools::ToolError,
    workspace::{cargo, release},
};

/// Descriptors beside those of connections.
pub(crate) const SPARE: u64 = 256;

#[derive(Args)]
pub(crate) struct Get {
    /// How many connections ask at the same time
    #[arg(long, value_delimiter = ',', default_value = "1,10,100,1000", value_name = "N,…",
          value_parser = value_parser!(u64).range(1..=15_000))]
    connections: Vec<u64>,

    /// How many requests a connection sends before it waits
    #[arg(long, value_delimiter = ',', default_value = "1,16", value_name = "N,…",
          value_parser = value_parser!(u64).range(1..=1024))]
    pipeline: Vec<u64>,

    /// How often each cell is measured; the median is shown
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = value_parser!(u64).range(1..))]
    rounds: u64,

    /// How long each measurement takes
    #[arg(long, default_value_t = 2.0, value_name = "SECONDS")]
    seconds: f64,

    /// How many silent connections are held to see their memory; 0 for none
    #[arg(long, default_value_t = 10_000, value_name = "N",
          value_parser = value_parser!(u64).range(..=15_000))]
    idle: u64,

    /// The sample to measure, instead of the one built from here
    #[arg(long, value_name = "PATH")]
    sample: Option<PathBuf>,

    /// Measure a bare epoll server too, which no server can be below
    #[arg(long)]
    floor: bool,

    /// Keep the load on processor 0 and the servers on processor 1
    #[arg(long)]
    pin: bool,
}

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GetError {
    #[error(transparent)]
    Tool(#[from] ToolError),

    #[error("cannot build what is measured")]
    Build(#[from] StepError),

    #[error("{needed} open files are needed and not allowed")]
    OpenFiles { needed: u64, source: Errno },

    #[error("cannot pin to processor {processor}")]
    Pin { processor: usize, source: Errno },

    #[error(transparent)]
    Server(#[from] ServerError),

    #[error("{server} with {connections} connections")]
    Load { server: &'static str, connections: usize, source: LoadError },
}

/// Measures and prints the table, a cell at a time.
pub(crate) fn get(arguments: &Get) -> Result<(), GetError> {
    redis::ensure()?;
    let contenders = contenders(arguments)?;
    let most = arguments.connections.iter().copied().chain([arguments.idle]).max();
    let needed = most.unwrap_or(0) + SPARE;
    allow_open_files(needed).map_err(|source| GetError::OpenFiles { needed, source })?;

    announce(&format!("the median of {} rounds of {} s each", arguments.rounds, arguments.seconds));
    let servers = start(&contenders, arguments.pin)?;
    say(report::HEADER);
    for load in loads(arguments) {
        print_cell(&servers, load, arguments.rounds)?;
    }
    // Memory is measured on fresh servers: buffers left over from the load would hide growth.
    drop(servers);
    if arguments.idle > 0 {
        announce(&format!("memory of {} silent connections", arguments.idle));
        print_memory(&start(&contenders, arguments.pin)?, arguments.idle as usize)?;
    }
    Ok(())
}

fn contenders(arguments: &Get) -> Result<Vec<Contender>, GetError> {
    let sample = match &arguments.sample {
        Some(path) => path.clone(),
        None => {
            announce("building the sample");
            step::run(&mut cargo(["build", "--release", "--package", "sample"]))?;
            release("sample")
        }
    };
    let floor = arguments.floor.then_some(Contender::Floor);
    Ok([Contender::Sample(sample), Contender::Redis].into_iter().chain(floor).collect())
}

fn loads(arguments: &Get) -> impl Iterator<Item = Load> {
    let duration = Duration::from_secs_f64(arguments.seconds);
    arguments.connections.iter().flat_map(move |&connections| {
        arguments.pipeline.iter().map(move |&pipeline| Load {
            question: Question::Get,
            connections: connections as usize,
            pipeline: pipeline as usize,
            duration,
        })
    })
}

pub(crate) fn start(contenders: &[Contender], is_pinned: bool) -> Result<Vec<Server>, GetError> {
    if is_pinned {
        pin(1)?;
    }
    let servers = contenders.iter().map(Server::start).collect::<Result<_, _>>()?;
    if is_pinned {
        pin(0)?;
    }
    Ok(servers)
}

fn print_cell(servers: &[Server], load: Load, rounds: u64) -> Result<(), GetError> {
    let measured = measure(servers, load, rounds)?;
    let redis = servers.iter().position(|it| matches!(it.contender, Contender::Redis));
    let rival = redis.map_or(&[][..], |redis| &measured[redis]);
    for (server, rounds) in servers.iter().zip(&measured) {
        let row = report::row(server.contender.name(), rounds, rival);
        say(&format!("{:>5}  {:>8}  {row}", load.connections, load.pipeline));
    }
    Ok(())
}

/// All rounds of each server. Every other round goes backwards (A B, B A, A B …), so that none
/// gains from its place when the machine gets slower or faster.
pub(crate) fn measure(
    servers: &[Server],
    load: Load,
    rounds: u64,
) -> Result<Vec<Vec<Measured>>, GetError> {
    let mut measured = vec![Vec::new(); servers.len()];
    for round in 0..rounds {
        for place in 0..servers.len() {
            let turn = if round % 2 == 0 { place } else { servers.len() - 1 - place };
            let server = &servers[turn];
            measured[turn].push(drive(server, load).map_err(failed(server, load.connections))?);
        }
    }
    Ok(measured)
}

fn print_memory(servers: &[Server], count: usize) -> Result<(), GetError> {
    for server in servers {
        let growth = idle::hold(server, count).map_err(failed(server, count))?;
        say(&format!(
            "{:<7}  {:>6.0} bytes each, {:>6.0} after {:?} of silence",
            server.contender.name(),
            growth.at_once,
            growth.after_silence,
            idle::SILENCE
        ));
    }
    Ok(())
}

pub(crate) fn failed(server: &Server, connections: usize) -> impl Fn(LoadError) -> GetError {
    move |source| GetError::Load { server: server.contender.name(), connections, source }
}

/// Raises our limit, which what we start inherits.
pub(crate) fn allow_open_files(needed: u64) -> Result<(), Errno> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let enough = maximum.map(|maximum| maximum.max(needed));
    setrlimit(Resource::Nofile, Rlimit { current: enough.or(Some(needed)), maximum: enough })
}

fn pin(processor: usize) -> Result<(), GetError> {
    machine::stay_on(processor).map_err(|source| GetError::Pin { processor, source })
}
