//! The manager in this process.

use std::{
    io::{self, IsTerminal},
    sync::Mutex,
};

use manager::{
    cgroup,
    paths::Paths,
    run::{self, RunError},
};
use nix::unistd::setsid;
use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

use super::own_log::{self, OwnLog};
use crate::{
    cli::Up,
    commands::{Console, no_place},
    error::{Complaint, Done, Exit},
};

pub(super) async fn run(args: &Up, paths: Paths, console: &Console) -> Done {
    if args.background {
        leave()?;
    }
    if args.background {
        log(Mutex::new(OwnLog::new(own_log::dir(&paths.logs()))));
    } else {
        log(io::stderr);
    }
    let announce = args.background || console.out.is_json;
    let options = run::Options { port: args.port, no_start: args.no_start, announce };
    let ended = run::run(&paths, options).await;
    ended.map_err(|error| failed(&error))?;
    Ok(Exit::Done)
}

fn failed(error: &RunError) -> Complaint {
    let complaint = match error {
        RunError::Paths(error) => no_place(error),
        RunError::Registry(error) => {
            error.hint().into_iter().fold(Complaint::of("storage", error), Complaint::hint)
        }
        // The last port is only a wish, so this one was asked for.
        RunError::Bind(_) => Complaint::of("failed", error)
            .hint("give another `--port`, or none for one that is free"),
        _ => Complaint::of("failed", error),
    };
    complaint.when("run the manager")
}

/// Leaves the terminal, so that neither its ^C nor its end reaches the manager, and the daemon that
/// it was started by, if any.
fn leave() -> Result<(), Complaint> {
    cgroup::leave();
    setsid().map(drop).map_err(|error| Complaint::of("failed", &error).when("leave the terminal"))
}

/// Logs to stderr: from `info` on, or as `DAE_LOG` says.
fn log(writer: impl for<'a> MakeWriter<'a> + Send + Sync + 'static) {
    let filter = EnvFilter::try_from_env("DAE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        // It would say that a line cannot be written where no line can be written, and panic over
        // that.
        .log_internal_errors(false)
        .with_env_filter(filter)
        .with_writer(writer)
        .with_ansi(io::stderr().is_terminal())
        .init();
}
