//! supervisord, one process in Python, and `supervisorctl`.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    super::{error::MeasureError, scratch, witness::Word},
    Process, Service, Supervisor, run_leniently, write,
};

pub(crate) struct Supervisord {
    root: PathBuf,
    folder: PathBuf,
    running: Option<Process>,
}

impl Supervisord {
    pub(crate) fn new(root: PathBuf, folder: PathBuf) -> Self {
        Self { root, folder, running: None }
    }

    fn settings(&self) -> PathBuf {
        self.folder.join("supervisord.conf")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = scratch::command("python3", &self.folder);
        command.env("PYTHONPATH", self.root.join("usr/lib/python3/dist-packages"));
        command.arg(self.root.join("usr/bin").join(program)).arg("-c").arg(self.settings());
        command
    }

    fn section(&self, service: &Service) -> String {
        let log = match service.is_logged {
            true => self.log(&service.name).display().to_string(),
            false => "NONE".to_owned(),
        };
        format!(
            "[program:{}]\ncommand={}\nautorestart=true\nstdout_logfile={log}\n\
             stdout_logfile_maxbytes=0\nstderr_logfile=NONE\n",
            service.name,
            service.line()
        )
    }
}

impl Supervisor for Supervisord {
    fn prepare(&mut self, services: &[Service]) -> Result<(), MeasureError> {
        let sections = services.iter().map(|it| self.section(it));
        let text = std::iter::once(head(&self.folder)).chain(sections).collect::<Vec<_>>();
        write(&self.settings(), &text.join("\n"))
    }

    fn launch(&mut self) -> Result<(), MeasureError> {
        self.running = Some(Process::spawn(&mut self.command("supervisord"))?);
        Ok(())
    }

    fn list(&self) -> Option<Command> {
        let mut command = self.command("supervisorctl");
        command.arg("status");
        Some(command)
    }

    fn stop(&self, service: &Word) -> Result<(), MeasureError> {
        run_leniently(self.command("supervisorctl").args(["stop", &service.name]))
    }

    fn stop_all(&self, _: &[&Word]) -> Result<(), MeasureError> {
        run_leniently(self.command("supervisorctl").args(["stop", "all"]))
    }

    fn log(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.log"))
    }
}

fn head(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        "[supervisord]\nnodaemon=true\nlogfile=/dev/null\nlogfile_maxbytes=0\n\
         pidfile={folder}/supervisord.pid\nminfds=10000\n\
         [unix_http_server]\nfile={folder}/supervisord.sock\n\
         [rpcinterface:supervisor]\n\
         supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n\
         [supervisorctl]\nserverurl=unix://{folder}/supervisord.sock\n"
    )
}
