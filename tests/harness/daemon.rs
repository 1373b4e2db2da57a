//! A daemon that was started by hand, without a manager.

use std::{
    fs::{self, File},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
};

use tempfile::TempDir;

use super::{binary, dae::without_ours, eventually, kernel::listening_ports, netcat::Netcat};

/// Where in its home it is written what a daemon says.
const LOG: &str = "stderr";

/// A running daemon on a free port, with a home of its own. Ends with its owner.
#[derive(Debug)]
pub(crate) struct Daemon {
    child: Child,
    port: u16,
    home: TempDir,
}

impl Daemon {
    /// Starts `program --port 0 args…` with `environment` added, and waits until it listens.
    pub(crate) fn start(program: &Path, args: &[&str], environment: &[(&str, &str)]) -> Self {
        let home = TempDir::with_prefix_in("dae-", "/tmp").unwrap();
        let log = home.path().join(LOG);
        let child = without_ours(Command::new(program))
            .args(["--port", "0"])
            .args(args)
            .env("HOME", home.path())
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut daemon = Self { child, port: 0, home };
        daemon.port = eventually("a daemon listens", || {
            let ended = daemon.child.try_wait().unwrap();
            let said = || fs::read_to_string(&log).unwrap_or_default();
            assert!(ended.is_none(), "{} ended: {ended:?}\n{}", program.display(), said());
            let ports = listening_ports(daemon.pid());
            // Whichever of several doors is open first.
            let has_doors = ports.len() > 1 || args.contains(&"--listen");
            if has_doors { logged_port(&said()) } else { ports.first().copied() }
        });
        daemon
    }

    /// Starts the sample, with its memory empty.
    pub(crate) fn sample(args: &[&str]) -> Self {
        Self::start(&binary("sample"), args, &[])
    }

    /// What it has written into its log.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(self.home.path().join("stderr")).unwrap()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// How it has ended by itself, and what it said before.
    pub(crate) fn ended(&mut self) -> (ExitStatus, String) {
        let status = eventually("a daemon ends", || self.child.try_wait().unwrap());
        (status, fs::read_to_string(self.home.path().join(LOG)).unwrap())
    }

    /// A new connection.
    pub(crate) fn connect(&self) -> Netcat {
        Netcat::tcp(self.port)
    }
}

/// The port for Common TCP, of a daemon with a second door.
fn logged_port(log: &str) -> Option<u16> {
    log.split(" listening port=").nth(1)?.split_whitespace().next()?.parse().ok()
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}
