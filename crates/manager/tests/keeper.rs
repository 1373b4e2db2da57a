//! The keeper's promises, with real processes, over its own socket.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, SystemTime};

use manager::cgroup::{self, Cgroup};
use manager::identity::{Identity, LoadError};
use manager::keeper::protocol::{
    Adopt, Listed, LogSettings, Refusal, Report, Request, Scope, Spawn, State, Status, Step,
};
use rustix::process::{Signal, pidfd_send_signal};
use tempfile::TempDir;

/// How long anything here may take; far longer than it does.
const PATIENCE: Duration = Duration::from_secs(30);

/// A keeper in a directory of its own, and a manager that talks to it.
struct Keeper {
    home: TempDir,
    process: Child,
    link: Option<BufReader<UnixStream>>,
    /// What came while something else was waited for.
    heard: Vec<Report>,
}

impl Keeper {
    fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        let process = keeper_command(home.path()).spawn().unwrap();
        Self::connected(home, process)
    }

    /// One that uses cgroups, where the machine has them, and one that does not.
    fn start_both() -> [Self; 2] {
        let home = tempfile::tempdir().unwrap();
        let process = keeper_command(home.path()).args(["--cgroup", "off"]).spawn().unwrap();
        [Self::start(), Self::connected(home, process)]
    }

    /// A keeper that a shell starts, after a script has spoilt what it inherits.
    fn start_after(script: &str) -> Self {
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

    fn connected(home: TempDir, process: Child) -> Self {
        let mut keeper = Self { home, process, link: None, heard: Vec::new() };
        keeper.connect();
        keeper
    }

    fn runtime(&self) -> PathBuf {
        self.home.path().join("run")
    }

    fn connect(&mut self) {
        let socket = self.runtime().join(".keeper.sock");
        let stream = eventually(|| UnixStream::connect(&socket).ok());
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        self.heard.clear();
        self.link = Some(BufReader::new(stream));
    }

    fn disconnect(&mut self) {
        self.link = None;
    }

    fn send(&mut self, request: &Request) {
        let mut line = serde_json::to_vec(request).unwrap();
        line.push(b'\n');
        self.link.as_mut().unwrap().get_mut().write_all(&line).unwrap();
    }

    fn hear(&mut self) -> Report {
        let mut line = String::new();
        let count = self.link.as_mut().unwrap().read_line(&mut line).expect("the keeper answers");
        assert!(count > 0, "the keeper hung up");
        serde_json::from_str(&line).unwrap()
    }

    /// Waits for a report; others are kept for later.
    fn wait<T>(&mut self, wanted: impl Fn(&Report) -> Option<T>) -> T {
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
    fn order(&self, name: &str, script: &str) -> Spawn {
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
        }
    }

    /// No other test has it: a cookie is looked for among all processes.
    fn secret(&self, name: &str) -> String {
        format!("{name}-in-{}", self.home.path().display())
    }

    fn log_dir(&self, name: &str) -> PathBuf {
        self.home.path().join("logs").join(name)
    }

    fn log(&self, name: &str) -> String {
        String::from_utf8(fs::read(self.log_dir(name).join("current")).unwrap()).unwrap()
    }

    fn spawn(&mut self, name: &str, script: &str) -> Identity {
        let order = self.order(name, script);
        self.spawn_as(order)
    }

    fn spawn_as(&mut self, order: Spawn) -> Identity {
        let name = order.name.clone();
        self.send(&Request::Spawn(order));
        self.wait(|report| match report {
            Report::Spawned { name: it, identity, .. } if *it == name => Some(identity.clone()),
            Report::SpawnFailed { .. } => panic!("{report:?}"),
            _ => None,
        })
    }

    fn failure(&mut self, order: Spawn) -> (Step, i32) {
        self.send(&Request::Spawn(order));
        self.wait(|report| match report {
            Report::SpawnFailed { id: 7, step, errno, .. } => Some((*step, *errno)),
            _ => None,
        })
    }

    fn exit(&mut self, name: &str) -> Status {
        self.wait(|report| match report {
            Report::Exited { name: it, status, .. } if it == name => Some(*status),
            _ => None,
        })
    }

    fn empty(&mut self, name: &str) -> i32 {
        self.wait(|report| match report {
            Report::Empty { name: it, pid } if it == name => Some(*pid),
            _ => None,
        })
    }

    /// Runs a script to its end and returns what it printed.
    fn output(&mut self, order: Spawn) -> String {
        let name = order.name.clone();
        self.spawn_as(order);
        self.empty(&name);
        self.log(&name)
    }

    /// A pipe by which a test tells a script to go on (`read x < NAME`).
    fn fifo(&self, name: &str) -> PathBuf {
        let path = self.home.path().join(name);
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        path
    }

    /// Waits for a line in a log: the child has come so far.
    fn until_logged(&self, name: &str, line: &str) {
        eventually(|| self.log(name).lines().any(|it| it == line).then_some(()));
    }

    fn list(&mut self) -> Vec<Listed> {
        self.send(&Request::List {});
        self.wait(|report| match report {
            Report::Children(children) => Some(children.clone()),
            _ => None,
        })
    }

    fn signal(&mut self, name: &str, signal: i32, scope: Scope) {
        self.send(&Request::Signal { name: name.to_owned(), signal, scope });
    }

    fn kill(&mut self, name: &str) {
        self.send(&Request::Kill { name: name.to_owned() });
    }

    fn refusal(&mut self) -> Refusal {
        self.wait(|report| match report {
            Report::Refused { reason, .. } => Some(*reason),
            _ => None,
        })
    }

    fn ended(&mut self) -> ExitStatus {
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
        let Some(own) = cgroup::directory_of(std::process::id().cast_signed()) else { return };
        let all = Cgroup::at(own.join(format!("{}{}-{}", cgroup::PREFIX, meta.dev(), meta.ino())));
        let start = SystemTime::now();
        while all.is_populated() && start.elapsed().unwrap_or_default() < PATIENCE {
            std::thread::yield_now();
        }
        all.remove();
    }
}

fn keeper_command(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dae"));
    command.arg("keeper").arg("--runtime").arg(home.join("run")).stdin(Stdio::null());
    command
}

fn eventually<T>(mut attempt: impl FnMut() -> Option<T>) -> T {
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
fn descendants(pid: u32) -> Vec<Identity> {
    let mut found: Vec<Identity> = Vec::new();
    let mut parents = vec![pid];
    while let Some(parent) = parents.pop() {
        for pid in manager::proc::children(parent).unwrap().unwrap_or_default() {
            let Some(raw) = rustix::process::Pid::from_raw(pid.cast_signed()) else { continue };
            found.extend(Identity::read("", raw, "", 0));
            parents.push(pid);
        }
    }
    found
}

fn is_running(pid: i32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

/// The numbers that a script printed, one a line.
fn numbers(text: &str) -> Vec<i32> {
    text.lines().map(|line| line.parse().unwrap()).collect()
}

/// What each stream printed, by the index of a log.
fn streams(dir: &Path, data: &str, index: &str) -> [Vec<u8>; 2] {
    let (data, index) = (fs::read(dir.join(data)).unwrap(), fs::read(dir.join(index)).unwrap());
    let mut streams = [Vec::new(), Vec::new()];
    let mut end = 0;
    for record in index.chunks_exact(24) {
        let offset = u64::from_le_bytes(record[8..16].try_into().unwrap()) as usize;
        let len = u32::from_le_bytes(record[16..20].try_into().unwrap()) as usize;
        assert_eq!(offset, end, "the index has neither holes nor overlaps");
        end += len;
        streams[usize::from(record[20] == b'e')].extend_from_slice(&data[offset..end]);
    }
    assert_eq!(end, data.len(), "the index covers the file");
    streams
}

#[test]
fn a_child_prints_ends_and_is_told_with_its_code() {
    let mut keeper = Keeper::start();
    let identity = keeper.spawn("Sample", "echo hello; echo oops >&2; exit 37");
    assert_eq!(keeper.exit("Sample"), Status::Code(37));
    assert_eq!(keeper.empty("Sample"), identity.pid);
    let mut lines: Vec<_> = keeper.log("Sample").lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines, ["hello", "oops"]);
}

#[test]
fn a_death_by_signal_is_told_with_its_number() {
    let mut keeper = Keeper::start();
    for signal in [libc::SIGKILL, libc::SIGSEGV, libc::SIGRTMIN() + 3] {
        keeper.spawn("Sample", &format!("kill -{signal} $$; echo survived"));
        assert_eq!(keeper.exit("Sample"), Status::Signal(signal));
        keeper.empty("Sample");
    }
    assert_eq!(keeper.log("Sample"), "");
}

#[test]
fn a_start_that_fails_names_step_and_errno_and_leaves_nothing() {
    let mut keeper = Keeper::start();
    let script = keeper.home.path().join("script");
    fs::write(&script, "#!/no/such/interpreter\n").unwrap();
    let plain = keeper.order("Sample", "");
    let with = |change: &dyn Fn(&mut Spawn)| {
        let mut order = plain.clone();
        change(&mut order);
        order
    };
    let missing = keeper.failure(with(&|it| it.program = "/no/such/program".into()));
    assert_eq!(missing, (Step::Exec, libc::ENOENT));
    let denied = keeper.failure(with(&|it| it.program.clone_from(&script)));
    assert_eq!(denied, (Step::Exec, libc::EACCES));
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let interpreter = keeper.failure(with(&|it| it.program.clone_from(&script)));
    assert_eq!(interpreter, (Step::Exec, libc::ENOENT));
    let cwd = keeper.failure(with(&|it| it.cwd = "/no/such/directory".into()));
    assert_eq!(cwd, (Step::Cwd, libc::ENOENT));
    let log = keeper.failure(with(&|it| it.log.dir = "/proc/no/such".into()));
    assert_eq!(log, (Step::Log, libc::ENOENT));
    let name = keeper.failure(with(&|it| it.name = "../Sample".into()));
    assert_eq!(name, (Step::Name, libc::EINVAL));

    let identity = Identity::load(&Identity::path(&keeper.runtime(), "Sample"));
    assert!(matches!(identity, Err(LoadError::Forgotten { .. })));
    assert!(descendants(keeper.process.id()).is_empty());
    keeper.spawn("Sample", "");
}

#[test]
fn a_child_sees_exactly_the_environment_it_was_given() {
    let mut keeper = Keeper::start_after("export FOREIGN=1");
    let secret = keeper.secret("Sample");
    let mut order = keeper.order("Sample", "");
    order.program = "/usr/bin/env".into();
    order.args.clear();
    order.env = vec![
        ("B".to_owned(), "two words = three".to_owned()),
        ("DAE_SECRET".to_owned(), secret.clone()),
    ];
    let printed = keeper.output(order);
    assert_eq!(printed, format!("B=two words = three\nDAE_SECRET={secret}\n"));
}

#[test]
fn a_child_inherits_nothing_but_its_streams() {
    let mut keeper =
        Keeper::start_after("exec 9</dev/null; trap '' HUP PIPE USR1; ulimit -S -n 200; umask 0");
    let script = "ls /proc/$$/fd; readlink /proc/$$/fd/0; umask; pwd
        ulimit -S -n; echo $$; cut -d' ' -f5,6 /proc/$$/stat";
    let mut order = keeper.order("Sample", script);
    order.umask = 0o027;
    let printed = keeper.output(order);
    let lines: Vec<&str> = printed.lines().collect();
    let cwd = keeper.home.path().to_str().unwrap();
    assert_eq!(lines[..7], ["0", "1", "2", "/dev/null", "0027", cwd, "200"]);
    assert_eq!(lines[8], format!("{0} {0}", lines[7]), "its own group and session");

    // Not by a shell, which blocks signals now and then.
    let mut order = keeper.order("Signals", "");
    order.program = "/bin/grep".into();
    order.args = ["-hE", "SigBlk|SigIgn", "/proc/self/status"].map(str::to_owned).to_vec();
    let none = "0000000000000000";
    assert_eq!(keeper.output(order), format!("SigBlk:\t{none}\nSigIgn:\t{none}\n"));
}

/// Also what other children were given meanwhile, and the keeper's own lock and sockets.
#[test]
fn a_child_that_is_one_of_many_inherits_nothing_of_the_others() {
    let mut keeper = Keeper::start();
    for number in 0..20 {
        keeper.spawn(&format!("Sleeper{number}"), "exec sleep 1000");
    }
    let order = keeper.order("Sample", "ls /proc/$$/fd");
    assert_eq!(keeper.output(order), "0\n1\n2\n");
}

#[test]
fn a_child_that_writes_while_no_keeper_lives_is_not_killed_by_that() {
    let mut keeper = Keeper::start();
    let (go, done) = (keeper.fifo("go"), keeper.home.path().join("done"));
    let script = format!(
        "read x < {}; echo late && echo late >&2 && touch {}; exec sleep 1000",
        go.display(),
        done.display()
    );
    let identity = keeper.spawn("Sample", &script);
    keeper.process.kill().unwrap();
    keeper.process.wait().unwrap();
    fs::write(go, "\n").unwrap();

    eventually(|| (done.exists() || !identity.is_alive()).then_some(()));
    assert!(identity.is_alive());
    pidfd_send_signal(identity.open().unwrap(), Signal::KILL).unwrap();
}

/// The tree is found again by a cookie that nobody shows while it is within `exec`.
#[test]
fn an_escape_is_seen_however_early_the_leader_ends() {
    for mut keeper in Keeper::start_both() {
        for _ in 0..50 {
            keeper.spawn("Sample", "(setsid env sleep 1000 >/dev/null 2>&1 &)");
            assert_eq!(keeper.exit("Sample"), Status::Code(0));
            keeper.kill("Sample");
            keeper.empty("Sample");
            assert_eq!(descendants(keeper.process.id()).len(), 0);
        }
    }
}

#[test]
fn the_identity_is_stored_before_the_program_runs() {
    let mut keeper = Keeper::start();
    let path = Identity::path(&keeper.runtime(), "Sample");
    let script = format!("cp {} seen; stat -c %a {}", path.display(), path.display());
    let identity = keeper.spawn("Sample", &script);
    keeper.empty("Sample");
    assert_eq!(Identity::load(&keeper.home.path().join("seen")).unwrap(), identity);
    assert_eq!(keeper.log("Sample"), "600\n");
    assert!(!identity.is_alive());
    keeper.send(&Request::Forget { name: "Sample".to_owned() });
    assert_eq!(keeper.list(), []);
    assert!(matches!(Identity::load(&path), Err(LoadError::Forgotten { .. })));
    keeper.send(&Request::Kill { name: "Sample".to_owned() });
    keeper.list();
    assert!(!path.exists(), "nobody has the name any more");
}

#[test]
fn an_end_without_a_manager_is_told_to_the_next() {
    let mut keeper = Keeper::start();
    let go = keeper.fifo("go");
    let identity = keeper.spawn("Sample", &format!("read x < {}; echo end; exit 37", go.display()));
    keeper.disconnect();
    fs::write(go, "\n").unwrap();
    eventually(|| (!is_running(identity.pid)).then_some(()));
    keeper.connect();
    let listed = eventually(|| keeper.list().into_iter().find(|it| it.empty));
    assert_eq!(listed.identity, identity);
    assert!(matches!(listed.state, State::Exited { status: Status::Code(37), .. }));
    assert_eq!(keeper.log("Sample"), "end\n");
}

#[test]
fn a_failed_start_without_a_manager_is_told_to_the_next() {
    let mut keeper = Keeper::start();
    let mut order = keeper.order("Sample", "");
    order.program = "/no/such/program".into();
    keeper.send(&Request::Spawn(order));
    assert_eq!(keeper.list().len(), 1);
    keeper.disconnect();
    keeper.connect();
    let listed = eventually(|| keeper.list().into_iter().find(|it| it.empty));
    assert_eq!(listed.state, State::Failed { step: Step::Exec, errno: libc::ENOENT });
}

#[test]
fn the_newest_manager_replaces_an_older_one() {
    let mut keeper = Keeper::start();
    let mut old = keeper.link.take().unwrap();
    keeper.connect();
    assert_eq!(keeper.list(), []);
    assert_eq!(old.read_line(&mut String::new()).unwrap(), 0);
}

#[test]
fn who_only_knocks_or_talks_nonsense_replaces_nobody() {
    let mut keeper = Keeper::start();
    assert_eq!(keeper.list(), []);
    let mut manager = keeper.link.take().unwrap();
    keeper.connect();
    let silent = keeper.link.take();
    keeper.connect();
    keeper.link.as_mut().unwrap().get_mut().write_all(b"hello\n").unwrap();
    let said = keeper.link.as_mut().unwrap().read_line(&mut String::new());
    assert_eq!(said.unwrap(), 0, "it is sent away");
    drop(silent);

    std::mem::swap(&mut manager, keeper.link.as_mut().unwrap());
    assert_eq!(keeper.list(), [], "the manager is still heard");
}

#[test]
fn a_line_that_is_no_request_costs_one_answer() {
    let mut keeper = Keeper::start();
    assert_eq!(keeper.list(), []);
    keeper.link.as_mut().unwrap().get_mut().write_all(b"{\"dance\":{}}\n").unwrap();
    assert_eq!(keeper.refusal(), Refusal::Unreadable);
    keeper.kill("Nobody");
    assert_eq!(keeper.refusal(), Refusal::Unknown);
}

#[test]
fn a_group_is_signalled_when_its_leader_is_dead() {
    let mut keeper = Keeper::start();
    keeper.spawn("Sample", "sleep 1000 & echo $!");
    assert_eq!(keeper.exit("Sample"), Status::Code(0));
    let member = eventually(|| numbers(&keeper.log("Sample")).first().copied());
    let busy = keeper.order("Sample", "");
    assert_eq!(keeper.failure(busy), (Step::Name, libc::EBUSY));
    keeper.signal("Sample", libc::SIGTERM, Scope::Leader);
    assert_eq!(keeper.refusal(), Refusal::Gone);
    assert!(is_running(member));
    keeper.signal("Sample", libc::SIGTERM, Scope::Group);
    keeper.empty("Sample");
    assert!(!is_running(member));
}

/// Leaves its session, ignores SIGTERM, has no stream of ours and is nobody's child.
const ESCAPE: &str = "(setsid sh -c 'trap \"\" TERM; echo $$ >&3; exec 3>&-; while :; do sleep 9; done' \
    3>&1 >/dev/null 2>&1 &)";

#[test]
fn a_kill_ends_who_escaped() {
    let ends = ["", "; echo ready; sleep 1000"];
    let all = ends.into_iter().flat_map(|end| Keeper::start_both().map(|keeper| (keeper, end)));
    for (mut keeper, end) in all {
        keeper.spawn("Sample", &format!("{ESCAPE}{end}"));
        let escaped =
            eventually(|| keeper.log("Sample").lines().find_map(|line| line.parse().ok()));
        if end.is_empty() {
            assert_eq!(keeper.exit("Sample"), Status::Code(0));
        }
        keeper.signal("Sample", libc::SIGTERM, Scope::Group);
        assert!(!keeper.list()[0].empty && is_running(escaped));
        keeper.kill("Sample");
        keeper.empty("Sample");
        assert!(!is_running(escaped));
        assert!(descendants(keeper.process.id()).is_empty());
    }
}

#[test]
fn a_kill_ends_nobody_else() {
    for mut keeper in Keeper::start_both() {
        for name in ["One", "Other"] {
            keeper.spawn(name, ESCAPE);
            keeper.exit(name);
        }
        let other = eventually(|| numbers(&keeper.log("Other")).first().copied());
        keeper.kill("One");
        keeper.empty("One");
        assert!(is_running(other));
        assert!(keeper.list().iter().all(|it| it.empty == (it.name == "One")));
    }
}

#[test]
fn many_are_killed_at_once() {
    for mut keeper in Keeper::start_both() {
        let names: Vec<_> = (0..50).map(|number| format!("Sample{number}")).collect();
        for name in &names {
            keeper.spawn(name, ESCAPE);
        }
        for name in &names {
            keeper.kill(name);
        }
        for name in &names {
            keeper.empty(name);
        }
        assert!(descendants(keeper.process.id()).is_empty());
    }
}

/// Shows nothing of its daemon: no cookie, no session, no stream, no parent.
const ANONYMOUS: &str = "(setsid env -i sh -c 'trap \"\" TERM; echo $$ >&3; exec 3>&-; \
    while :; do sleep 9; done' 3>&1 >/dev/null 2>&1 &)";

#[test]
fn a_cgroup_holds_who_shows_nothing_of_its_daemon() {
    let mut keeper = Keeper::start();
    let identity = keeper.spawn("Sample", &format!("{ANONYMOUS}; echo ready; sleep 1000"));
    let Some(cgroup) = identity.cgroup else { return skip("cgroups cannot be used here") };
    let escaped = eventually(|| keeper.log("Sample").lines().find_map(|line| line.parse().ok()));
    keeper.kill("Sample");
    keeper.empty("Sample");
    assert!(!is_running(escaped));
    assert!(!cgroup.path().exists());
}

/// As after a crash of the keeper, when nobody is left who is its parent.
#[test]
fn what_a_killed_keeper_left_is_ended_by_its_cgroup_and_leaves_no_directory() {
    let mut keeper = Keeper::start();
    let identity = keeper.spawn("Sample", &format!("{ANONYMOUS}; echo ready; sleep 1000"));
    let Some(cgroup) = identity.cgroup.clone() else {
        return skip("cgroups cannot be used here");
    };
    let escaped = eventually(|| keeper.log("Sample").lines().find_map(|line| line.parse().ok()));
    keeper.process.kill().unwrap();
    keeper.process.wait().unwrap();
    let stored = Identity::load(&Identity::path(&keeper.runtime(), "Sample")).unwrap();
    assert_eq!(stored, identity);

    keeper.process = keeper_command(keeper.home.path()).spawn().unwrap();
    keeper.connect();
    let log = stored.log.clone().unwrap();
    keeper.send(&Request::Adopt(Adopt { identity: stored, log, let_go: false, carried: None }));
    keeper.kill("Sample");
    keeper.empty("Sample");

    // Whoever inherited it has still to reap it.
    eventually(|| (!is_running(escaped)).then_some(()));
    assert!(!cgroup.path().exists());
    keeper.send(&Request::End {});
    assert!(keeper.ended().success());
    assert!(!cgroup.path().parent().unwrap().exists());
}

#[test]
fn a_cgroup_that_cannot_be_watched_is_looked_at_all_the_same() {
    let mut keeper = Keeper::start();
    let identity = keeper.spawn("Sample", &format!("{ANONYMOUS}; echo ready; exec sleep 1000"));
    if identity.cgroup.is_none() {
        return skip("cgroups cannot be used here");
    }
    let escaped: i32 =
        eventually(|| keeper.log("Sample").lines().find_map(|line| line.parse().ok()));
    keeper.process.kill().unwrap();
    keeper.process.wait().unwrap();
    // In a namespace of its own, where nothing can be watched.
    let plain = keeper_command(keeper.home.path());
    let mut unshare = Command::new("unshare");
    unshare.args(["--user", "--map-root-user"]);
    if !unshare.args(["true"]).status().is_ok_and(|it| it.success()) {
        return skip("no namespace of users can be made here");
    }
    keeper.process = Command::new("unshare")
        .args(["--user", "--map-root-user", "sh", "-c"])
        .args(["echo 0 > /proc/sys/user/max_inotify_watches && exec \"$0\" \"$@\""])
        .arg(plain.get_program())
        .args(plain.get_args())
        .spawn()
        .unwrap();
    keeper.connect();
    let log = identity.log.clone().unwrap();
    keeper.send(&Request::Adopt(Adopt { identity, log, let_go: false, carried: None }));
    keeper.signal("Sample", 9, Scope::Leader);
    keeper.exit("Sample");
    assert!(is_running(escaped));
    let escaped = rustix::process::Pid::from_raw(escaped).unwrap();
    rustix::process::kill_process(escaped, Signal::KILL).unwrap();
    keeper.empty("Sample");
}

#[test]
fn a_spawn_that_failed_leaves_no_cgroup_behind() {
    let mut keeper = Keeper::start();
    let Some(cgroup) = keeper.spawn("Sample", "sleep 1000").cgroup else {
        return skip("cgroups cannot be used here");
    };
    // Its identity cannot be stored, when there is a process already.
    fs::create_dir(keeper.runtime().join("running/Failing.json")).unwrap();
    let order = keeper.order("Failing", "true");
    assert_eq!(keeper.failure(order), (Step::Identity, libc::EISDIR));
    let is_left = || {
        let all = fs::read_dir(cgroup.path().parent().unwrap()).unwrap().flatten();
        all.filter(|it| it.file_name().to_string_lossy().starts_with("Failing")).count() > 0
    };
    eventually(|| (!is_left()).then_some(()));
    assert!(cgroup.path().exists());
}

fn skip(why: &str) {
    eprintln!("skipped: {why}");
}

#[test]
fn a_tree_that_grows_while_it_is_killed_is_killed() {
    let script = "breed() { trap breed TERM; sleep 1000 & sleep 1000 & wait; breed; }
        i=0; while [ $i -lt 30 ]; do breed & i=$((i+1)); done; echo ready; wait; wait";
    for mut keeper in Keeper::start_both() {
        keeper.spawn("Sample", script);
        keeper.until_logged("Sample", "ready");
        keeper.signal("Sample", libc::SIGTERM, Scope::Group);
        keeper.kill("Sample");
        keeper.empty("Sample");
        assert!(descendants(keeper.process.id()).is_empty());
    }
}

#[test]
fn short_lived_grandchildren_leave_no_zombies() {
    let mut keeper = Keeper::start();
    let script = "i=0; while [ $i -lt 200 ]; do (sleep 0.01 &); i=$((i+1)); done; echo ready
        sleep 1000";
    keeper.spawn("Sample", script);
    keeper.until_logged("Sample", "ready");
    // The shell and its last `sleep`.
    eventually(|| (descendants(keeper.process.id()).len() == 2).then_some(()));
}

#[test]
fn both_streams_are_in_the_log_byte_for_byte() {
    let mut keeper = Keeper::start();
    let mut order = keeper
        .order("Sample", "head -c 3000000 /dev/urandom | tee out & seq 100000 | tee err >&2; wait");
    order.log.max_bytes = 100 << 20;
    keeper.spawn_as(order);
    keeper.empty("Sample");
    let [out, err] = streams(&keeper.log_dir("Sample"), "current", "current.index");
    let printed = |name: &str| fs::read(keeper.home.path().join(name)).unwrap();
    assert!(out == printed("out") && err == printed("err"));
}

#[test]
fn rotation_keeps_every_line_whole_and_in_order() {
    let mut keeper = Keeper::start();
    let mut order = keeper.order("Sample", "seq 300000");
    order.log = LogSettings { max_bytes: 1 << 20, keep: 100, ..order.log };
    keeper.spawn_as(order);
    keeper.empty("Sample");
    let dir = keeper.log_dir("Sample");
    let names =
        fs::read_dir(&dir).unwrap().map(|it| it.unwrap().file_name().into_string().unwrap());
    let mut stems: Vec<_> =
        names.filter_map(|name| name.strip_suffix(".log").map(str::to_owned)).collect();
    stems.sort_by_key(|stem| {
        let (ms, number) = stem[1..].split_once('-').unwrap();
        (ms.parse::<u64>().unwrap(), number.parse::<u32>().unwrap())
    });
    assert_eq!(stems.len(), 1);
    let mut text = Vec::new();
    for stem in &stems {
        let [out, _] = streams(&dir, &format!("{stem}.log"), &format!("{stem}.index"));
        // A line that is open at the limit is ended.
        assert!(out.len() < (1 << 20) + 8 && out.ends_with(b"\n"));
        text.extend(out);
    }
    text.extend(streams(&dir, "current", "current.index")[0].iter());
    let expected: String = (1..=300_000).map(|number| format!("{number}\n")).collect();
    assert!(text == expected.as_bytes());
}

#[test]
fn a_torn_log_is_continued() {
    let mut keeper = Keeper::start();
    let dir = keeper.log_dir("Sample");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("current"), "whole\ntor").unwrap();
    fs::write(dir.join("current.index"), "torn").unwrap();
    let order = keeper.order("Sample", "echo next");
    assert_eq!(keeper.output(order), "whole\ntor\nnext\n");
    assert_eq!(streams(&dir, "current", "current.index")[0], b"whole\ntor\nnext\n");
}

/// A limit on the size of files is as good as a full disk, and can be lifted.
#[test]
fn a_full_disk_stops_one_child_only_and_loses_nothing() {
    let mut keeper = Keeper::start_after("ulimit -S -f 8");
    keeper.spawn("Loud", "seq 100000 & seq 200000 300000 >&2; wait");
    keeper.spawn("Quiet", "echo fine");
    keeper.empty("Quiet");
    assert_eq!(keeper.log("Quiet"), "fine\n");
    let pid = rustix::process::Pid::from_child(&keeper.process);
    let free = rustix::process::Rlimit { current: None, maximum: None };
    rustix::process::prlimit(Some(pid), rustix::process::Resource::Fsize, free).unwrap();
    keeper.empty("Loud");
    let expected =
        [1..=100_000, 200_000..=300_000].map(|range| range.map(|it| format!("{it}\n")).collect());
    let printed = streams(&keeper.log_dir("Loud"), "current", "current.index");
    assert!(printed.map(|text| String::from_utf8(text).unwrap()) == expected as [String; 2]);
}

#[test]
fn a_directory_has_one_keeper_and_a_dead_one_is_replaced() {
    let mut keeper = Keeper::start();
    let second = keeper_command(keeper.home.path()).stderr(Stdio::piped()).output().unwrap();
    let told = String::from_utf8(second.stderr).unwrap();
    assert_eq!(told, format!("dae: a keeper already runs in `{}`\n", keeper.runtime().display()));
    assert_eq!(second.status.code(), Some(1));

    keeper.process.kill().unwrap();
    keeper.process.wait().unwrap();
    keeper.process = keeper_command(keeper.home.path()).spawn().unwrap();
    keeper.connect();
    assert_eq!(keeper.list(), []);
    let mode = fs::metadata(keeper.runtime().join(".keeper.sock")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_keeper_ends_only_when_nobody_is_left() {
    let mut keeper = Keeper::start();
    keeper.spawn("Sample", "sleep 1000");
    let pid = rustix::process::Pid::from_child(&keeper.process);
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        rustix::process::kill_process(pid, signal).unwrap();
    }
    keeper.send(&Request::End {});
    assert_eq!(keeper.refusal(), Refusal::Alive);
    keeper.kill("Sample");
    assert_eq!(keeper.exit("Sample"), Status::Signal(libc::SIGKILL));
    keeper.empty("Sample");
    keeper.send(&Request::End {});
    assert!(keeper.ended().success());
    assert!(!keeper.runtime().join(".keeper.sock").exists());
}
