//! `cargo xtask`: builds, starts, tests and measures everything in this workspace.
//!
//! ```console
//! $ cargo xtask up           # a manager in the background, with Sample in it
//! $ cargo xtask test         # everything that must hold, as continuous integration runs it
//! $ cargo xtask bench get    # Sample beside Redis
//! $ cargo xtask bench state  # the state server beside Redis, SQLite and NATS
//! $ cargo xtask bench relay  # the relay beside one on Node's `ws` and beside NATS
//! $ cargo xtask bench websocket # an echo beside Node's `ws`
//! $ cargo xtask bench all    # the manager beside other supervisors
//! $ cargo xtask fuzz 60      # every fuzz target, a minute each
//! $ cargo xtask soak hostile # every port under attack
//! $ cargo xtask soak logins  # a thousand wrong passwords a second
//! $ cargo xtask soak power   # the power fails while State writes
//! $ cargo xtask soak relay  # 10 000 peers come and go, and one never reads
//! $ cargo xtask soak commands # every command of State, right and wrong
//! $ cargo xtask soak subscribers # 10 000 mirrors of one tree
//! $ cargo xtask soak churn   # an hour of crashes; nothing may grow
//! ```

mod bench;
mod fuzz;
mod soak;
mod step;
mod test;
mod tools;
mod up;
mod workspace;

use std::{error::Error, process::ExitCode};

use clap::{Parser, Subcommand};

/// Builds, starts, tests and measures everything
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Builds, starts the manager with Sample, State and Relay in it; safe to run twice
    Up,
    /// Installs what the tests need, then checks format, lints, licences, tests and docs
    Test,
    /// Measures speed and memory
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Long runs, under attack or load, that look for what grows and for what is seldom
    #[command(subcommand)]
    Soak(soak::Soak),
    /// Runs every fuzz target under crates/*/fuzz and daemons/*/fuzz
    Fuzz {
        /// How long each target runs
        #[arg(default_value_t = 60)]
        seconds: u64,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {}", chain(&*error));
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<(), Box<dyn Error>> {
    match task {
        Task::Up => up::up()?,
        Task::Test => test::test()?,
        Task::Bench(bench) => bench::run(bench)?,
        Task::Soak(soak) => soak::run(soak)?,
        Task::Fuzz { seconds } => fuzz::fuzz(seconds)?,
    }
    Ok(())
}

/// The error and all its causes on one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}
