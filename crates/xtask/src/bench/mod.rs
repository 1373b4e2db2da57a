//! `cargo xtask bench`: measurements, each a question that somebody asked.

pub(crate) mod clock;
mod floor;
mod get;
mod histogram;
mod idle;
mod load;
mod protocol;
mod redis;
mod report;
mod server;

use std::{env, error::Error};

use clap::Subcommand;

use crate::{
    step::{self, StepError, announce},
    workspace::{cargo, root},
};

#[derive(Subcommand)]
pub(crate) enum Bench {
    /// Sample `get` beside Redis `GET`: speed, processor time and memory
    Get(get::Get),
    /// Answers every line with the same value until it is killed; what `get --floor` runs
    #[command(hide = true)]
    Floor {
        #[arg(long)]
        port: u16,
    },
}

pub(crate) fn run(bench: Bench) -> Result<(), Box<dyn Error>> {
    match bench {
        Bench::Get(_) if cfg!(debug_assertions) => run_optimised()?,
        Bench::Get(arguments) => get::get(&arguments)?,
        Bench::Floor { port } => floor::serve(port)?,
    }
    Ok(())
}

/// Starts over as a release build: `cargo xtask` is a debug build, whose load generator would be what is measured.
fn run_optimised() -> Result<(), StepError> {
    announce("building the load generator");
    let mut again = cargo(["run", "--quiet", "--release", "--package", "xtask", "--manifest-path"]);
    again.arg(root().join("Cargo.toml")).arg("--").args(env::args_os().skip(1));
    // Not in the root: paths on the command line are relative to where it was typed.
    step::run(again.current_dir("."))
}
