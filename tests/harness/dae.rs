//! A manager with a home of its own.

use std::{
    env,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::mpsc,
    thread,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    binary, eventually,
    eventually::PATIENCE,
    kernel::{listening_ports, of, processes_naming, program},
    netcat::Netcat,
};

/// A running manager. Ends with its owner, together with all that it started.
#[derive(Debug)]
pub(crate) struct Dae {
    program: PathBuf,
    home: TempDir,
}

impl Dae {
    /// Starts a manager with nothing installed.
    pub(crate) fn start() -> Self {
        let dae = Self::at_rest();
        dae.succeed(["up"]);
        dae
    }

    /// Starts a manager from a shell that runs `script`, in which `"$0"` is `dae`, with
    /// `environment` added.
    pub(crate) fn start_by(script: &str, environment: &[(&str, &OsStr)]) -> Self {
        let dae = Self::at_rest();
        let mut shell = without_ours(Command::new("sh"));
        shell.args(["-c", script]).arg(&dae.program).envs(environment.iter().copied());
        shell.env("DAE_HOME", dae.home()).stdin(Stdio::null());
        succeeded(finish(shell));
        dae
    }

    /// A home in which nothing has been started yet.
    pub(crate) fn at_rest() -> Self {
        let program = fs::canonicalize(binary("dae")).unwrap();
        // Short, since the path of a Unix socket has at most 107 bytes.
        let home = TempDir::with_prefix_in("dae-", "/tmp").unwrap();
        Self { program, home }
    }

    /// The directory under which everything of this manager is.
    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// Runs `dae args…` to its end.
    pub(crate) fn run<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Output {
        finish(self.command(args))
    }

    /// `dae args…` for this home, not yet run.
    pub(crate) fn command<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Command {
        let mut command = without_ours(Command::new(&self.program));
        command.args(args).env("DAE_HOME", self.home()).stdin(Stdio::null());
        command
    }

    /// Runs `dae args…`, which must exit 0, and returns what it printed.
    pub(crate) fn succeed<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> String {
        succeeded(self.run(args))
    }

    /// The process that is the manager now.
    pub(crate) fn pid(&self) -> u32 {
        self.listener().0
    }

    /// The port of the manager.
    pub(crate) fn port(&self) -> u16 {
        self.listener().1
    }

    /// What opens the manager's closed commands.
    pub(crate) fn token(&self) -> String {
        let token = fs::read_to_string(self.home().join("state/token")).unwrap();
        token.trim_end().to_owned()
    }

    /// A new connection that may do everything.
    pub(crate) fn client(&self) -> Netcat {
        let mut client = Netcat::tcp(self.port());
        let reply = client.call("auth", &json!([self.token()]));
        assert_eq!(reply, ("auth".into(), json!([])));
        client
    }

    /// A new connection over the Unix socket, which may do everything.
    pub(crate) fn unix(&self) -> Netcat {
        Netcat::unix(&self.home().join("run/Dae.sock"))
    }

    /// The process that holds the daemons of this home now.
    pub(crate) fn keeper(&self) -> u32 {
        let status = self.ask("status", &json!([])).unwrap();
        let keeper = &status["manager"]["keeper"]["pid"];
        keeper.as_u64().unwrap_or_else(|| panic!("{status}")).try_into().unwrap()
    }

    /// Ends the manager without a chance to clean up, and waits until it has ended.
    pub(crate) fn kill_manager(&self) {
        let manager = Pid::from_raw(self.pid().cast_signed());
        kill(manager, Signal::SIGKILL).unwrap();
        eventually("a killed manager has ended", || self.managers().is_empty().then_some(()));
    }

    /// The processes that are a manager of this home; there should never be more than one.
    pub(crate) fn managers(&self) -> Vec<u32> {
        let is_one = |it: &u32| !is_keeper(*it) && !listening_ports(*it).is_empty();
        self.ours().into_iter().filter(is_one).collect()
    }

    /// What the manager answers to one packet: its result, or the member of its `err`.
    pub(crate) fn ask(&self, command: &str, args: &Value) -> Result<Value, Value> {
        let (reply, mut args) = self.unix().call(command, args);
        let answer = args[0].take();
        if reply == "err" { Err(answer) } else { Ok(answer) }
    }

    /// Installs a daemon by its definition, and returns what is listed of it.
    pub(crate) fn install(&self, name: &str, definition: &Value) -> Value {
        let answer = self.ask("install", &json!([name, definition]));
        answer.unwrap_or_else(|error| panic!("{name}: {error}"))["daemon"].take()
    }

    /// What the manager lists of `name`, running or not.
    pub(crate) fn listed(&self, name: &str) -> Option<Value> {
        let listed = self.ask("list", &json!([{ "all": true }])).unwrap();
        listed.as_array().unwrap().iter().find(|it| it["name"] == name).cloned()
    }

    /// What the manager says of `name`, once `wanted` holds of it.
    pub(crate) fn eventually(&self, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        eventually(&format!("{name} is as wanted"), || self.listed(name).filter(&wanted))
    }

    /// The processes of this home: manager, keeper and whatever they started.
    pub(crate) fn processes(&self) -> Vec<u32> {
        processes_naming(self.home())
    }

    /// Of the processes of this home the `dae` that listens, and where.
    fn listener(&self) -> (u32, u16) {
        eventually("the manager listens", || {
            let pid = *self.managers().first()?;
            let ports = listening_ports(pid);
            // It holds those of its daemons too.
            let port = if ports.len() > 1 { self.locked_port(pid) } else { ports.first().copied() };
            Some((pid, port?))
        })
    }

    /// The port that the manager has written into its lock.
    fn locked_port(&self, manager: u32) -> Option<u16> {
        let text = fs::read_to_string(self.home().join("state/manager.lock")).ok()?;
        let lock: Value = serde_json::from_str(&text).ok()?;
        lock["port"].as_u64().filter(|_| lock["pid"] == manager)?.try_into().ok()
    }

    /// Of the processes of this home those that run `dae`.
    fn ours(&self) -> Vec<u32> {
        let own = |pid: &u32| program(*pid).as_ref() == Some(&self.program);
        self.processes().into_iter().filter(own).collect()
    }
}

impl Drop for Dae {
    fn drop(&mut self) {
        let down = without_ours(Command::new(&self.program))
            .args(["--timeout", "20s", "down"])
            .env("DAE_HOME", self.home())
            .stdin(Stdio::null())
            .output();
        if down.is_ok_and(|it| it.status.success()) {
            return;
        }
        // It could not: first go those who would start others again, then the others.
        let (ours, others): (Vec<u32>, Vec<u32>) = self
            .processes()
            .into_iter()
            .partition(|pid| program(*pid).as_ref() == Some(&self.program));
        for pid in ours.into_iter().chain(others) {
            // Gone already is as good.
            kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL).ok();
        }
    }
}

/// Whether a `dae` holds daemons. It has their listening sockets, and none of its own.
fn is_keeper(pid: u32) -> bool {
    let line = fs::read(of(pid, "cmdline")).unwrap_or_default();
    line.split(|byte| *byte == 0).nth(1) == Some(b"keeper")
}

/// Runs a command to its end.
pub(crate) fn finish(mut command: Command) -> Output {
    let shown = format!("{command:?}");

    let (done, output) = mpsc::channel();
    thread::spawn(move || done.send(command.output()));
    match output.recv_timeout(PATIENCE) {
        Ok(output) => output.unwrap(),
        Err(_) => {
            panic!("{shown}: still running, or its output still open, after {PATIENCE:?}")
        }
    }
}

/// What a command that had to exit 0 has printed.
fn succeeded(output: Output) -> String {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "dae failed: {}\n{error}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// `command` without the variables by which a manager tells its children where they are, or by
/// which somebody has set up the manager of this machine.
pub(super) fn without_ours(mut command: Command) -> Command {
    for (name, _) in env::vars_os() {
        let name_text = name.to_string_lossy();
        if ["DAE", "LISTEN_", "XDG_"].iter().any(|it| name_text.starts_with(it)) {
            command.env_remove(&name);
        }
    }
    command
}
