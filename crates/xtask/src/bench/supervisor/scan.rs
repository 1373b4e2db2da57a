//! runit, daemontools and s6: a folder of services, a process that scans it, and one for each
//! service.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    super::{error::MeasureError, scratch, witness::Word},
    Process, Service, Supervisor, make, run_leniently, write,
};

/// What the three have different names for.
pub(crate) struct Scan {
    programs: PathBuf,
    folder: PathBuf,
    /// The scanner and its arguments; behind them comes the folder.
    scanner: &'static [&'static str],
    /// What stops services; behind it come their folders.
    stop: &'static [&'static str],
    /// What stops all at once; behind it comes the folder of services.
    stop_all: Option<&'static [&'static str]>,
    list: Option<&'static [&'static str]>,
    /// The logger and its arguments; behind them comes the folder of the log.
    logger: &'static str,
    running: Option<Process>,
}

impl Scan {
    pub(crate) fn runit(root: &Path, folder: PathBuf) -> Self {
        Self {
            scanner: &["runsvdir"],
            stop: &["sv", "down"],
            stop_all: None,
            list: Some(&["sv", "status"]),
            logger: "svlogd",
            ..Self::new(root, folder)
        }
    }

    pub(crate) fn daemontools(root: &Path, folder: PathBuf) -> Self {
        Self {
            scanner: &["svscan"],
            stop: &["svc", "-d"],
            stop_all: None,
            list: Some(&["svstat"]),
            logger: "multilog s16777215 n1000",
            ..Self::new(root, folder)
        }
    }

    /// It has no command that shows or stops many; its scanner does the latter.
    pub(crate) fn s6(folder: PathBuf) -> Self {
        Self {
            scanner: &["s6-svscan", "-c", "2100"],
            stop: &["s6-svc", "-d"],
            stop_all: Some(&["s6-svscanctl", "-t"]),
            list: None,
            logger: "s6-log s268435455 n100",
            ..Self::new(Path::new("/"), folder)
        }
    }

    fn new(root: &Path, folder: PathBuf) -> Self {
        Self {
            programs: root.join("usr/bin"),
            folder,
            scanner: &[],
            stop: &[],
            stop_all: None,
            list: None,
            logger: "",
            running: None,
        }
    }

    fn services(&self) -> PathBuf {
        self.folder.join("services")
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = scratch::command(self.programs.join(words[0]), &self.folder);
        let path = format!("{}:/usr/bin:/bin", self.programs.display());
        command.args(&words[1..]).env("PATH", path);
        command
    }

    /// `words` with the folders of all services behind them.
    fn over_all(&self, words: &[&str]) -> Command {
        let mut command = self.command(words);
        let services = fs::read_dir(self.services()).into_iter().flatten().flatten();
        let mut folders: Vec<_> = services.map(|it| it.path()).filter(|it| it.is_dir()).collect();
        folders.retain(|it| it.join("run").exists());
        folders.sort();
        command.args(folders);
        command
    }

    fn add(&self, service: &Service) -> Result<(), MeasureError> {
        let folder = self.services().join(&service.name);
        make(&folder)?;
        // The kernel hands all behind the program on as one argument: no shell, no cost of one.
        script(&folder.join("run"), &format!("#!{}\n", service.line()))?;
        if !service.is_logged {
            return Ok(());
        }
        let log = self.log(&service.name);
        make(&log)?;
        make(&folder.join("log"))?;
        if self.logger == "svlogd" {
            write(&log.join("config"), "s0\n")?;
        }
        let logger = self.programs.join(self.logger);
        let line = format!("#!/bin/sh\nexec {} {}\n", logger.display(), log.display());
        script(&folder.join("log/run"), &line)
    }
}

impl Supervisor for Scan {
    fn prepare(&mut self, services: &[Service]) -> Result<(), MeasureError> {
        make(&self.services())?;
        services.iter().try_for_each(|service| self.add(service))
    }

    fn launch(&mut self) -> Result<(), MeasureError> {
        self.running = Some(Process::spawn(self.command(self.scanner).arg(self.services()))?);
        Ok(())
    }

    fn list(&self) -> Option<Command> {
        self.list.map(|words| self.over_all(words))
    }

    fn stop(&self, service: &Word) -> Result<(), MeasureError> {
        run_leniently(self.command(self.stop).arg(self.services().join(&service.name)))
    }

    fn stop_all(&self, _: &[&Word]) -> Result<(), MeasureError> {
        run_leniently(&mut match self.stop_all {
            None => self.over_all(self.stop),
            Some(words) => {
                let mut command = self.command(words);
                command.arg(self.services());
                command
            }
        })
    }

    fn log(&self, name: &str) -> PathBuf {
        self.folder.join("logs").join(name)
    }
}

fn script(path: &Path, text: &str) -> Result<(), MeasureError> {
    write(path, text)?;
    fs::set_permissions(path, Permissions::from_mode(0o755))
        .map_err(MeasureError::io("make executable", path))
}
