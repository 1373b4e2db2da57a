//! Who is attacked: a State with a directory of its own. Ends with its owner.

use std::{
    env, fs,
    io::{self, BufRead, BufReader, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::PathBuf,
    process::{self, Child, Command, Stdio},
    thread::sleep,
    time::Duration,
};

use super::{super::hostile::honest::Guest, nice};
use crate::{
    bench::clock::now,
    step::{self, StepError, announce},
    workspace::{cargo, release},
};

pub(crate) struct House {
    home: PathBuf,
    port: u16,
    child: Child,
}

/// Why there is nobody to attack.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HouseError {
    #[error(transparent)]
    Build(#[from] StepError),

    #[error("cannot start State")]
    Start(#[source] io::Error),

    #[error("State answered {0:?}")]
    Answer(String),
}

/// How long it may take to listen.
const PATIENCE: Duration = Duration::from_secs(10);

impl House {
    /// Starts it, as a release build.
    pub(crate) fn build(is_stale: bool) -> Result<Self, HouseError> {
        if is_stale {
            announce("building State");
            step::run(&mut cargo(["build", "--release", "--package", "state-daemon"]))?;
        }
        let house = Self::start().map_err(HouseError::Start)?;
        house.ask("update [[\"doc\"],{\"v\":0}]\n")?;
        Ok(house)
    }

    fn start() -> io::Result<Self> {
        let home = PathBuf::from(format!("/tmp/dae-logins-{}", process::id()));
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let mut command = Command::new(release("state"));
        for (name, _) in env::vars_os().filter(|it| it.0.to_string_lossy().starts_with("DAE")) {
            command.env_remove(name);
        }
        command.args(["--port", &port.to_string(), "--log", "error", "--data"]).arg(&home);
        let child = command.stdin(Stdio::null()).spawn()?;
        let house = Self { home, port, child };
        let latest = now() + PATIENCE;
        while let Err(error) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
            if now() > latest {
                return Err(error);
            }
            sleep(Duration::from_millis(5));
        }
        Ok(house)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A session of root that asks the same again and again.
    pub(crate) fn guest(
        &self,
        name: &'static str,
        request: &'static str,
    ) -> Result<Guest, HouseError> {
        Guest::over(name, self.session()?, request).map_err(HouseError::Start)
    }

    /// Who tries passwords for so many seconds.
    pub(crate) fn guesser(&self, rate: u32, seconds: u64) -> Command {
        let program = env::current_exe().unwrap_or_else(|_| "xtask".into());
        let mut command = nice(program);
        command.args(["soak", "guess", "--rate", &rate.to_string()]);
        command.args(["--seconds", &seconds.to_string(), &self.port.to_string()]);
        command
    }

    fn ask(&self, request: &str) -> Result<(), HouseError> {
        said(&self.session()?, request)
    }

    fn session(&self) -> Result<TcpStream, HouseError> {
        let connect = || {
            let password = fs::read_to_string(self.home.join("root-password"))?;
            Ok((password, TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?))
        };
        let (password, stream) = connect().map_err(HouseError::Start)?;
        said(&stream, &format!("auth [\"root\",\"{}\"]\n", password.trim()))?;
        Ok(stream)
    }
}

/// Says something that must not be refused.
fn said(mut stream: &TcpStream, request: &str) -> Result<(), HouseError> {
    let mut reply = String::new();
    let ask = stream.write_all(request.as_bytes());
    let asked = ask.and_then(|()| BufReader::new(stream).read_line(&mut reply));
    asked.map_err(HouseError::Start)?;
    match reply.starts_with("err") {
        true => Err(HouseError::Answer(reply)),
        false => Ok(()),
    }
}

impl Drop for House {
    fn drop(&mut self) {
        // It has gone by itself if it can't be killed.
        drop(self.child.kill());
        drop(self.child.wait());
        fs::remove_dir_all(&self.home).ok();
    }
}
