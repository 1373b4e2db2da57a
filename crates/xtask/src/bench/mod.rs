//! `cargo xtask bench`: measurements, each a question that somebody asked.

pub(crate) mod clock;
mod crash;
mod error;
mod floor;
pub(crate) mod get;
pub(crate) mod histogram;
mod idle;
mod journal;
mod load;
mod log;
pub(crate) mod machine;
mod memory;
mod nats;
mod passing;
pub(crate) mod protocol;
mod redis;
pub(crate) mod relay;
mod report;
mod rivals;
mod scratch;
pub(crate) mod server;
mod stage;
pub(crate) mod state;
mod supervisor;
mod supervisors;
mod table;
mod thousand;
mod websocket;
mod witness;

use std::{env, error::Error, path::PathBuf};

use clap::Subcommand;

use self::supervisors::Question;
use crate::{
    step::{self, StepError, announce},
    workspace::{cargo, root},
};

#[derive(Subcommand)]
pub(crate) enum Bench {
    /// Sample `get` beside Redis `GET`: speed, processor time and memory
    Get(get::Get),
    /// The journal beside a file that is synced by hand: durable records a second, group sizes
    Journal(journal::Journal),
    /// The state server beside Redis, SQLite and NATS
    State(state::State),
    /// The relay beside one on Node's `ws` and beside NATS
    Relay(relay::Relay),
    /// Our WebSocket beside Node's `ws`: processor time and memory
    Websocket(websocket::Websocket),
    #[command(flatten)]
    Supervisors(Question),
    /// Answers every line with the same value until it is killed; what `get --floor` runs
    #[command(hide = true)]
    Floor {
        #[arg(long)]
        port: u16,
    },
    /// Passes on what it is sent, until it is killed; the floor under those who tell many
    #[command(hide = true)]
    Passing {
        #[arg(long)]
        port: u16,
    },
    /// Spawns, waits and spawns again; the floor under supervisors
    #[command(hide = true)]
    Spawner { services: PathBuf },
    /// Ends what belongs to a folder once its input ends
    #[command(hide = true)]
    Guard { folder: PathBuf },
}

pub(crate) fn run(bench: Bench) -> Result<(), Box<dyn Error>> {
    match bench {
        Bench::Get(_)
        | Bench::State(_)
        | Bench::Relay(_)
        | Bench::Websocket(_)
        | Bench::Supervisors(_)
            if cfg!(debug_assertions) =>
        {
            run_optimised()?;
        }
        Bench::Relay(arguments) => relay::relay(&arguments)?,
        Bench::Websocket(arguments) => websocket::websocket(&arguments)?,
        Bench::State(arguments) => state::state(&arguments)?,
        Bench::Get(arguments) => get::get(&arguments)?,
        Bench::Journal(arguments) => journal::journal(&arguments)?,
        Bench::Supervisors(question) => supervisors::measure(question)?,
        Bench::Floor { port } => floor::serve(port)?,
        Bench::Passing { port } => passing::serve(port)?,
        Bench::Spawner { services } => supervisor::spawner(&services)?,
        Bench::Guard { folder } => scratch::guard(&folder)?,
    }
    Ok(())
}

/// Starts over as a release build: `cargo xtask` is a debug build, whose load generator would be
/// what is measured.
fn run_optimised() -> Result<(), StepError> {
    announce("building the load generator");
    step::run(&mut cargo(["build", "--quiet", "--release", "--package", "xtask", "--bins"]))?;
    let mut again = cargo(["run", "--quiet", "--release", "--package", "xtask", "--manifest-path"]);
    again.arg(root().join("Cargo.toml")).arg("--").args(env::args_os().skip(1));
    // Not in the root: paths on the command line are relative to where it was typed.
    step::run(again.current_dir("."))
}
