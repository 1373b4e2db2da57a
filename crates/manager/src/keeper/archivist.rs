//! Has rotated files compressed, by a process aside: one at a time, so that logs never take more
//! than one processor, and never the keeper's.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::archive;
use crate::proc::Pid;

/// What is to be done, and who does it now.
#[derive(Debug, Default)]
pub(super) struct Archivist {
    /// The directory of all logs, once it is known.
    logs: Option<PathBuf>,
    is_due: bool,
    running: Option<Pid>,
}

impl Archivist {
    /// Tells it of a daemon's log; all of a home lie in one directory.
    pub(super) fn find_logs(&mut self, log: &Path) {
        self.logs = log.parent().map(Path::to_owned);
    }

    /// Whether there is more to do.
    pub(super) fn note(&mut self, is_due: bool) {
        self.is_due |= is_due;
    }

    /// Starts the process, if there is something to do and it does not run; returns who it is.
    pub(super) fn start_if_due(&mut self) -> Option<Pid> {
        if !self.is_due || self.running.is_some() {
            return None;
        }
        let logs = self.logs.as_ref()?;
        self.is_due = false;
        // If it cannot be started, the next rotation tries again; until then files stay as they
        // are.
        self.running = start(logs);
        self.running
    }

    /// Somebody was reaped; perhaps it.
    pub(super) fn reaped(&mut self, pid: Pid) {
        self.running = self.running.filter(|it| *it != pid);
    }
}

/// The keeper reaps it like all others.
fn start(logs: &Path) -> Option<Pid> {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("dae").arg(archive::SUBCOMMAND).arg(logs).arg(archive::CAP_BYTES.to_string());
    let child = command.env_clear().stdin(Stdio::null()).stdout(Stdio::null()).spawn().ok()?;
    Some(child.id())
}
