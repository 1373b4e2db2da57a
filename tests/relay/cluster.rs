//! AceBase processes on one database, and the relay that connects them.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, Sender, channel},
    thread,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::house::House;
use crate::{
    harness::{Dae, PATIENCE, binary, workspace},
    sockets::free_port,
};

/// A relay, and a folder for what its clients share. `K` is what keeps the relay running.
pub(super) struct Cluster<K = House> {
    pub(super) keeper: K,
    door: u16,
    folder: TempDir,
}

/// A process on the database; ends with its owner, by SIGKILL.
pub(super) struct Process {
    child: Child,
    stdin: ChildStdin,
    answers: Receiver<Value>,
    heard: Receiver<Value>,
}

impl Cluster {
    /// Starts a relay with `args`; nobody is there yet.
    pub(super) fn start(args: &[&str]) -> Self {
        let house = House::start(args);
        Self::at(house.door, house)
    }
}

impl Cluster<Dae> {
    /// Installs a relay, whose door the manager holds.
    pub(super) fn install() -> Self {
        let (dae, door) = (Dae::start(), free_port());
        let definition = json!({
            "program": binary("relay"), "sockets": [format!("ws={door}")],
            "backoff": "10ms..10ms", "stable": "1h",
        });
        dae.install("Relay", &definition);
        Self::at(door, dae)
    }
}

impl<K> Cluster<K> {
    fn at(door: u16, keeper: K) -> Self {
        Self { keeper, door, folder: TempDir::with_prefix_in("relay-", "/tmp").unwrap() }
    }

    /// The one process that gives locks. It makes the database, and so is the first.
    pub(super) fn master(&self) -> Process {
        self.process("master", None)
    }

    /// A process that asks it for them.
    pub(super) fn worker(&self) -> Process {
        self.process("worker", None)
    }

    /// A process that is connected.
    pub(super) fn process(&self, role: &str, token: Option<&str>) -> Process {
        let mut process = Process::start();
        process.does("open", self.opening(role, token));
        process
    }

    /// How a process is told to open the database.
    pub(super) fn opening(&self, role: &str, token: Option<&str>) -> Value {
        let folder = self.folder.path();
        json!({ "folder": folder, "port": self.door, "role": role, "token": token })
    }
}

impl Process {
    /// Starts one that has opened nothing yet.
    pub(super) fn start() -> Self {
        let clients = workspace().join("tests/clients");
        assert_installed(&clients, "acebase");
        let mut child = Command::new("node")
            .arg(clients.join("acebase.js"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let ((answered, answers), (told, heard)) = (channel(), channel());
        thread::spawn(move || sort(BufReader::new(stdout), &answered, &told));
        Self { child, stdin, answers, heard }
    }

    /// Has it do something, which must go well, and returns what comes of it.
    pub(super) fn does(&mut self, what: &str, with: Value) -> Value {
        self.begins(what, with);
        self.done(what)
    }

    /// Tells it to do something.
    pub(super) fn begins(&mut self, what: &str, mut with: Value) {
        with["does"] = what.into();
        writeln!(self.stdin, "{with}").unwrap();
    }

    /// What came of what it was told to do.
    pub(super) fn done(&self, what: &str) -> Value {
        let mut answer = self.answer(what);
        assert!(answer["failed"].is_null(), "{what}: {answer}");
        answer["done"].take()
    }

    /// Why it could not do what it was told to.
    pub(super) fn failed(&self, what: &str) -> Value {
        let mut answer = self.answer(what);
        assert!(answer["failed"].is_string(), "{what} went well: {answer}");
        answer["failed"].take()
    }

    /// What it heard, or complained about, next.
    pub(super) fn hears(&self) -> Value {
        self.heard.recv_timeout(PATIENCE).unwrap_or_else(|it| panic!("nothing was heard: {it}"))
    }

    /// What it has heard until now and nobody has asked for.
    pub(super) fn heard(&self) -> Vec<Value> {
        self.heard.try_iter().collect()
    }

    fn answer(&self, what: &str) -> Value {
        self.answers.recv_timeout(PATIENCE).unwrap_or_else(|it| {
            panic!("{what}: no answer: {it}; heard: {:?}", self.heard());
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Hands on what a process says, until it ends.
fn sort(stdout: impl BufRead, answered: &Sender<Value>, told: &Sender<Value>) {
    for line in stdout.lines().map_while(Result::ok) {
        let said: Value = serde_json::from_str(&line).unwrap();
        let is_answer = said.get("done").or(said.get("failed")).is_some();
        let to = if is_answer { answered } else { told };
        // A test that is over takes nothing more.
        to.send(said).ok();
    }
}

fn assert_installed(clients: &Path, package: &str) {
    assert!(
        clients.join("node_modules").join(package).is_dir(),
        "the package `{package}` is missing: `npm ci --prefix tests/clients`, as `cargo xtask \
         test` does"
    );
}
