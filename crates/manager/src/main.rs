//! `dae`: parses, builds, runs, and turns an error into a line and an exit code.

mod cli;
mod commands;
mod error;
mod output;

use std::{io, process::ExitCode};

use manager::keeper;

use self::{
    cli::Cli,
    commands::{Console, answer_shell, explain},
    error::{Complaint, Done, Error, Exit},
};

fn main() -> ExitCode {
    if let Some(exit) = hidden() {
        return exit;
    }
    // A shell that completes asks by the environment; its question is no command line.
    if let Some(exit) = answer_shell() {
        return exit.into();
    }
    match Cli::read() {
        Ok(cli) => run(cli).into(),
        Err(error) => explain(&error).into(),
    }
}

/// The parts of `dae` that are processes of their own, before anything else has begun.
fn hidden() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    let first = arguments.next().unwrap_or_default();
    if first == keeper::archive::SUBCOMMAND {
        return Some(keeper::archive::main(arguments));
    }
    if first == keeper::SUBCOMMAND {
        let ended = keeper::main(arguments).map(|()| Exit::Done);
        let ended = ended.map_err(|error| Complaint::of("failed", &error).into());
        return Some(exit(ended, false).into());
    }
    None
}

fn run(cli: Cli) -> Exit {
    let is_json = cli.global.json;
    exit(start(cli), is_json)
}

fn start(cli: Cli) -> Done {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error: io::Error| Complaint::of("failed", &error))?;
    runtime.block_on(commands::run(cli.command, &mut Console::new(&cli.global)))
}

fn exit(ended: Done, is_json: bool) -> Exit {
    match ended {
        Ok(exit) => exit,
        Err(Error::Closed) => Exit::Done,
        Err(Error::Failed(complaint)) => {
            complaint.print(is_json);
            complaint.exit
        }
    }
}
