//! SQLite at its best: one writer in one process, nobody between it and the file.

use std::{fs, path::PathBuf, process::Command};

use crate::{
    bench::report::median,
    step::{self, StepError},
    tools::{self, Tool, ToolError},
    workspace::target,
};

const PYTHON: Tool = Tool { program: "python3", package: "python3" };

/// Commits for so many seconds; prints how many it were a second.
const WRITER: &str = "
import sqlite3, sys, time
base = sqlite3.connect(sys.argv[1], isolation_level=None)
base.execute('PRAGMA journal_mode=WAL')
base.execute('PRAGMA synchronous=FULL')
base.execute('CREATE TABLE tree (path TEXT PRIMARY KEY, value TEXT)')
begun, count = time.monotonic(), 0
while time.monotonic() - begun < float(sys.argv[2]):
    base.execute('INSERT OR REPLACE INTO tree VALUES (?, ?)', ('key', str(count)))
    count += 1
print(count / (time.monotonic() - begun))
";

/// Why SQLite has no figure.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SqliteError {
    #[error(transparent)]
    Tool(#[from] ToolError),

    #[error(transparent)]
    Step(#[from] StepError),

    #[error("SQLite's writer printed {0:?}")]
    Figure(String),
}

pub(crate) fn commits_per_second(rounds: u64, seconds: f64) -> Result<f64, SqliteError> {
    tools::ensure(&[PYTHON])?;
    let figures = (0..rounds).map(|_| round(seconds)).collect::<Result<_, _>>()?;
    Ok(median(figures))
}

fn round(seconds: f64) -> Result<f64, SqliteError> {
    let file = target().join("bench").join(format!("sqlite-{}", std::process::id()));
    let mut python = Command::new(PYTHON.program);
    let output = step::output(python.args(["-c", WRITER]).arg(&file).arg(seconds.to_string()));
    for ending in ["", "-wal", "-shm"] {
        let mut path = file.clone().into_os_string();
        path.push(ending);
        let _never_made = fs::remove_file(PathBuf::from(path));
    }
    let output = String::from_utf8_lossy(&output?).trim().to_owned();
    output.parse().map_err(|_| SqliteError::Figure(output))
}
