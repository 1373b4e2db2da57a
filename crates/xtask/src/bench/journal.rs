//! `bench journal`: how many records a second become durable, beside a file that is written and
//! synced by hand.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use clap::{Args, value_parser};

use super::{machine, report::median};
use crate::{
    step::{self, StepError, announce, say},
    tools::{self, Tool, ToolError},
    workspace::{cargo, target},
};

/// Counts the syncs, from outside.
const STRACE: Tool = Tool { program: "strace", package: "strace" };

const HEADER: &str = "\
writers  what       records/s  × floor  records/group  groups/s    p50 µs    p99 µs  CPU µs/record";

#[derive(Args)]
pub(crate) struct Journal {
    /// How many writers wait for their records at the same time
    #[arg(long, value_delimiter = ',', default_value = "1,10,100", value_name = "N,…",
          value_parser = value_parser!(u64).range(1..=10_000))]
    writers: Vec<u64>,

    /// How often each cell is measured; the median is shown
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = value_parser!(u64).range(1..))]
    rounds: u64,

    /// How long each measurement takes
    #[arg(long, default_value_t = 2.0, value_name = "SECONDS")]
    seconds: f64,

    /// On which file system, if not on that of the build
    #[arg(long, value_name = "PATH")]
    directory: Option<PathBuf>,
}

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JournalError {
    #[error(transparent)]
    Tool(#[from] ToolError),

    #[error(transparent)]
    Step(#[from] StepError),

    #[error("cannot use `{}`", path.display())]
    Directory { path: PathBuf, source: io::Error },

    #[error("cannot read `{line}` as figures")]
    Figures { line: String },

    #[error("{groups} groups were acknowledged with {syncs} syncs")]
    Unsynced { groups: u64, syncs: u64 },
}

/// Who writes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A file with room, one write and one sync for a record of each writer.
    Floor,
    /// The journal as it comes.
    Journal,
    /// The same with a commit delay.
    Gather,
}

const KINDS: [Kind; 3] = [Kind::Floor, Kind::Journal, Kind::Gather];

/// One run.
#[derive(Clone, Copy)]
struct Measured {
    records: f64,
    groups: f64,
    seconds: f64,
    processor: f64,
    p50: f64,
    p99: f64,
}

impl Journal {
    /// Where all runs have their folders.
    fn folder(&self) -> PathBuf {
        self.directory.clone().unwrap_or_else(target)
    }
}

/// Measures and prints the table, a row at a time; then counts the syncs.
pub(crate) fn journal(arguments: &Journal) -> Result<(), JournalError> {
    announce("building the load");
    let build = ["build", "--release", "--package", "journal", "--example", "load"];
    step::run(&mut cargo(build))?;
    machine::announce_machine();
    announce(&format!(
        "records of 200 bytes, the median of {} rounds of {} s each",
        arguments.rounds, arguments.seconds
    ));
    say(HEADER);
    for writers in &arguments.writers {
        let measured = measure(arguments, *writers)?;
        for (kind, rounds) in KINDS.iter().zip(&measured) {
            say(&row(*writers, *kind, rounds, &measured[0]));
        }
    }
    machine::say_load();
    for writers in &arguments.writers {
        count_syncs(arguments, *writers)?;
    }
    time_start(arguments)
}

/// All rounds of each, every other one backwards.
fn measure(arguments: &Journal, writers: u64) -> Result<Vec<Vec<Measured>>, JournalError> {
    let mut measured = vec![Vec::new(); KINDS.len()];
    for round in 0..arguments.rounds {
        for place in 0..KINDS.len() {
            let turn = if round % 2 == 0 { place } else { KINDS.len() - 1 - place };
            let mut load = load(KINDS[turn], writers, arguments);
            measured[turn].push(in_folder::<6>(&arguments.folder(), &mut load)?.into());
        }
    }
    Ok(measured)
}

fn load(kind: Kind, writers: u64, arguments: &Journal) -> Command {
    program([kind.name(), &writers.to_string(), &arguments.seconds.to_string()])
}

fn program(arguments: [&str; 3]) -> Command {
    let mut load = Command::new(target().join("release/examples/load"));
    load.args(arguments);
    load
}

/// Runs `load` on a new folder, which goes with it.
fn in_folder<const N: usize>(
    directory: &Path,
    load: &mut Command,
) -> Result<[f64; N], JournalError> {
    let folder = directory.join(format!("bench-journal-{}", std::process::id()));
    let output = step::output(load.arg(&folder));
    let failed = |source| JournalError::Directory { path: folder.clone(), source };
    fs::remove_dir_all(&folder).map_err(failed)?;
    let line = String::from_utf8_lossy(&output?).trim().to_owned();
    parse(&line).ok_or(JournalError::Figures { line })
}

fn parse<const N: usize>(line: &str) -> Option<[f64; N]> {
    let figures: Vec<f64> = line.split(' ').map(str::parse).collect::<Result<_, _>>().ok()?;
    figures.try_into().ok()
}

impl From<[f64; 6]> for Measured {
    fn from([records, groups, took, processor, p50, p99]: [f64; 6]) -> Self {
        Self { records, groups, seconds: took / 1e9, processor, p50, p99 }
    }
}

fn row(writers: u64, kind: Kind, rounds: &[Measured], floor: &[Measured]) -> String {
    let of = |figure: fn(&Measured) -> f64| median(rounds.iter().map(figure).collect());
    let speed = |it: &Measured| it.records / it.seconds;
    let ratios = rounds.iter().zip(floor).map(|(ours, floor)| speed(ours) / speed(floor));
    format!(
        "{writers:>7}  {:<9}  {:>9.0}  {:>7.2}  {:>13.1}  {:>8.0}  {:>8.0}  {:>8.0}  {:>13.2}",
        kind.name(),
        of(|it| it.records / it.seconds),
        median(ratios.collect()),
        of(|it| it.records / it.groups),
        of(|it| it.groups / it.seconds),
        of(|it| it.p50 / 1e3),
        of(|it| it.p99 / 1e3),
        of(|it| it.processor / it.records / 1e3),
    )
}

/// Every acknowledged group has a sync of its own, as seen by who watches the system calls.
fn count_syncs(arguments: &Journal, writers: u64) -> Result<(), JournalError> {
    tools::ensure(&[STRACE])?;
    let trace = arguments.folder().join(format!("bench-journal-{}.trace", std::process::id()));
    let load = load(Kind::Journal, writers, arguments);
    let mut strace = Command::new(STRACE.program);
    strace.args(["--follow-forks", "--seccomp-bpf", "--trace=fdatasync", "--output"]);
    strace.arg(&trace).arg(load.get_program()).args(load.get_args());
    let measured = in_folder::<6>(&arguments.folder(), &mut strace).map(Measured::from);
    let failed = |source| JournalError::Directory { path: trace.clone(), source };
    let text = fs::read_to_string(&trace).map_err(failed)?;
    fs::remove_file(&trace).map_err(failed)?;
    let syncs = text.lines().filter(|it| it.ends_with("= 0")).count() as u64;
    let groups = measured?.groups as u64;
    say(&format!("{writers} writers: {groups} groups were acknowledged, with {syncs} syncs"));
    if syncs < groups { Err(JournalError::Unsynced { groups, syncs }) } else { Ok(()) }
}

/// How long a daemon waits for its journal when it starts.
fn time_start(arguments: &Journal) -> Result<(), JournalError> {
    let mut start = program(["start", "1000000", "300"]);
    let [opened, replayed, read] = in_folder(&arguments.folder(), &mut start)?.map(|it| it / 1e6);
    say(&format!(
        "start: opened in {opened:.0} ms, a million records read in {replayed:.0} ms, a snapshot of 300 MB in {read:.0} ms"
    ));
    Ok(())
}

impl Kind {
    /// As the load calls it.
    fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::Journal => "journal",
            Self::Gather => "gather",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_figures_is_read() {
        let measured = Measured::from(parse("200 20 2000000000 4000 1000 3000").unwrap());
        let row = row(10, Kind::Journal, &[measured], &[measured]);
        let words: Vec<&str> = row.split_whitespace().collect();
        assert_eq!(words, ["10", "journal", "100", "1.00", "10.0", "10", "1", "3", "0.02"]);
        assert!(parse::<6>("1 2 3").is_none());
    }
}
