//! A keeper of one's own, and what the kernel says of its children.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, SystemTime};

use manager::cgroup::{self, Cgroup};
use manager::identity::Identity;
use manager::keeper::protocol::{
    Listed, LogSettings, Refusal, Report, Request, Scope, Spawn, Status, Step,
};
use rustix::process::{Signal, pidfd_send_signal};
use tempfile::TempDir;

/// How long anything here may take; far longer than it does.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A keeper in a directory of its own, and a manager that talks to it.
pub(crate) struct Keeper {
    pub(crate) home: TempDir,
    pub(crate) process: Child,
    pub(crate) link: Option<BufReader<UnixStream>>,
    /// What came while something else was waited for.
    pub(crate) heard: Vec<Report>,
}

impl Keeper {
    pub(crate) fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        let process = keeper_command(home.path()).spawn().unwrap();
        Self::connected(home, process)
    }

    /// One that uses cgroups, where the machine has them, and one that does not.
    pub(crate) fn start_both() -> [Self; 2] {
        let home = tempfile::tempdir().unwrap();
        let process = keeper_command(home.path()).args(["--cgroup", "off"]).spawn().unwrap();
        [Self::start(), Self::connected(home, process)]
    }

    /// A keeper that a shell starts, after a script has spoilt what it inherits.
    pub(crate) fn start_after(script: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let keeper = keeper_command(home.path());
        let process = Command::new("bash")
            .args(["-c", &format!("{script}; exec \"$@\""), "bash"])
            .arg(keeper.get_program())
            .args(keeper.get_args())
            .spawn()
            .unwrap();
        Self::connected(home, process)
    }

    pub(crate) fn connected(home: TempDir, process: Child) -> Self {
        let mut keeper = Self { home, process, link: None, heard: Vec::new() };
        keeper.connect();
        keeper
    }

    pub(crate) fn runtime(&self) -> PathBuf {
        self.home.path().join("run")
    }

    pub(crate) fn connect(&mut self) {
        let socket = self.runtime().join(".keeper.sock");
        let stream = eventually(|| UnixStream::connect(&socket).ok());
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        self.heard.clear();
        self.link = Some(BufReader::new(stream));
    }

    pub(crate) fn disconnect(&mut self) {
        self.link = None;
    }

    pub(crate) fn send(&mut self, request: &Request) {
        let mut line = serde_json::to_vec(request).unwrap();
        line.push(b'\n');
        self.link.as_mut().unwrap().get_mut().write_all(&line).unwrap();
    }

    pub(crate) fn hear(&mut self) -> Report {
        let mut line = String::new();
        let count = self.link.as_mut().unwrap().read_line(&mut line).expect("the keeper answers");
        assert!(count > 0, "the keeper hung up");
        serde_json::from_str(&line).unwrap()
    }

    /// Waits for a report; others are kept for later.
    pub(crate) fn wait<T>(&mut self, wanted: impl Fn(&Report) -> Option<T>) -> T {
        if let Some(at) = self.heard.iter().position(|report| wanted(report).is_some()) {
            return wanted(&self.heard.remove(at)).unwrap();
        }
        loop {
            let report = self.hear();
            match wanted(&report) {
                Some(found) => return found,
                None => self.heard.push(report),
            }
        }
    }

    /// `sh -c SCRIPT` as daemon `NAME`.
    pub(crate) fn order(&self, name: &str, script: &str) -> Spawn {
        Spawn {
            id: 7,
            name: name.to_owned(),
            program: "/bin/sh".into(),
            args: vec!["-c".to_owned(), script.to_owned()],
            env: vec![
                ("PATH".to_owned(), std::env::var("PATH").unwrap()),
                ("DAE_SECRET".to_owned(), self.secret(name)),
            ],
            cwd: self.home.path().to_owned(),
            umask: 0o022,
            nofile: None,
            secret: self.secret(name),
            log: LogSettings {
                dir: self.log_dir(name),
                max_bytes: 10 << 20,
                keep: 10,
                patience_ms: 10_000,
            },
            sockets: vec![],
        }
    }

    /// No other test has it: a secret is looked for among all processes.
    pub(crate) fn secret(&self, name: &str) -> String {
        format!("{name}-in-{}", self.home.path().display())
    }

    pub(crate) fn log_dir(&self, name: &str) -> PathBuf {
        self.home.path().join("logs").join(name)
    }

    pub(crate) fn log(&self, name: &str) -> String {
        String::from_utf8(fs::read(self.log_dir(name).join("current")).unwrap()).unwrap()
    }

    pub(crate) fn spawn(&mut self, name: &str, script: &str) -> Identity {
        let order = self.order(name, script);
        self.spawn_as(order)
    }

    pub(crate) fn spawn_as(&mut self, order: Spawn) -> Identity {
        let name = order.name.clone();
        self.send(&Request::Spawn(order));
        self.wait(|report| match report {
            Report::Spawned { name: it, identity, .. } if *it == name => Some(identity.clone()),
            Report::SpawnFailed { .. } => panic!("{report:?}"),
            _ => None,
        })
    }

    pub(crate) fn failure(&mut self, order: Spawn) -> (Step, i32) {
        self.send(&Request::Spawn(order));
        self.wait(|report| match report {
            Report::SpawnFailed { id: 7, step, errno, .. } => Some((*step, *errno)),
            _ => None,
        })
    }

    pub(crate) fn exit(&mut self, name: &str) -> Status {
        self.wait(|report| match report {
            Report::Exited { name: it, status, .. } if it == name => Some(*status),
            _ => None,
        })
    }

    pub(crate) fn empty(&mut self, name: &str) -> u32 {
        self.wait(|report| match report {
            Report::Empty { name: it, pid } if it == name => Some(*pid),
            _ => None,
        })
    }

    /// Runs a script to its end and returns what it printed.
    pub(crate) fn output(&mut self, order: Spawn) -> String {
        let name = order.name.clone();
        self.spawn_as(order);
        self.empty(&name);
        self.log(&name)
    }

    /// A pipe by which a test tells a script to go on (`read x < NAME`).
    pub(crate) fn fifo(&self, name: &str) -> PathBuf {
        let path = self.home.path().join(name);
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        path
    }

    /// Waits for a line in a log: the child has come so far.
    pub(crate) fn until_logged(&self, name: &str, line: &str) {
        eventually(|| self.log(name).lines().any(|it| it == line).then_some(()));
    }

    pub(crate) fn list(&mut self) -> Vec<Listed> {
        self.send(&Request::List {});
        self.wait(|report| match report {
            Report::Children(children) => Some(children.clone()),
            _ => None,
        })
    }

    pub(crate) fn signal(&mut self, name: &str, signal: i32, scope: Scope) {
        self.send(&Request::Signal { name: name.to_owned(), signal, scope });
    }

    pub(crate) fn kill(&mut self, name: &str) {
        self.send(&Request::Kill { name: name.to_owned() });
    }

    pub(crate) fn refusal(&mut self) -> Refusal {
        self.wait(|report| match report {
            Report::Refused { reason, .. } => Some(*reason),
            _ => None,
        })
    }

    pub(crate) fn ended(&mut self) -> ExitStatus {
        eventually(|| self.process.try_wait().unwrap())
    }
}

/// Whatever a test left, also by panicking, ends here: the keeper first, so that nobody restarts or
/// reaps, then its children, each verified, with their whole groups.
impl Drop for Keeper {
    fn drop(&mut self) {
        let mut orphans = descendants(self.process.id());
        drop(self.process.kill());
        drop(self.process.wait());
        orphans.retain(Identity::is_alive);
        for orphan in orphans {
            if let Some(pidfd) = orphan.open() {
                let _ = pidfd_send_signal(pidfd, Signal::KILL);
            }
        }
        // A keeper that is killed takes no cgroup away.
        let Ok(meta) = fs::metadata(self.runtime()) else { return };
        let Some(own) = cgroup::directory_of(std::process::id()) else { return };
        let all = Cgroup::at(own.join(format!("{}{}-{}", cgroup::PREFIX, meta.dev(), meta.ino())));
        let start = SystemTime::now();
        while all.is_populated() && start.elapsed().unwrap_or_default() < PATIENCE {
            std::thread::yield_now();
        }
        all.remove();
    }
}

pub(crate) fn keeper_command(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dae"));
    command.arg("keeper").arg("--runtime").arg(home.join("run")).stdin(Stdio::null());
    command
}

pub(crate) fn eventually<T>(mut attempt: impl FnMut() -> Option<T>) -> T {
    let start = SystemTime::now();
    loop {
        if let Some(found) = attempt() {
            return found;
        }
        assert!(start.elapsed().unwrap_or_default() < PATIENCE, "it never came");
        std::thread::yield_now();
    }
}

/// All below a process, as identities, while they are known to be below it.
pub(crate) fn descendants(pid: u32) -> Vec<Identity> {
    let mut found: Vec<Identity> = Vec::new();
    let mut parents = vec![pid];
    while let Some(parent) = parents.pop() {
        for pid in manager::proc::children(parent).unwrap().unwrap_or_default() {
            found.extend(Identity::read("", pid, "", 0));
            parents.push(pid);
        }
    }
    found
}

pub(crate) fn is_running(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

/// The numbers that a script printed, one a line.
pub(crate) fn numbers(text: &str) -> Vec<u32> {
    text.lines().map(|line| line.parse().unwrap()).collect()
}
