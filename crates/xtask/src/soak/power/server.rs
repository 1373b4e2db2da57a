//! State on the disk whose power fails.

use std::{
    fs::{self, File},
    io,
    net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread::sleep,
    time::Duration,
};

use serde_json::Value;

use crate::{
    bench::{clock::now, server::patient, state::daemon},
    workspace::release,
};

/// How long it may take to listen, and how often that is tried.
const PATIENCE: Duration = Duration::from_secs(30);
const PERIOD: Duration = Duration::from_millis(10);

/// Why it does not serve.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServerError {
    #[error("cannot start the state server")]
    Start(#[source] io::Error),

    #[error("the state server ended ({status}) and said: {said}")]
    Ended { status: ExitStatus, said: String },

    #[error("the state server does not answer")]
    Silent(#[source] io::Error),
}

/// A running one; ends with this, as a crash would end it.
pub(crate) struct Server {
    child: Child,
    address: SocketAddrV4,
    login: String,
}

/// What was found on a disk.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) revision: u64,
    /// What the writers have written: a pair each.
    pub(crate) written: Value,
}

impl Server {
    pub(crate) fn start(disk: &Path) -> Result<Self, ServerError> {
        Self::spawn(disk).map_err(ServerError::Start)?.logged_in(disk)
    }

    fn spawn(disk: &Path) -> io::Result<Self> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(release("state"));
        command.args(["--port", &port.to_string(), "--rate", "1000000", "--burst", "1000000"]);
        // Files end, snapshots are made and files go, all within seconds.
        command.args(["--segment-bytes", "262144", "--snapshot-bytes", "524288"]);
        command.args(["--log", "warn", "--data"]).arg(disk.join("data"));
        let said = File::create(said(disk))?;
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said).spawn()?;
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        Ok(Self { child, address, login: String::new() })
    }

    fn logged_in(mut self, disk: &Path) -> Result<Self, ServerError> {
        let begun = now();
        let mut stream = loop {
            match TcpStream::connect(self.address).and_then(patient) {
                Ok(stream) => break stream,
                Err(error) if now() - begun > PATIENCE => return Err(ServerError::Silent(error)),
                Err(_) => sleep(PERIOD),
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                let said = fs::read_to_string(said(disk)).unwrap_or_default();
                return Err(ServerError::Ended { status, said: said.trim().to_owned() });
            }
        };
        self.login = daemon::token(&mut stream, disk).map_err(ServerError::Silent)?;
        Ok(self)
    }

    /// A connection that is logged in.
    pub(crate) fn guest(&self) -> Result<TcpStream, ServerError> {
        let guest = || {
            let mut stream = patient(TcpStream::connect(self.address)?)?;
            daemon::ask(&mut stream, &self.login)?;
            Ok(stream)
        };
        guest().map_err(ServerError::Silent)
    }

    pub(crate) fn found(&self) -> Result<Found, ServerError> {
        let mut guest = self.guest()?;
        let mut ask = |request| daemon::ask(&mut guest, request).map_err(ServerError::Silent);
        let stats = ask("stats []\n")?;
        let written = ask("get [[\"w\"]]\n")?;
        let revision = stats[0]["rev"].as_u64().unwrap_or_default();
        Ok(Found { revision, written: written[0].clone() })
    }
}

/// Where it says what is wrong; beside the disk, or it would be what is written there.
fn said(disk: &Path) -> PathBuf {
    disk.with_extension("log")
}

impl Drop for Server {
    /// A child that has not been waited for keeps its pid, so this can hit no other process.
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
