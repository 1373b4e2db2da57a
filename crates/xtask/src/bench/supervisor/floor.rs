//! The floor: a few lines that spawn, wait and spawn again. No supervisor can be below it.

use std::{
    collections::HashMap,
    env,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use nix::{
    errno::Errno,
    sys::{
        signal::{Signal, kill},
        wait::{WaitStatus, wait},
    },
    unistd::Pid,
};
use serde_json::{Value, json};

use super::{
    super::{error::MeasureError, scratch, witness::Word},
    Process, Service, Supervisor, failed, write,
};

pub(crate) struct Floor {
    folder: PathBuf,
    running: Option<Process>,
}

impl Floor {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder, running: None }
    }

    fn services(&self) -> PathBuf {
        self.folder.join("services")
    }
}

impl Supervisor for Floor {
    fn prepare(&mut self, services: &[Service]) -> Result<(), MeasureError> {
        let line = |it: &Service| {
            let log = it.is_logged.then(|| self.log(&it.name));
            json!({ "program": it.program, "arguments": it.arguments, "log": log }).to_string()
        };
        let lines: Vec<String> = services.iter().map(line).collect();
        write(&self.services(), &lines.join("\n"))
    }

    fn launch(&mut self) -> Result<(), MeasureError> {
        let program = env::current_exe().map_err(failed("find ourselves"))?;
        let mut command = scratch::command(program, &self.folder);
        command.args(["bench", "spawner"]).arg(self.services());
        self.running = Some(Process::spawn(&mut command)?);
        Ok(())
    }

    fn list(&self) -> Option<Command> {
        None
    }

    fn stop(&self, service: &Word) -> Result<(), MeasureError> {
        kill(Pid::from_raw(service.pid), Signal::SIGTERM)
            .map_err(|errno| failed("stop a child of the floor")(errno.into()))
    }

    fn stop_all(&self, services: &[&Word]) -> Result<(), MeasureError> {
        services.iter().try_for_each(|it| self.stop(it))
    }

    fn log(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.log"))
    }
}

/// The process of the floor. Who was told to end (SIGTERM) stays away.
pub(crate) fn spawner(services: &Path) -> io::Result<()> {
    let services: Vec<Value> = fs::read_to_string(services)?
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()
        .map_err(io::Error::other)?;
    let mut running = HashMap::new();
    for service in &services {
        running.insert(spawn(service)?, service);
    }
    loop {
        match wait() {
            Ok(WaitStatus::Signaled(_, Signal::SIGTERM, _)) => {}
            Ok(status) => {
                let gone = status.pid().and_then(|pid| running.remove(&pid.as_raw()));
                if let Some(service) = gone {
                    running.insert(spawn(service)?, service);
                }
            }
            // Somebody ends the spawner when he has seen enough.
            Err(Errno::ECHILD) => std::thread::park(),
            Err(errno) => return Err(errno.into()),
        }
    }
}

fn spawn(service: &Value) -> io::Result<i32> {
    let arguments = service["arguments"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let mut command = Command::new(service["program"].as_str().unwrap_or_default());
    command.args(arguments).stdin(Stdio::null()).stderr(Stdio::null());
    match service["log"].as_str() {
        Some(log) => command.stdout(cat(log)?),
        None => command.stdout(Stdio::null()),
    };
    // Not waited for here: `wait` is for whichever ends first.
    command.spawn().map(|child| child.id().cast_signed())
}

/// The floor of a log: `cat` behind a pipe.
fn cat(log: &str) -> io::Result<Stdio> {
    let mut cat = Command::new("cat");
    let mut cat = cat.stdin(Stdio::piped()).stdout(File::create(log)?).spawn()?;
    Ok(cat.stdin.take().expect("it was piped").into())
}
