//! A manager in a directory that goes with it.

use std::{
    env, fs,
    io::{self, BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{self, Command},
};

use serde_json::{Value, json};

use super::ChurnError;
use crate::{
    step,
    workspace::{cargo, release},
};

/// The home, with its manager running.
pub(super) struct Home(PathBuf);

/// A connection that may do everything.
pub(super) struct Line(BufReader<UnixStream>);

impl Home {
    /// Builds, and starts a manager.
    pub(super) fn start() -> Result<Self, ChurnError> {
        let packages = ["--package", "manager", "--package", "sample"];
        step::run(cargo(["build", "--release"]).args(packages))?;
        // Short, since the path of a Unix socket has at most 107 bytes.
        let home = Self(env::temp_dir().join(format!("dae-churn-{}", process::id())));
        fs::create_dir(&home.0)?;
        step::run(home.dae().arg("up"))?;
        Ok(home)
    }

    /// `dae` for this home.
    pub(super) fn dae(&self) -> Command {
        let mut dae = Command::new(release("dae"));
        dae.env("DAE_HOME", &self.0);
        dae
    }

    pub(super) fn sample(&self) -> PathBuf {
        release("sample")
    }

    pub(super) fn connect(&self) -> io::Result<Line> {
        Ok(Line(BufReader::new(UnixStream::connect(self.0.join("run/Dae.sock"))?)))
    }

    /// Manager and keeper.
    pub(super) fn processes(&self, line: &mut Line) -> Result<(u32, u32), ChurnError> {
        let status = line.ask("status", &json!([]))?;
        let pid = |it: &Value| it["pid"].as_u64().and_then(|pid| pid.try_into().ok());
        let manager = &status["manager"];
        let both = pid(manager).zip(pid(&manager["keeper"]));
        both.ok_or_else(|| ChurnError::Refused(status.to_string()))
    }

    /// The whole history.
    pub(super) fn events(&self) -> Result<Vec<Value>, ChurnError> {
        let text = step::output(self.dae().args(["events", "--json"]))?;
        let lines = text.split(|it| *it == b'\n').filter(|it| !it.is_empty());
        Ok(lines.filter_map(|it| serde_json::from_slice(it).ok()).collect())
    }

    /// Ends the manager and removes the directory.
    pub(super) fn end(&self) -> Result<(), ChurnError> {
        step::run(self.dae().arg("down"))?;
        Ok(remove(&self.0)?)
    }
}

fn remove(path: &Path) -> io::Result<()> {
    fs::remove_dir_all(path)
}

impl Line {
    /// Sends a command and does not wait for its reply.
    pub(super) fn send(&mut self, command: &str, args: &Value) -> io::Result<()> {
        self.0.get_mut().write_all(format!("{command} {args}\n").as_bytes())
    }

    /// Runs a command, which must not fail, and returns its result.
    pub(super) fn ask(&mut self, command: &str, args: &Value) -> Result<Value, ChurnError> {
        self.send(command, args)?;
        let mut reply = String::new();
        self.0.read_line(&mut reply)?;
        match reply.split_once(' ') {
            Some((name, args)) if name != "err" => {
                let mut args: Value = serde_json::from_str(args).unwrap_or_default();
                Ok(args.get_mut(0).map(Value::take).unwrap_or_default())
            }
            _ => Err(ChurnError::Refused(reply)),
        }
    }
}
