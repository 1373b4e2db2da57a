//! Ours beside other supervisors: builds ours, fetches theirs, measures all in one run, prints a
//! table.

use clap::Subcommand;

use super::{
    crash::crash,
    error::MeasureError,
    get,
    log::log,
    machine,
    memory::memory,
    rivals::Rivals,
    scratch::Scratch,
    supervisor::Kind,
    table::{self, Figure},
    thousand::{Wanted, thousand},
};
use crate::{
    step::{self, announce},
    workspace::cargo,
};

/// Descriptors that a supervisor of a thousand may need.
const OPEN_FILES: u64 = 16_384;

/// What is asked of dae, the floor, daemontools, runit, s6, supervisord and pm2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum Question {
    /// Supervisors: all that follows, in one table
    All,
    /// Supervisors: `kill -9` of a child to its replacement's first instruction
    Crash,
    /// Supervisors: 1000 services to the first instruction of the last; 1000 Samples ready
    Start,
    /// Supervisors: the whole command that lists 1000 services
    List,
    /// Supervisors: stop of one service among 1000, and of all
    Stop,
    /// Supervisors: memory with no and with 1000 services, and idle processor time
    Memory,
    /// Supervisors: how fast what a service prints is in its log, all of it
    Log,
}

struct Measurement {
    kinds: Vec<Kind>,
    rivals: Rivals,
    scratch: Scratch,
}

/// Measures and prints the table.
pub(crate) fn measure(question: Question) -> Result<(), MeasureError> {
    announce("building release binaries");
    // Not all of the workspace: with other features we would be replaced while we run.
    step::run(&mut cargo([
        "build",
        "--release",
        "--bins",
        "--package=manager",
        "--package=sample",
    ]))?;
    get::allow_open_files(OPEN_FILES).map_err(|errno| MeasureError::Io {
        act: "open many files".into(),
        source: errno.into(),
    })?;
    let rivals = Rivals::ensure();
    machine::announce_machine();
    rivals.say();
    let kinds = Kind::found(&rivals);
    let measurement = Measurement { kinds, rivals, scratch: Scratch::new()? };
    let figures = measurement.answer(question)?;
    announce("medians; `× floor` is the median of the rounds' ratios");
    table::print(&figures);
    machine::say_load();
    Ok(())
}

impl Measurement {
    fn answer(&self, question: Question) -> Result<Vec<Figure>, MeasureError> {
        let Self { kinds, rivals, scratch } = self;
        match question {
            Question::All => self.all(),
            Question::Crash => crash(kinds, rivals, scratch),
            Question::Start => self.thousand(Wanted { start: true, ..Wanted::default() }),
            Question::List => self.thousand(Wanted { list: true, ..Wanted::default() }),
            Question::Stop => self.thousand(Wanted { stop: true, ..Wanted::default() }),
            Question::Memory => memory(kinds, rivals, scratch),
            Question::Log => log(kinds, rivals, scratch),
        }
    }

    fn all(&self) -> Result<Vec<Figure>, MeasureError> {
        let Self { kinds, rivals, scratch } = self;
        announce("crash");
        let mut figures = crash(kinds, rivals, scratch)?;
        announce("start, list, stop");
        figures.extend(self.thousand(Wanted { start: true, list: true, stop: true })?);
        announce("memory");
        figures.extend(memory(kinds, rivals, scratch)?);
        announce("log");
        figures.extend(log(kinds, rivals, scratch)?);
        Ok(figures)
    }

    fn thousand(&self, wanted: Wanted) -> Result<Vec<Figure>, MeasureError> {
        thousand(&self.kinds, wanted, &self.rivals, &self.scratch)
    }
}
