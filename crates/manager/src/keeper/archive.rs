//! The process that brings rotated log files to rest: on the disk for sure, compressed, and not too
//! many.
//!
//! It can be killed at any moment, and is when the keeper ends: a compressed file gets its name
//! when it is whole and on the disk, and only then the raw one goes.

mod cap;
mod file;

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rustix::fs::FlockOperation;
use rustix::process::Signal;

use super::syscall;
use crate::logs::rotation::{DATA, Key, PACKED};

/// The hidden subcommand that gets here: `dae archive LOGS CAP_BYTES`.
pub const SUBCOMMAND: &str = "archive";

/// How much all rotated files of a home may take: what a small disk can spare.
pub const CAP_BYTES: u64 = 1 << 30;

/// Leaves the processor to whoever wants it.
const NICE: i32 = 19;

/// Runs the hidden subcommand with what follows its name.
pub fn main(mut arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let (logs, cap) = (arguments.next(), arguments.next());
    let cap = cap.and_then(|it| it.to_str()?.parse().ok());
    let (Some(logs), Some(cap)) = (logs, cap) else {
        eprintln!("dae: this is started by the keeper, as `dae archive LOGS CAP_BYTES`");
        return ExitCode::from(2);
    };
    match run(Path::new(&logs), cap) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dae: cannot compress rotated logs: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Compresses until nothing is left to compress, and keeps to the cap meanwhile.
fn run(logs: &Path, cap_bytes: u64) -> io::Result<()> {
    step_back()?;
    // That of a keeper that was killed may still be at it for a moment.
    let own = File::open(logs)?;
    rustix::fs::flock(&own, FlockOperation::LockExclusive)?;
    remove_unfinished(logs)?;
    let mut vain = Vec::new();
    loop {
        cap::keep_to(logs, cap_bytes)?;
        let mut raw = rotated(logs)?;
        raw.retain(|(_, path)| {
            path.extension().is_some_and(|it| it == "log") && !vain.contains(path)
        });
        if raw.is_empty() {
            return Ok(());
        }
        for (_, path) in raw {
            if let Err(error) = file::compress(&path) {
                eprintln!("dae: cannot compress `{}`: {error}", path.display());
                vain.push(path);
            }
        }
    }
}

fn step_back() -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    rustix::process::setpriority_process(None, NICE)?;
    // Without it the disk is shared fairly, which must do.
    let _ = syscall::yield_disk();
    Ok(())
}

/// What one that was killed has left behind.
fn remove_unfinished(logs: &Path) -> io::Result<()> {
    for path in files(logs)?.filter(|it| it.extension().is_some_and(|it| it == "new")) {
        fs::remove_file(path)?;
    }
    Ok(())
}

/// All rotated files of all logs, raw and compressed, oldest first.
fn rotated(logs: &Path) -> io::Result<Vec<(Key, PathBuf)>> {
    let mut rotated: Vec<_> = files(logs)?.filter_map(|it| Some((key(&it)?, it))).collect();
    rotated.sort_unstable();
    Ok(rotated)
}

fn key(path: &Path) -> Option<Key> {
    let name = path.file_name()?.to_str()?;
    [DATA, PACKED].iter().find_map(|names| names.key(name)).filter(|key| *key != Key::Current)
}

/// The files of all logs. Any of them, and a whole log, may be removed meanwhile.
fn files(logs: &Path) -> io::Result<impl Iterator<Item = PathBuf>> {
    let is_log = |dir: &fs::DirEntry| dir.file_type().is_ok_and(|it| it.is_dir());
    let logs = fs::read_dir(logs)?.flatten().filter(is_log);
    let files = logs.flat_map(|log| fs::read_dir(log.path()).into_iter().flatten().flatten());
    Ok(files.map(|it| it.path()))
}
