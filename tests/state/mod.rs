//! The state server from outside: what it answers, what it keeps, and what it survives.

mod accounts;
mod clients;
mod commands;
mod crowd;
mod disk;
mod firing;
mod keeping;
mod limits;
mod moving;
mod resuming;
mod strange;
mod survival;
mod talk;
mod watching;
mod websocket;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Output},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{Daemon, Netcat, binary};

/// A state server on a directory of its own, which may be started again.
struct StateServer {
    data: PathBuf,
    args: Vec<String>,
    daemon: Option<Daemon>,
    _home: TempDir,
}

impl StateServer {
    /// Starts one that has nothing yet.
    fn start(args: &[&str]) -> Self {
        let home = TempDir::with_prefix_in("state-", "/tmp").unwrap();
        let data = home.path().join("data");
        Self::at(home, data, args)
    }

    /// Starts one whose directory is `data`, somewhere in `home`.
    fn at(home: TempDir, data: PathBuf, args: &[&str]) -> Self {
        let args = args.iter().map(|it| (*it).to_owned()).collect();
        let mut server = Self { data, args, daemon: None, _home: home };
        server.resume();
        server
    }

    /// Starts it again.
    fn resume(&mut self) {
        let mut args = vec!["--data", self.data.to_str().unwrap()];
        args.extend(self.args.iter().map(String::as_str));
        self.daemon = Some(Daemon::start(&binary("state"), &args, &[]));
    }

    /// Ends it by SIGKILL.
    fn kill(&mut self) {
        self.daemon = None;
    }

    /// How it has ended by itself, and what it said.
    fn ended(&mut self) -> (ExitStatus, String) {
        self.daemon.as_mut().unwrap().ended()
    }

    fn daemon(&self) -> &Daemon {
        self.daemon.as_ref().unwrap()
    }

    fn connect(&self) -> Netcat {
        self.daemon().connect()
    }

    /// What the file says that the first start leaves.
    fn root_password(&self) -> String {
        let password = fs::read_to_string(self.data.join("root-password")).unwrap();
        password.trim_end().to_owned()
    }

    /// A connection of `root`.
    fn root(&self) -> Netcat {
        self.logged_in("root", &self.root_password())
    }

    /// A connection of somebody.
    fn logged_in(&self, user: &str, password: &str) -> Netcat {
        let mut netcat = self.connect();
        netcat.ask("auth", &json!([user, password]));
        netcat
    }

    /// A token of `root`, which opens sessions faster than a password.
    fn root_token(&self) -> String {
        let made = self.root().ask("createToken", &json!([]));
        made["token"].as_str().unwrap().to_owned()
    }

    /// A connection by a token.
    fn by_token(&self, token: &str) -> Netcat {
        let mut netcat = self.connect();
        netcat.ask("auth", &json!([token]));
        netcat
    }
}

/// Runs the program to its end.
fn run(args: &[&str]) -> Output {
    Command::new("timeout").arg("60").arg(binary("state")).args(args).output().unwrap()
}

/// Runs it on `data`; it must refuse, and what it says is returned.
fn refused(data: &Path) -> String {
    let output = run(&["--port", "0", "--data", data.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// The next event: its topic and its data.
fn event(netcat: &mut Netcat) -> (String, Value) {
    let line = netcat.read_line().unwrap();
    let args = line.strip_prefix("event ").unwrap_or_else(|| panic!("no event: {line:?}"));
    let mut args: Vec<Value> = serde_json::from_str(args).unwrap();
    let data = args[1].take();
    (args[0].as_str().unwrap().to_owned(), data)
}
