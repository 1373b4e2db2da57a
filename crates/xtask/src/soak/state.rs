//! A State that a long run speaks to, with a directory of its own; and who speaks to it as root.
//! Ends with its owner.

use std::{
    env,
    fs::{self, File},
    io::{self, BufRead, BufReader, Write},
    net::{Ipv4Addr, SocketAddrV4, TcpStream},
    path::{Path, PathBuf},
    process::{self, Child, Command, Stdio},
    thread::sleep,
    time::Duration,
};

use serde_json::Value;

use crate::{
    bench::{
        clock::now,
        server::{free_port, is_of_a_manager, patient},
    },
    step::{self, StepError, announce},
    workspace::{cargo, release},
};

pub(super) struct House {
    home: PathBuf,
    address: SocketAddrV4,
    child: Child,
}

/// Who asks, and waits for each answer.
pub(super) struct Asker(BufReader<TcpStream>);

/// What is in its directory.
const DATA: &str = "data";
const LOG: &str = "log";

/// How long it may take to listen.
const PATIENCE: Duration = Duration::from_secs(60);

/// Flags with which a password takes less than by default: what is left of that would be room for
/// others, of whom it is to be known how much they take.
pub(super) const SMALL_HASHES: [&str; 2] = ["--hash-memory", "64"];

/// The program of State: the one that is given, or a release build, which is made.
pub(super) fn program(given: Option<&Path>) -> Result<PathBuf, StepError> {
    if let Some(given) = given {
        return Ok(given.to_owned());
    }
    announce("building State");
    step::run(&mut cargo(["build", "--release", "--package", "state-daemon"]))?;
    Ok(release("state"))
}

impl House {
    /// Starts `program` for the run that is called so, with these flags.
    pub(super) fn start(program: &Path, run: &str, flags: &[&str]) -> io::Result<Self> {
        let home = PathBuf::from(format!("/tmp/dae-{run}-{}", process::id()));
        fs::create_dir_all(&home)?;
        let port = free_port()?;
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program);
        for (name, _) in env::vars_os().filter(|it| is_of_a_manager(&it.0)) {
            command.env_remove(name);
        }
        command.args(["--port", &port.to_string(), "--log", "warn"]);
        command.args(flags).arg("--data").arg(home.join(DATA));
        command.stderr(File::create(home.join(LOG))?);
        let child = command.stdin(Stdio::null()).spawn()?;
        let mut house = Self { home, address: SocketAddrV4::new(Ipv4Addr::LOCALHOST, port), child };
        let latest = now() + PATIENCE;
        while let Err(error) = TcpStream::connect(house.address) {
            if now() > latest {
                return Err(error);
            }
            // Somebody else may have taken its port.
            if let Some(status) = house.child.try_wait()? {
                return Err(io::Error::other(format!("{status}: {}", house.log()?)));
            }
            sleep(Duration::from_millis(5));
        }
        Ok(house)
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn address(&self) -> SocketAddrV4 {
        self.address
    }

    /// What it has logged.
    pub(super) fn log(&self) -> io::Result<String> {
        fs::read_to_string(self.home.join(LOG))
    }

    /// Ends it by SIGKILL; whether all that it has stored is well, and what is said of that.
    pub(super) fn check(&mut self, program: &Path) -> io::Result<(bool, String)> {
        self.child.kill()?;
        self.child.wait()?;
        let mut check = Command::new(program);
        let checked = check.args(["check", "--data"]).arg(self.home.join(DATA)).output()?;
        let said = [checked.stdout, checked.stderr].concat();
        Ok((checked.status.success(), String::from_utf8_lossy(&said).trim_end().to_owned()))
    }

    /// A session of root.
    pub(super) fn root(&self) -> io::Result<Asker> {
        let password = fs::read_to_string(self.home.join(DATA).join("root-password"))?;
        let mut asker = Asker(BufReader::new(patient(TcpStream::connect(self.address)?)?));
        asker.ask("auth", &serde_json::json!(["root", password.trim()]))?;
        Ok(asker)
    }
}

impl Asker {
    /// The connection, on which nothing is under way.
    pub(super) fn into_stream(self) -> TcpStream {
        self.0.into_inner()
    }

    /// The result of a command that must not be refused.
    pub(super) fn ask(&mut self, name: &str, args: &Value) -> io::Result<Value> {
        self.say(&line(name, args))?;
        self.hear()
    }

    /// Sends lines whose answers are heard later.
    pub(super) fn say(&mut self, lines: &str) -> io::Result<()> {
        self.0.get_mut().write_all(lines.as_bytes())
    }

    /// The next answer.
    pub(super) fn hear(&mut self) -> io::Result<Value> {
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        match line.split_once(' ') {
            Some((name, args)) if name != "err" => {
                let mut args: Value = serde_json::from_str(args)?;
                Ok(args.get_mut(0).map(Value::take).unwrap_or_default())
            }
            _ => Err(io::Error::other(line)),
        }
    }
}

/// A packet, as it is sent.
pub(super) fn line(name: &str, args: &Value) -> String {
    format!("{name} {args}\n")
}

impl Drop for House {
    fn drop(&mut self) {
        // It has gone by itself if it can't be killed.
        drop(self.child.kill());
        drop(self.child.wait());
        fs::remove_dir_all(&self.home).ok();
    }
}
