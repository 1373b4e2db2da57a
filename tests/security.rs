//! What strangers can't do: other users of the host, hostile bytes, many connections; and who may
//! read our files.

use std::{
    collections::BTreeMap,
    env, fs,
    io::ErrorKind,
    os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use nix::unistd::geteuid;
use serde_json::json;

use crate::harness::{
    Dae, Netcat, binary, eventually, finish, memory_kib, open_to_all, pid, soft_nofile,
};

/// `command` as the user `nobody`, if we may become that one.
fn as_nobody(program: &Path, args: &[&str]) -> Option<Output> {
    if !geteuid().is_root() {
        return None;
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(program).args(args);
    command.current_dir("/").stdin(Stdio::null());
    Some(finish(command))
}

#[test]
fn m_14_1_another_user_may_look_and_nothing_else() {
    let dae = Dae::start();
    dae.install("Sample", &json!({ "program": binary("sample") }));
    let (port, home) = (dae.port(), dae.home().to_owned());
    // Where that user may read the program.
    let folder = tempfile::Builder::new().prefix("dae-nobody-").tempdir_in("/tmp").unwrap();
    let copy = folder.path().join("dae");
    fs::copy(binary("dae"), &copy).unwrap();
    open_to_all(folder.path());

    let talk = format!("printf 'list []\\nstop [\"Sample\"]\\n' | nc -N 127.0.0.1 {port}");
    let Some(said) = as_nobody(Path::new("/bin/sh"), &["-c", &talk]) else {
        println!("skipped: M-14.1 needs root and setpriv, to be another user");
        return;
    };
    let said = String::from_utf8(said.stdout).unwrap();
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[0].starts_with("daemons [[") && lines[0].contains("\"Sample\""), "{said}");
    assert!(lines[1].starts_with("err [{\"code\":\"auth-required\""), "{said}");

    let stop = as_nobody(&copy, &["--home", home.to_str().unwrap(), "stop", "Sample"]).unwrap();
    assert_eq!(stop.status.code(), Some(6), "{stop:?}");
    for file in ["state/token", "data/registry.toml", "state/manager.lock", "run"] {
        let file = home.join(file);
        assert!(file.exists(), "{}", file.display());
        let read = as_nobody(Path::new("/bin/cat"), &[file.to_str().unwrap()]).unwrap();
        assert!(!read.status.success() && read.stdout.is_empty(), "{}", file.display());
    }
    let socket = format!("echo 'list []' | nc -N -U {}", home.join("run/Dae.sock").display());
    let reached = as_nobody(Path::new("/bin/sh"), &["-c", &socket]).unwrap();
    assert!(reached.stdout.is_empty(), "{reached:?}");
    assert_eq!(dae.listed("Sample").unwrap()["state"], "up");
}

/// How many lines are sent. 10^7 are meant, by `DAE_TEST_LINES`; every day there is no time for so
/// many.
fn lines_to_send() -> usize {
    env::var("DAE_TEST_LINES").ok().map_or(100_000, |it| it.parse().unwrap())
}

#[test]
fn m_14_2_no_line_however_mutated_ends_a_daemon_or_makes_it_grow() {
    let dae = Dae::start();
    let sample = dae.install("Sample", &json!({ "program": binary("sample") }));
    let sample_port = sample["port"].as_u64().unwrap() as u16;
    let processes = [dae.pid(), pid(&sample)];
    let mut dice = Dice(0x9E37_79B9_7F4A_7C15);
    let connections = lines_to_send().div_ceil(2 * LINES);
    let mut settled = [0; 2];
    for number in 0..connections {
        for port in [dae.port(), sample_port] {
            attack(port, &mut dice);
        }
        if number == connections / 5 {
            settled = processes.map(memory_kib);
        }
    }
    let grown = [0, 1].map(|it| memory_kib(processes[it]).saturating_sub(settled[it]));
    println!("M-14.2: {} lines, {grown:?} KiB more", 2 * connections * LINES);
    assert!(grown.iter().all(|&it| it < 16 << 10), "{grown:?} KiB");
    assert_eq!([dae.pid(), pid(&dae.listed("Sample").unwrap())], processes);
    assert_eq!(files_with(dae.home(), "panicked"), Vec::<PathBuf>::new());
}

/// Lines of one connection.
const LINES: usize = 250;

/// What is sent before it is mutated. `auth` has no argument, or each would take a second.
const SEEDS: [&str; 16] = [
    "dae []",
    "options",
    "whois []",
    "ping#a.b [[1,{\"a\":\"\\u00e9\\\\\",\"b\":[null,true,-1.5e300]}]]",
    "hello [{\"proto\":1}]",
    "help [\"ping\"]",
    "auth []",
    "cancel [\"s\"]",
    "list [{\"all\":true}]",
    "find [\"Sample\",1]",
    "watch#s [\"Sam*\"]",
    "ready [\"00000000000000000000000000000000\",4711]",
    "install [\"Evil\",{\"program\":\"/bin/sh\"}]",
    "set [\"é€😀\",{\"x\":[1,\"]\"]}]",
    "get [\"k\"]",
    "all []",
];

/// One connection full of lines, whole and broken, split and glued.
fn attack(port: u16, dice: &mut Dice) {
    let mut bytes = Vec::new();
    for _ in 0..LINES {
        let mut line = SEEDS[dice.below(SEEDS.len())].as_bytes().to_vec();
        for _ in 0..dice.below(5) {
            dice.mutate(&mut line);
        }
        bytes.extend(line);
        if dice.below(5) > 0 {
            bytes.push(b'\n');
        }
    }
    bytes.extend(b"\nreset []\n");
    let mut netcat = Netcat::tcp(port);
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        let (piece, more) = rest.split_at(1 + dice.below(rest.len().min(4000)));
        rest = more;
        // A connection is closed after sixteen bad lines.
        if netcat.send(piece).is_err() {
            break;
        }
    }
    match netcat.half_close().and_then(|()| netcat.read_to_end()) {
        Ok(replies) => assert!(replies.is_empty() || replies.ends_with('\n')),
        Err(error) => assert!(!matches!(error.kind(), ErrorKind::WouldBlock), "{error}"),
    }
}

struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn mutate(&mut self, line: &mut Vec<u8>) {
        let at = self.below(line.len() + 1);
        match self.below(4) {
            0 if at < line.len() => line[at] = self.next() as u8,
            1 if at < line.len() => drop(line.remove(at)),
            2 => line.insert(at, b"[]{}\"\\#, \t\r\n\x16\xff"[self.below(14)]),
            _ => drop(line.splice(at..at, vec![b'['; self.below(100)])),
        }
    }
}

#[test]
fn m_14_3_no_file_is_ever_open_to_others() {
    let dae = Dae::at_rest();
    let trace = dae.home().with_extension("strace");
    let is_traced = traced(&dae, &trace);
    if !is_traced {
        println!(
            "skipped: M-14.3 by strace, which cannot be had here; modes are read from the file system"
        );
        dae.succeed(["up"]);
    }
    eventually("the manager answers", || dae.run(["list"]).status.success().then_some(()));
    let sample = binary("sample");
    dae.succeed(["install", "Sample", sample.to_str().unwrap()]);
    for command in [
        &["restart", "Sample"][..],
        &["edit", "Sample", "--grace", "1s"],
        &["call", "Sample", "set", "k", "1"],
        &["--timeout", "50s", "scan"],
        &["status"],
        &["logs", "Sample"],
        &["events"],
        &["stop", "Sample"],
        &["start", "Sample"],
    ] {
        dae.succeed(command);
    }
    let mut seen = BTreeMap::new();
    modes(dae.home(), &mut seen);
    dae.succeed(["uninstall", "Sample"]);
    dae.succeed(["down"]);
    modes(dae.home(), &mut seen);
    // The home itself is the test's.
    seen.remove(dae.home());
    assert!(seen.len() > 15, "{seen:?}");
    assert!(seen.keys().any(|it| it.ends_with("Dae.sock")), "{seen:?}");
    let open: Vec<_> = seen.iter().filter(|it| it.1 & 0o077 != 0).collect();
    assert!(open.is_empty(), "open to others: {open:?}");
    if is_traced {
        let text = eventually("the trace is complete", || {
            fs::read_to_string(&trace).ok().filter(|it| it.contains("+++ exited"))
        });
        fs::remove_file(&trace).unwrap();
        check_trace(&text, dae.home().to_str().unwrap());
    }
}

/// Starts a manager under strace and with a umask that forbids nothing; false where that does not
/// work.
fn traced(dae: &Dae, trace: &Path) -> bool {
    let works =
        Command::new("strace").args(["-o", "/dev/null", "true"]).stderr(Stdio::null()).status();
    if !works.is_ok_and(|it| it.success()) {
        return false;
    }
    let calls =
        "trace=open,openat,creat,mkdir,mkdirat,mknod,mknodat,bind,chmod,fchmod,fchmodat,umask";
    let script = "umask 0; exec \"$@\" up --foreground >/dev/null 2>&1 </dev/null &";
    let mut shell = dae.command(["--version"]);
    let program = shell.get_program().to_owned();
    shell = Command::new("sh");
    shell
        .args(["-c", script, "sh", "strace", "-f", "--seccomp-bpf", "-s", "300", "-e", calls, "-o"])
        .arg(trace);
    shell.arg(program).env("DAE_HOME", dae.home()).stdin(Stdio::null());
    shell.status().unwrap().success()
}

/// Each file is made closed, and none is opened later.
fn check_trace(text: &str, home: &str) {
    let ours = |line: &&str| line.contains(home) && !line.contains("= -1 ");
    let mut made = 0;
    for line in text.lines().filter(ours) {
        if let Some(mode) = mode_of(line) {
            made += 1;
            assert_eq!(mode & 0o077, 0, "open to others: {line}");
        }
    }
    assert!(made > 15, "only {made} calls that make a file were seen");
    // A socket gets its mode before it has a file.
    let lines: Vec<&str> = text.lines().collect();
    let binds = |line: &&str| line.contains("bind(") && line.contains("AF_UNIX") && ours(line);
    let mut bound = 0;
    for (at, line) in lines.iter().enumerate().filter(|it| binds(it.1)) {
        let (pid, _) = line.split_once(' ').unwrap();
        // By a duplicate of its descriptor, so the number differs.
        // A call that another thread's interrupts has two lines.
        let mut before = lines[..at].iter().rev().filter(|it| it.starts_with(pid)).take(2);
        let is_closed = |it: &str| it.contains("fchmod(") && it.contains(", 0600");
        assert!(before.any(|it| is_closed(it)), "made open: {line}");
        bound += 1;
    }
    assert!(bound >= 2, "the sockets of manager and keeper were not seen");
}

/// The mode that a call makes or changes a file to.
fn mode_of(line: &str) -> Option<u32> {
    let makes = ["mkdir(", "mkdirat(", "creat(", "mknod", "chmod(", "chmodat("];
    let is_making = line.contains("O_CREAT") || makes.iter().any(|it| line.contains(it));
    let arguments = line.rsplit_once(')')?.0;
    let mode = arguments.rsplit_once(", ")?.1.trim_start_matches("S_IFSOCK|");
    is_making.then(|| u32::from_str_radix(mode, 8).ok()).flatten()
}

/// The modes of all that is in a directory, and of itself.
fn modes(path: &Path, seen: &mut BTreeMap<PathBuf, u32>) {
    // Something may just be gone.
    let Ok(it) = fs::symlink_metadata(path) else { return };
    let kind = it.file_type();
    if kind.is_dir() || kind.is_file() || kind.is_socket() {
        seen.insert(path.to_owned(), it.mode() & 0o7777);
    }
    if kind.is_dir() {
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            modes(&entry.path(), seen);
        }
    }
}

#[test]
fn guests_that_fill_the_house_do_not_keep_the_owner_from_installing() {
    let dae = Dae::start_by("ulimit -n 256; exec \"$0\" up", &[]);
    let port = dae.port();
    let crowd: Vec<Netcat> = (0..400).map(|_| Netcat::tcp(port)).collect();
    let listed = dae.install("Sample", &json!({ "program": binary("sample") }));
    assert_eq!(listed["state"], "up");
    dae.succeed(["restart", "Sample"]);
    assert_eq!(soft_nofile(dae.pid()), "256");
    drop(crowd);
}

#[test]
fn a_program_that_others_can_change_is_warned_of() {
    let dae = Dae::start();
    let folder = dae.home().join("programs");
    fs::create_dir(&folder).unwrap();
    let program = folder.join("sample");
    fs::copy(binary("sample"), &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o777)).unwrap();
    let installed = dae.run(["install", "Sample", program.to_str().unwrap()]);
    assert!(installed.status.success(), "{installed:?}");
    let said = String::from_utf8_lossy(&installed.stderr);
    assert!(said.contains("can be changed by other users"), "{said}");
    let doctor = dae.run(["doctor"]);
    let said = String::from_utf8_lossy(&doctor.stdout);
    assert!(said.contains("can be changed by other users"), "{said}");
    assert_eq!(doctor.status.code(), Some(1));

    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let doctor = dae.run(["doctor"]);
    let said = String::from_utf8_lossy(&doctor.stdout);
    assert!(!said.contains("can be changed by other users"), "{said}");
}

/// The files below `folder` in which `text` stands.
fn files_with(folder: &Path, text: &str) -> Vec<PathBuf> {
    let mut seen = BTreeMap::new();
    modes(folder, &mut seen);
    let has = |path: &PathBuf| {
        fs::read(path).is_ok_and(|it| it.windows(text.len()).any(|it| it == text.as_bytes()))
    };
    seen.into_keys().filter(has).collect()
}
