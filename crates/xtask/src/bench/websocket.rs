//! `bench websocket`: an echo with `crates/websocket` beside one with Node's `ws`, interleaved.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use clap::{Args, value_parser};

use super::{
    get::{GetError, SPARE, allow_open_files, failed, measure, start},
    idle,
    load::Load,
    protocol::Question,
    report,
    server::{Contender, Server},
};
use crate::{
    step::{self, StepError, announce, say},
    tools::{self, Tool},
    workspace::{cargo, target},
};

/// How many connections send.
const CONNECTIONS: usize = 100;

/// How many messages a connection sends before it waits, and what each may cost of what it costs
/// the rival.
const MUST_COST: [(usize, f64); 2] = [(1, 0.7), (16, 0.15)];

/// How many bytes a silent connection may cost.
const MUST_HOLD: f64 = 6_000.0;

const NODE: [Tool; 2] =
    [Tool { program: "node", package: "nodejs" }, Tool { program: "npm", package: "npm" }];

/// A fixed version: figures are compared over months.
const WS: &str = "ws@8.18.3";

/// As its own documentation has it, without compression, which ours has not either.
const ECHO: &str = "
    const { WebSocketServer } = require('ws');
    const server = new WebSocketServer({
        host: '127.0.0.1', port: Number(process.argv[2]), perMessageDeflate: false, backlog: 1024,
    });
    server.on('connection', (socket) => {
        socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary }));
    });";

#[derive(Args)]
pub(crate) struct Websocket {
    /// How often each cell is measured; the median is shown
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = value_parser!(u64).range(1..))]
    rounds: u64,

    /// How long each measurement takes
    #[arg(long, default_value_t = 2.0, value_name = "SECONDS")]
    seconds: f64,

    /// How many silent connections are held to see their memory
    #[arg(long, default_value_t = 3_000, value_name = "N",
          value_parser = value_parser!(u64).range(1..=9_000))]
    idle: u64,
}

/// Measures and prints the table, a cell at a time.
pub(crate) fn websocket(arguments: &Websocket) -> Result<(), GetError> {
    let contenders = [Contender::Echo(built()?), Contender::Ws(installed()?)];
    // A server lets in half as many as it may have files open.
    allow_open_files(2 * arguments.idle + SPARE)
        .map_err(|source| GetError::OpenFiles { needed: 2 * arguments.idle + SPARE, source })?;
    announce(&format!("the median of {} rounds of {} s each", arguments.rounds, arguments.seconds));
    let servers = start(&contenders, false)?;
    say(report::HEADER);
    for (pipeline, must) in MUST_COST {
        let duration = Duration::from_secs_f64(arguments.seconds);
        print_cell(
            &servers,
            Load { question: Question::Get, connections: CONNECTIONS, pipeline, duration },
            arguments.rounds,
            must,
        )?;
    }
    // Memory is measured on fresh servers: buffers left over from the load would hide growth.
    drop(servers);
    announce(&format!("memory of {} silent connections", arguments.idle));
    start(&contenders, false)?.iter().try_for_each(|it| print_memory(it, arguments.idle as usize))
}

/// The program and the arguments of the rival.
pub(crate) fn node(folder: &Path, port: u16) -> (PathBuf, Vec<String>) {
    script(ECHO, "echo", folder, port)
}

/// A script for Node that uses `ws`, which lies in `folder`.
pub(crate) fn script(script: &str, name: &str, folder: &Path, port: u16) -> (PathBuf, Vec<String>) {
    let module = folder.join("node_modules/ws").display().to_string();
    let script = script.replace("'ws'", &format!("{module:?}"));
    ("node".into(), vec!["-e".into(), script, "--".into(), name.into(), port.to_string()])
}

fn built() -> Result<PathBuf, StepError> {
    announce("building the echo");
    step::run(&mut cargo(["build", "--release", "--package", "websocket", "--example", "echo"]))?;
    Ok(target().join("release/examples/echo"))
}

/// The folder of Node's `ws`, fetched where it is missing.
pub(super) fn installed() -> Result<PathBuf, GetError> {
    tools::ensure(&NODE)?;
    let folder = target().join("bench/rivals/ws");
    if !folder.join("node_modules/ws/package.json").exists() {
        announce(&format!("fetching {WS}"));
        fs::create_dir_all(&folder)
            .map_err(|source| StepError::Start { command: "npm".to_owned(), source })?;
        let mut npm = Command::new("npm");
        npm.args(["install", "--no-audit", "--no-fund", "--silent", "--prefix"]);
        step::run(npm.arg(&folder).arg(WS).stdout(Stdio::null()))?;
    }
    Ok(folder)
}

fn print_cell(servers: &[Server], load: Load, rounds: u64, must: f64) -> Result<(), GetError> {
    let measured = measure(servers, load, rounds)?;
    let [ours, theirs] = &measured[..] else { return Ok(()) };
    for (server, rounds) in servers.iter().zip(&measured) {
        let row = report::row(server.contender.name(), rounds, theirs);
        say(&format!("{:>5}  {:>8}  {row}", load.connections, load.pipeline));
    }
    say(&verdict(report::cost_ratio(ours, theirs), must, "of the rival's processor time"));
    Ok(())
}

fn print_memory(server: &Server, count: usize) -> Result<(), GetError> {
    let growth = idle::hold(server, count).map_err(failed(server, count))?;
    let (name, silence) = (server.contender.name(), idle::SILENCE);
    let (at_once, after) = (growth.at_once, growth.after_silence);
    say(&format!(
        "{name:<7}  {at_once:>6.0} bytes each, {after:>6.0} after {silence:?} of silence"
    ));
    if matches!(server.contender, Contender::Echo(_)) {
        say(&verdict(at_once, MUST_HOLD, "bytes"));
    }
    Ok(())
}

fn verdict(found: f64, must: f64, unit: &str) -> String {
    let word = if found <= must { "met" } else { "MISSED" };
    format!("       {word}: {found:.2} {unit}, at most {must}")
}
