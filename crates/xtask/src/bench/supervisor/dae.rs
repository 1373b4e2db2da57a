//! Ours, by its command line; installed over its socket, since a thousand commands would take a
//! while.

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::PathBuf,
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use super::{
    super::{error::MeasureError, scratch, witness::Word},
    Service, Supervisor, failed, refused,
};
use crate::{step, workspace::release};

pub(crate) struct Dae {
    folder: PathBuf,
    home: PathBuf,
    ready: &'static str,
}

impl Dae {
    /// One whose daemons are taken for ready as soon as they run, like those of all others.
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { home: folder.join("home"), folder, ready: "none" }
    }

    /// One that asks its daemons.
    pub(crate) fn that_asks(folder: PathBuf) -> Self {
        Self { ready: "dae", ..Self::new(folder) }
    }

    /// Starts it, and waits until all are ready.
    pub(crate) fn launch_and_wait(&self) -> Result<(), MeasureError> {
        Ok(step::run(&mut self.command(&["up", "--wait", "--timeout", "2m"]))?)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = scratch::command(release("dae"), &self.folder);
        command.args(arguments).env("DAE_HOME", &self.home);
        command
    }

    fn definition(&self, service: &Service) -> Value {
        json!({
            "program": service.program, "args": service.arguments, "no_start": true,
            "ready": self.ready, "stable": "100ms", "log_max": "8G",
        })
    }

    fn install(&self, service: &Service, guest: &mut Guest) -> Result<(), MeasureError> {
        let request = json!([service.name, self.definition(service)]);
        let answer = guest.ask(&format!("install {request}\n"))?;
        match answer.starts_with("install ") {
            true => Ok(()),
            false => Err(refused("dae", "install", answer)),
        }
    }

    fn connect(&self) -> Result<Guest, MeasureError> {
        let status = step::output(self.command(&["status", "--json"]).stdout(Stdio::piped()))?;
        let status: Value = serde_json::from_slice(&status).unwrap_or_default();
        let path = status.pointer("/manager/unix").and_then(Value::as_str);
        let path = path.ok_or_else(|| refused("dae", "status", &status))?;
        let stream = UnixStream::connect(path).map_err(failed("connect to the manager"))?;
        Ok(Guest(BufReader::new(stream)))
    }
}

/// A connection to the manager.
struct Guest(BufReader<UnixStream>);

impl Guest {
    fn ask(&mut self, line: &str) -> Result<String, MeasureError> {
        let mut answer = String::new();
        let asked = self.0.get_mut().write_all(line.as_bytes());
        asked
            .and_then(|()| self.0.read_line(&mut answer))
            .map_err(failed("talk to the manager"))?;
        Ok(answer)
    }
}

impl Supervisor for Dae {
    fn prepare(&mut self, services: &[Service]) -> Result<(), MeasureError> {
        step::run(&mut self.command(&["up", "--no-start"]))?;
        let mut guest = self.connect()?;
        for service in services {
            self.install(service, &mut guest)?;
        }
        Ok(step::run(&mut self.command(&["down"]))?)
    }

    fn launch(&mut self) -> Result<(), MeasureError> {
        Ok(step::run(&mut self.command(&["up"]))?)
    }

    fn list(&self) -> Option<Command> {
        Some(self.command(&["list"]))
    }

    fn stop(&self, service: &Word) -> Result<(), MeasureError> {
        Ok(step::run(&mut self.command(&["stop", &service.name]))?)
    }

    fn stop_all(&self, _: &[&Word]) -> Result<(), MeasureError> {
        Ok(step::run(&mut self.command(&["stop", "all"]))?)
    }

    fn log(&self, name: &str) -> PathBuf {
        self.home.join("state/logs").join(name)
    }
}
