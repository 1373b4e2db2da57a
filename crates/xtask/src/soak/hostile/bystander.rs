//! Who is not attacked: a bare server of one answer, beside all the others. No daemon under attack
//! can answer faster than it does.

use std::{
    env, io,
    net::{Ipv4Addr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::Duration,
};

use super::honest::Guest;
use crate::bench::clock::now;

/// The server's process; ends with this.
pub(crate) struct Bystander {
    child: Child,
    port: u16,
}

/// How long it may take to listen.
const PATIENCE: Duration = Duration::from_secs(10);

impl Bystander {
    /// Starts it in a session of its own, as daemons have: some kernels share processor time out by
    /// sessions.
    pub(crate) fn start() -> io::Result<Self> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let mut command = Command::new("setsid");
        command.args(["setpriv", "--pdeathsig", "KILL", "--"]).arg(env::current_exe()?);
        command.args(["bench", "floor", "--port", &port.to_string()]);
        Ok(Self { child: command.stdin(Stdio::null()).spawn()?, port })
    }

    /// Who asks it.
    pub(crate) fn guest(&self) -> io::Result<Guest> {
        let end = now() + PATIENCE;
        let stream = loop {
            match TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)) {
                Err(_) if now() < end => sleep(Duration::from_millis(5)),
                connected => break connected?,
            }
        };
        Guest::over("bare echo", stream, "get [\"k\"]\n")
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        // A child that was not waited for keeps its pid.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
