//! The command line in front of a running manager: what it prints, where, and how it exits.

mod complaints;
mod documents;
mod output;
mod verbs;

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Output, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
};

use serde_json::{Value, json};

use crate::harness::{Dae, PATIENCE, binary, shell};

/// A manager with `Sample` and `Idle`, which are up, and `Failing`, which has failed.
fn with_three() -> Dae {
    let dae = Dae::start();
    dae.install("Sample", &json!({ "program": binary("sample") }));
    dae.install("Idle", &shell("echo hello; exec sleep 1000", &json!({})));
    let failing = json!({ "restart": "never", "ready": "delay=60s" });
    let failed = dae.ask("install", &json!(["Failing", shell("echo so; exit 3", &failing)]));
    assert_eq!(failed.unwrap_err()["state"], "failed");
    dae
}

/// One line of complaint and what is said below it, nothing on stdout, and the exit code.
fn check_complaint(output: &Output, code: i32, words: &[&str]) {
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert_eq!(text(&output.stdout), "", "{said}");
    assert!(words.iter().all(|it| said.contains(it)), "{words:?}: {said}");
    let mut lines = said.lines();
    assert!(lines.next().is_some_and(|it| it.starts_with("dae: ")), "{said}");
    assert!(lines.all(|it| it.starts_with("  hint: ") || it.starts_with("  | ")), "{said}");
}

fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).unwrap()
}

/// The one document that `bytes` are.
fn document(bytes: &[u8]) -> Value {
    let read = serde_json::from_slice(bytes);
    read.unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(bytes)))
}

/// The error that a program is told.
fn error(output: &Output) -> Value {
    let error = document(&output.stderr)["error"].take();
    assert!(error["code"].is_string(), "{output:?}");
    error
}

/// A command that goes on. Ends with its owner.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Gone already is as good.
        self.0.kill().ok();
        self.0.wait().unwrap();
    }
}

/// A command that goes on, and its lines as they come.
struct Follower {
    lines: Receiver<String>,
    _running: Running,
}

impl Follower {
    fn start(mut command: Command) -> Self {
        let mut running = Running(command.stdout(Stdio::piped()).spawn().unwrap());
        let out = BufReader::new(running.0.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || out.lines().try_for_each(|it| sender.send(it.unwrap())));
        Self { lines, _running: running }
    }

    /// The next line.
    fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).unwrap()
    }

    /// Reads on to a line with `part`.
    fn until(&self, part: &str) {
        let mut seen = vec![];
        while !seen.last().is_some_and(|it: &String| it.contains(part)) {
            let line = self.lines.recv_timeout(PATIENCE);
            seen.push(line.unwrap_or_else(|error| panic!("{part}: {error} after {seen:#?}")));
        }
    }
}
