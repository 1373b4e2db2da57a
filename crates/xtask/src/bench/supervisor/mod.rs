//! Who is measured: ours, the floor, the rivals; and what each can be asked to do.

mod dae;
mod floor;
mod pm2;
mod scan;
mod supervisord;

use std::{
    io,
    path::{Path, PathBuf},
    process::{Child, Command},
};

pub(crate) use self::{dae::Dae, floor::spawner};
use super::{error::MeasureError, rivals::Rivals, witness::Word};
use crate::step::{self, say};

/// A contender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Dae,
    /// A few lines that spawn, wait and spawn again.
    Floor,
    Daemontools,
    Runit,
    S6,
    Supervisord,
    Pm2,
}

impl Kind {
    /// In the order in which they are shown.
    pub(crate) const ALL: [Self; 7] = [
        Self::Dae,
        Self::Floor,
        Self::Daemontools,
        Self::Runit,
        Self::S6,
        Self::Supervisord,
        Self::Pm2,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Dae => "dae",
            Self::Floor => "floor",
            Self::Daemontools => "daemontools",
            Self::Runit => "runit",
            Self::S6 => "s6",
            Self::Supervisord => "supervisord",
            Self::Pm2 => "pm2",
        }
    }

    /// Those that are here.
    pub(crate) fn found(rivals: &Rivals) -> Vec<Self> {
        Self::ALL.into_iter().filter(|it| !it.is_rival() || rivals.has(it.name())).collect()
    }

    /// Nothing if a rival failed: it is left out, which is said. Without ours or the floor there is
    /// nothing to say.
    pub(crate) fn unless_rival<T>(
        self,
        result: Result<T, MeasureError>,
    ) -> Result<Option<T>, MeasureError> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error) if self.is_rival() => {
                say(&format!("  {} left out: {}", self.name(), crate::chain(&error)));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn is_rival(self) -> bool {
        !matches!(self, Self::Dae | Self::Floor)
    }

    /// One that lives in `folder` and runs nothing yet.
    pub(crate) fn open(self, rivals: &Rivals, folder: PathBuf) -> Box<dyn Supervisor> {
        let root = rivals.root(self.name());
        match self {
            Self::Dae => Box::new(Dae::new(folder)),
            Self::Floor => Box::new(floor::Floor::new(folder)),
            Self::Daemontools => Box::new(scan::Scan::daemontools(&root, folder)),
            Self::Runit => Box::new(scan::Scan::runit(&root, folder)),
            Self::S6 => Box::new(scan::Scan::s6(folder)),
            Self::Supervisord => Box::new(supervisord::Supervisord::new(root, folder)),
            Self::Pm2 => Box::new(pm2::Pm2::new(&root, folder)),
        }
    }
}

/// What is to run.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    pub(crate) name: String,
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<String>,
    /// Whether what it prints is wanted.
    pub(crate) is_logged: bool,
}

impl Service {
    fn line(&self) -> String {
        format!("{} {}", self.program.display(), self.arguments.join(" "))
    }
}

/// What all of them can do.
pub(crate) trait Supervisor {
    /// Writes down what is to run. Nothing runs behind it.
    fn prepare(&mut self, services: &[Service]) -> Result<(), MeasureError>;

    /// Starts the supervisor, and by that all services.
    fn launch(&mut self) -> Result<(), MeasureError>;

    /// What shows the state of all; nothing if there is no such command.
    fn list(&self) -> Option<Command>;

    /// Ends one service as its user would.
    fn stop(&self, service: &Word) -> Result<(), MeasureError>;

    /// Ends all services.
    fn stop_all(&self, services: &[&Word]) -> Result<(), MeasureError>;

    /// Where the output of a service is: a file, or a folder of files whose names are in order.
    fn log(&self, name: &str) -> PathBuf;
}

/// A supervisor that stays in the foreground. What it leaves behind belongs to the folder, and ends
/// with that.
struct Process(Child);

impl Process {
    fn spawn(command: &mut Command) -> Result<Self, MeasureError> {
        let act = || format!("run `{}`", step::typed(command));
        let spawned = act();
        command.spawn().map(Self).map_err(|source| MeasureError::Io { act: spawned, source })
    }
}

impl Drop for Process {
    /// A child that has not been waited for keeps its pid, so this can hit no other process.
    fn drop(&mut self) {
        let _gone_already = self.0.kill();
        let _status = self.0.wait();
    }
}

/// Runs a command whose exit code says nothing of use, such as one that waits less long than
/// others.
fn run_leniently(command: &mut Command) -> Result<(), MeasureError> {
    match step::run(command) {
        Ok(()) | Err(step::StepError::Failed { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn write(path: &Path, text: &str) -> Result<(), MeasureError> {
    std::fs::write(path, text).map_err(MeasureError::io("write", path))
}

fn make(folder: &Path) -> Result<(), MeasureError> {
    std::fs::create_dir_all(folder).map_err(MeasureError::io("make", folder))
}

fn refused(who: &'static str, request: &str, answer: impl ToString) -> MeasureError {
    MeasureError::Refused { who, request: request.to_owned(), answer: answer.to_string() }
}

fn failed(act: &str) -> impl FnOnce(io::Error) -> MeasureError {
    let act = act.to_owned();
    |source| MeasureError::Io { act, source }
}
