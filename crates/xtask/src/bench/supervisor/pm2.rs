//! pm2: a daemon on Node, which its commands start when it is not there.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

use super::{
    super::{error::MeasureError, scratch, witness::Word},
    Service, Supervisor, run_leniently, write,
};
use crate::step;

pub(crate) struct Pm2 {
    program: PathBuf,
    folder: PathBuf,
    is_empty: bool,
}

impl Pm2 {
    pub(crate) fn new(root: &Path, folder: PathBuf) -> Self {
        Self { program: root.join("node_modules/pm2/bin/pm2"), folder, is_empty: true }
    }

    fn services(&self) -> PathBuf {
        self.folder.join("services.json")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = scratch::command("node", &self.folder);
        command.arg(&self.program).args(arguments);
        // It asks a server on the network for newer versions otherwise.
        command.env("PM2_DISABLE_VERSION_CHECK", "true").env("PM2_HOME", self.folder.join("pm2"));
        command
    }

    fn app(&self, service: &Service) -> Value {
        let log = match service.is_logged {
            true => self.log(&service.name),
            false => "/dev/null".into(),
        };
        json!({
            "name": service.name, "script": service.program, "args": service.arguments,
            "interpreter": "none", "exec_mode": "fork", "pmx": false,
            "out_file": log, "error_file": "/dev/null", "merge_logs": true,
        })
    }
}

impl Supervisor for Pm2 {
    fn prepare(&mut self, services: &[Service]) -> Result<(), MeasureError> {
        self.is_empty = services.is_empty();
        let apps: Vec<_> = services.iter().map(|it| self.app(it)).collect();
        write(&self.services(), &json!({ "apps": apps }).to_string())
    }

    fn launch(&mut self) -> Result<(), MeasureError> {
        let mut command = match self.is_empty {
            true => self.command(&["ping"]),
            false => self.command(&["start"]),
        };
        if !self.is_empty {
            command.arg(self.services());
        }
        Ok(step::run(&mut command)?)
    }

    fn list(&self) -> Option<Command> {
        Some(self.command(&["ls"]))
    }

    fn stop(&self, service: &Word) -> Result<(), MeasureError> {
        run_leniently(&mut self.command(&["stop", &service.name]))
    }

    fn stop_all(&self, _: &[&Word]) -> Result<(), MeasureError> {
        run_leniently(&mut self.command(&["stop", "all"]))
    }

    fn log(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.log"))
    }
}
