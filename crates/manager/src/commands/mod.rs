//! The commands, a file each, and what they share: the console they were typed at and the manager
//! they ask.

mod call;
mod completions;
mod daemon;
mod disable;
mod doctor;
mod down;
mod edit;
mod enable;
mod entry;
mod events;
mod install;
mod list;
mod logs;
mod manager;
mod many;
mod options;
mod process;
mod restart;
mod scan;
mod start;
mod status;
mod stop;
mod table;
mod uninstall;
mod up;
mod usage;
mod wait;

use std::{env, path::PathBuf, time::Duration};

use ::manager::paths::{Paths, PathsError};

pub(crate) use self::{
    completions::{answer_shell, names},
    usage::explain,
};
use crate::{
    cli::{Command, Global},
    error::{Complaint, Done, Error},
    output::Output,
};

/// Where a command was typed: which manager is meant, how long to wait, and where to print.
#[derive(Debug)]
pub(crate) struct Console {
    home: Option<PathBuf>,
    timeout: Option<Duration>,
    out: Output,
}

impl Console {
    /// The console that the common flags describe.
    pub(crate) fn new(flags: &Global) -> Self {
        let home = flags.home.clone().or_else(home_of_environment);
        Self { home, timeout: flags.timeout, out: Output::of_process(flags) }
    }

    /// The files of the manager that is meant.
    fn paths(&self) -> Result<Paths, Error> {
        Ok(Paths::find(self.home.as_deref()).map_err(|error| no_place(&error))?)
    }
}

/// Where `DAE_HOME` says that everything is.
fn home_of_environment() -> Option<PathBuf> {
    let home = env::var_os("DAE_HOME").filter(|it| !it.is_empty())?;
    Some(home.into())
}

/// There is no place for the manager's files.
fn no_place(error: &PathsError) -> Complaint {
    let hint = || "set DAE_HOME to a directory that you may write".to_owned();
    Complaint::of("storage", error).hint(error.hint().unwrap_or_else(hint))
}

/// Runs a command.
pub(crate) async fn run(command: Command, console: &mut Console) -> Done {
    match command {
        Command::Up(args) => up::run(args, console).await,
        Command::Down(args) => down::run(args, console).await,
        Command::Install(args) => install::run(args, console).await,
        Command::Uninstall(args) => uninstall::run(args, console).await,
        Command::Start(args) => start::run(args, console).await,
        Command::Stop(args) => stop::run(args, console).await,
        Command::Restart(args) => restart::run(args, console).await,
        Command::Enable(args) => enable::run(args, console).await,
        Command::Disable(args) => disable::run(args, console).await,
        Command::Edit(args) => edit::run(args, console).await,
        Command::List(args) => list::run(args, console).await,
        Command::Status(args) => status::run(args, console).await,
        Command::Logs(args) => logs::run(args, console).await,
        Command::Events(args) => events::run(args, console),
        Command::Call(args) => call::run(args, console).await,
        Command::Options(args) => options::run(args, console).await,
        Command::Wait(args) => wait::run(args, console).await,
        Command::Scan => scan::run(console).await,
        Command::Doctor => doctor::run(console).await,
        Command::Completions(args) => completions::run(args, console),
    }
}
