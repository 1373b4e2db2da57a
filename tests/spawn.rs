//! What a child is born with, what hinders its birth, and how it is known to be ready.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    net::TcpListener,
    os::unix::{ffi::OsStrExt, fs::PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use nix::{sys::stat::Mode, unistd::mkfifo};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::harness::{
    Dae, IDLE, Netcat, binary, environment, group_and_session, of, pid, processes, program, shell,
    soft_nofile, status,
};

/// A failing `install` is an answer, not a wait. 50 ms are meant; a busy machine has more.
const QUICK: Duration = Duration::from_secs(5);

#[test]
fn m_6_1_a_child_sees_the_documented_environment_and_no_more() {
    let base =
        [("LANG", "C.UTF-8"), ("TZ", "UTC"), ("USER", "somebody"), ("XDG_DATA_HOME", "/tmp/none")];
    let more = base.map(|(key, value)| (key, OsStr::new(value)));
    let foreign = [("FOREIGN", "1".as_ref()), ("BYTES", OsStr::from_bytes(b"\xFF\xFE"))];
    let dae = Dae::start_by("exec \"$0\" up", &[&more[..], &foreign[..]].concat());

    // Not by a shell, which would add its own.
    let idle = dae.install("Idle-1", &sleep(&json!({})));

    let mut seen = environment(pid(&idle));
    for key in ["PATH", "HOME"] {
        assert_eq!(seen.remove(key), std::env::var(key).ok(), "{key}");
    }
    let secret = seen.remove("DAE_SECRET").unwrap();
    assert!(secret.len() == 32 && secret.bytes().all(|it| it.is_ascii_hexdigit()), "{secret}");
    let mut wanted = ours(&dae, "Idle-1", "IDLE_1");
    wanted.extend(base.map(|(key, value)| (key.to_owned(), value.to_owned())));
    assert_eq!(seen, wanted);
}

#[test]
fn m_6_1_a_file_and_the_definition_add_to_the_environment() {
    let dae = Dae::start();
    let file = dae.home().join("environment");
    fs::write(&file, "# what it needs\nCOLOUR=red\nexport SHAPE=\"round\"\nDAE_NAME=Nobody\n")
        .unwrap();
    let more =
        json!({ "env_file": file, "env": { "COLOUR": "blue" }, "clean_env": true, "port": 4711 });

    let idle = dae.install("Idle", &sleep(&more));

    let mut seen = environment(pid(&idle));
    seen.remove("DAE_SECRET").unwrap();
    let added = [("COLOUR", "blue"), ("SHAPE", "round"), ("DAE_IDLE_PORT", "4711")];
    let mut wanted = ours(&dae, "Idle", "IDLE");
    wanted.extend(added.map(|(key, value)| (key.to_owned(), value.to_owned())));
    assert_eq!(seen, wanted);

    fs::write(&file, "SHAPE=square\n").unwrap();
    dae.ask("restart", &json!(["Idle"])).unwrap();
    let again = environment(pid(&dae.listed("Idle").unwrap()));
    assert_eq!(again["SHAPE"], "square", "the file is read at each start");
}

#[test]
fn m_6_1_every_spawn_has_a_secret_of_its_own() {
    let dae = Dae::start();
    let secret = |listed: &Value| environment(pid(listed)).remove("DAE_SECRET").unwrap();
    let first = secret(&dae.install("Idle", &shell(IDLE, &json!({}))));
    let other = secret(&dae.install("Other", &shell(IDLE, &json!({}))));
    dae.ask("restart", &json!(["Idle"])).unwrap();
    let second = secret(&dae.listed("Idle").unwrap());

    assert!(first != other && first != second && second != other);
}

#[test]
fn m_6_1_a_child_inherits_nothing_from_who_started_the_manager() {
    let script = r#"
        umask 077
        ulimit -Sn 333
        trap "" INT USR1 PIPE
        exec 7</dev/null 8>"$DAE_HOME/eight"
        exec nohup "$0" up
    "#;
    let dae = Dae::start_by(script, &[]);
    let place = dae.home().join("place");
    fs::create_dir(&place).unwrap();

    let idle = dae.install("Idle", &shell(IDLE, &json!({})));
    let placed = dae.install("Placed", &shell(IDLE, &json!({ "cwd": place })));

    let pid_of_idle = pid(&idle);
    let says = |key: &str| status(pid_of_idle, key).unwrap();
    assert_eq!(descriptors(pid_of_idle), ["0", "1", "2"]);
    assert_eq!(link(pid_of_idle, "fd/0"), Path::new("/dev/null"));
    assert_eq!(u64::from_str_radix(&says("SigIgn"), 16), Ok(0), "ignored signals");
    assert_eq!(u64::from_str_radix(&says("SigBlk"), 16), Ok(0), "blocked signals");
    assert_eq!(says("Umask"), "0022");
    assert_eq!(group_and_session(pid_of_idle), Some((pid_of_idle, pid_of_idle)));
    assert_eq!(soft_nofile(pid_of_idle), "333");
    assert_eq!(link(pid_of_idle, "cwd"), dae.home().join("data/daemons/Idle"));
    assert_eq!(link(pid(&placed), "cwd"), place);
}

#[test]
fn m_6_2_what_cannot_run_is_refused_at_once_and_not_installed() {
    let dae = Dae::start();
    let file = |name: &str, text: &str, mode| {
        let path = dae.home().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    };
    let cases = [
        (dae.home().join("missing"), "there is no"),
        (dae.home().to_owned(), "is a directory"),
        (file("plain", "#!/bin/sh\n", 0o644), "is not executable"),
        (file("odd", "#!/nonexistent\n", 0o755), "the interpreter `/nonexistent`"),
        (file("bare", "echo\n", 0o755), "without an interpreter line"),
    ];
    for (path, why) in cases {
        let failure = quickly(&dae, "install", &json!(["Broken", { "program": path }]));
        assert!(message(&failure).contains(why), "{failure}");
        assert_eq!(dae.listed("Broken"), None);
    }
}

#[test]
fn m_6_2_a_step_that_fails_is_named_and_not_tried_again() {
    let dae = Dae::start();
    let missing = dae.home().join("missing");
    let cases = [
        ("Cwd", json!({ "cwd": missing }), "cannot enter the working directory: No such file"),
        ("File", json!({ "env_file": missing }), "/missing`: No such file"),
        ("NoDir", json!({ "cwd": binary("sample") }), "cannot enter the working directory: Not a"),
    ];
    for (name, more, why) in cases {
        let failure = quickly(&dae, "install", &json!([name, shell(IDLE, &more)]));
        assert!(message(&failure).contains(why), "{failure}");
        assert_eq!(failure["code"], "spawn-failed");
        failed_once(&dae, name);
    }
}

#[test]
fn a_file_of_variables_that_cannot_be_taken_holds_nobody_up() {
    let dae = Dae::start();
    let sample = pid(&dae.install("Sample", &json!({ "program": binary("sample") })));
    let file = |name: &str| dae.home().join(name);
    mkfifo(&file("pipe"), Mode::S_IRWXU).unwrap();
    fs::write(file("bytes"), b"A=\xFF\n").unwrap();
    fs::write(file("long"), format!("A={}\n", "x".repeat(5 << 20))).unwrap();
    let cases = [
        ("Pipe", Path::new("pipe"), "/pipe`: Invalid argument"),
        ("Zero", Path::new("/dev/zero"), "`/dev/zero`: Invalid argument"),
        ("Bytes", Path::new("bytes"), "/bytes` is not UTF-8"),
        ("Long", Path::new("long"), "/long`: File too large"),
    ];
    for (name, given, why) in cases {
        let definition = shell(IDLE, &json!({ "env_file": dae.home().join(given) }));
        let failure = quickly(&dae, "install", &json!([name, definition]));
        assert!(message(&failure).contains(why), "{failure}");
    }

    let variable = "\u{1}".repeat(100_000);
    let env = |number| json!({ format!("V{number}"): variable });
    let more = json!({ "no_start": true, "env": env(0) });
    dae.ask("install", &json!(["Large", shell(IDLE, &more)])).unwrap();
    for number in 1..10 {
        dae.ask("edit", &json!(["Large", { "env": env(number) }])).unwrap();
    }
    let failure = quickly(&dae, "start", &json!(["Large"]));
    assert!(message(&failure).contains("Argument list too long"), "{failure}");

    assert_eq!(pid(&dae.listed("Sample").unwrap()), sample, "others are not touched");
}

#[test]
fn m_6_2_a_program_that_was_good_once_fails_by_its_step() {
    let dae = Dae::start();
    let path = dae.home().join("program");
    let write = |text: &str, mode| {
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let damages: [(&str, &dyn Fn(), &str); 5] = [
        ("Text", &|| write("echo\n", 0o755), "Exec format error"),
        ("Odd", &|| write("#!/nonexistent\n", 0o755), "No such file"),
        ("Plain", &|| write("#!/bin/sh\n", 0o644), "Permission denied"),
        ("Missing", &|| fs::remove_file(&path).unwrap(), "No such file"),
        ("Directory", &|| replace_by_directory(&path), "Permission denied"),
    ];
    for (name, damage, why) in damages {
        write("#!/bin/sh\n", 0o755);
        let definition = json!({ "program": path, "no_start": true });
        dae.ask("install", &json!([name, definition])).unwrap();
        damage();
        let failure = quickly(&dae, "start", &json!([name]));
        assert!(message(&failure).contains("cannot run the program"), "{failure}");
        assert!(message(&failure).contains(why), "{failure}");
        failed_once(&dae, name);
    }
}

#[test]
fn m_6_3_a_stranger_on_the_port_is_refused_and_named() {
    let dae = Dae::start();
    let mut installing = dae.unix();
    let definition =
        shell(IDLE, &json!({ "ready": "dae", "start_timeout": "1s", "restart": "never" }));
    installing.send(format!("install {}\n", json!(["Victim", definition]))).unwrap();
    let victim = dae.eventually("Victim", |it| it["state"] == "starting" && it["pid"].is_u64());
    let secret = environment(pid(&victim)).remove("DAE_SECRET").unwrap();
    let stranger = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = stranger.local_addr().unwrap().port();

    let (reply, args) = Netcat::tcp(dae.port()).call("ready", &json!([secret, port]));

    let own = std::process::id();
    assert_eq!((reply.as_str(), &args[0]["code"]), ("err", &json!("denied")));
    let what = format!("port {port} belongs to pid {own}, not to `Victim`");
    assert_eq!(message(&args[0]), what);
    assert_eq!(args[0]["owner"], own);
    let answer = installing.read_line().unwrap();
    assert!(answer.starts_with("err ") && answer.contains(&what), "{answer}");
    assert!(!ways(&dae, "Victim").contains(&"up".into()));
}

#[test]
fn who_says_again_and_again_that_it_listens_is_not_looked_at_each_time() {
    let dae = Dae::start();
    let definition = shell(IDLE, &json!({ "ready": "dae", "start_timeout": "20s" }));
    let mut installing = dae.unix();
    installing.send(format!("install {}\n", json!(["Liar", definition]))).unwrap();
    let liar = dae.eventually("Liar", |it| it["state"] == "starting" && it["pid"].is_u64());
    let secret = environment(pid(&liar)).remove("DAE_SECRET").unwrap();
    let stranger = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = stranger.local_addr().unwrap().port();
    let ready = format!("ready {}\n", json!([secret, port]));

    let mut guest = Netcat::tcp(dae.port());
    guest.send(ready.repeat(200)).unwrap();

    let answers: Vec<String> = (0..200).map(|_| guest.read_line().unwrap()).collect();
    let of = |code: &str| answers.iter().filter(|it| it.contains(code)).count();
    let (denied, busy) = (of("\"denied\""), of("\"busy\""));
    println!("{denied} denied, {busy} busy");
    assert_eq!(denied + busy, 200, "{answers:?}");
    assert!(answers[0].contains("\"denied\"") && busy > denied, "{denied} denied, {busy} busy");
}

#[test]
fn m_6_3_a_child_with_another_secret_is_never_up() {
    let dae = Dae::start();
    let more = json!({
        "args": ["Impostor", "0123456789abcdef0123456789abcdef"],
        "start_timeout": "2s",
        "restart": "never",
    });

    let failure =
        dae.ask("install", &json!(["Impostor", program("impostor.js", &more)])).unwrap_err();

    let message = message(&failure);
    assert!(message.contains("did not answer `dae` within 2 s"), "{failure}");
    assert!(message.contains("answers with another secret"), "{failure}");
    assert_eq!(ways(&dae, "Impostor"), ["pending", "starting", "stopping", "failed"]);
}

#[test]
fn m_6_3_a_child_with_another_name_is_up_with_a_note() {
    let dae = Dae::start();
    let up = dae.install("Sample", &program("impostor.js", &json!({ "args": ["Example"] })));
    assert_eq!((&up["state"], &up["note"]), (&json!("up"), &json!("calls itself `Example`")));
}

#[test]
fn m_6_3_who_does_not_know_a_secret_is_denied() {
    let dae = Dae::start();
    dae.install("Idle", &shell(IDLE, &json!({})));
    let secret = "0123456789abcdef0123456789abcdef";
    let (reply, args) = Netcat::tcp(dae.port()).call("ready", &json!([secret, dae.port()]));
    assert_eq!((reply.as_str(), &args[0]["code"]), ("err", &json!("denied")));
    assert_eq!(message(&args[0]), "no spawn of this manager has this secret");
}

#[test]
fn m_6_4_nobody_but_the_child_is_shown_its_secret() {
    let dae = Dae::start();
    dae.install("Sample", &json!({ "program": binary("sample") }));
    let impostor =
        json!({ "args": ["Nobody", "stolen"], "start_timeout": "1s", "restart": "never" });
    let mut installing = dae.unix();
    let packet = json!(["Impostor", program("impostor.js", &impostor)]);
    installing.send(format!("install {packet}\n")).unwrap();
    let starting = dae.eventually("Impostor", |it| it["state"] == "starting" && it["pid"].is_u64());
    let secret = |listed: &Value| environment(pid(listed)).remove("DAE_SECRET").unwrap();
    let mut secrets = vec![secret(&starting), secret(&dae.listed("Sample").unwrap())];
    let (_, args) = Netcat::tcp(dae.port()).call("ready", &json!([secrets[0], 1]));
    let mut said = args.to_string();
    said += &installing.read_line().unwrap();
    dae.ask("restart", &json!(["Sample"])).unwrap();
    secrets.push(secret(&dae.listed("Sample").unwrap()));

    for (command, args) in [
        ("list", json!([{ "all": true, "wide": true }])),
        ("find", json!(["Sample"])),
        ("watch", json!([])),
        ("status", json!(["Sample"])),
        ("status", json!(["Impostor"])),
        ("status", json!([])),
        ("logs", json!(["Sample"])),
        ("events", json!([])),
        ("scan", json!([])),
        ("doctor", json!([])),
    ] {
        said += &format!("{:?}", dae.unix().call(command, &args));
    }
    for process in processes() {
        said += &String::from_utf8_lossy(&fs::read(of(process, "cmdline")).unwrap_or_default());
    }
    // The identity of a child, by which the next manager knows it, is for the manager alone.
    let written =
        files(dae.home()).into_iter().filter(|it| !it.starts_with(dae.home().join("run/running")));
    for file in written {
        said += &String::from_utf8_lossy(&fs::read(file).unwrap_or_default());
    }
    for secret in secrets {
        assert_eq!(said.matches(&secret).count(), 0);
    }
}

#[test]
fn a_child_that_listens_is_ready_if_that_is_enough() {
    let dae = Dae::start();
    // It is asked nothing: `nc` would answer nothing.
    let definition = shell("exec nc -lk 127.0.0.1 0", &json!({ "ready": "port" }));
    let up = dae.install("Port", &definition);
    assert_eq!(up["state"], "up");
    assert!(up["port"].as_u64().is_some_and(|port| port > 0), "{up}");
}

#[test]
fn a_child_says_that_it_is_ready_by_its_notify_socket() {
    let dae = Dae::start();
    let script = r#"printf 'STATUS=so\nREADY=1\n' | nc -uU -w1 "$NOTIFY_SOCKET"; exec sleep 1000"#;
    let definition = shell(script, &json!({ "ready": "notify", "start_timeout": "4s" }));
    let up = dae.install("Notify", &definition);
    assert_eq!(up["state"], "up");

    dae.ask("restart", &json!(["Notify"])).unwrap();
    assert_ne!(pid(&dae.listed("Notify").unwrap()), pid(&up));
}

#[test]
fn a_child_is_ready_after_its_delay_and_not_before() {
    let dae = Dae::start();
    let start = Instant::now();
    let up = dae.install("Slow", &shell(IDLE, &json!({ "ready": "delay=200ms" })));
    assert_eq!(up["state"], "up");
    assert!(start.elapsed() >= Duration::from_millis(200));
}

#[test]
fn a_child_that_listens_on_nothing_is_too_late() {
    let dae = Dae::start();
    let more = json!({ "ready": "dae", "start_timeout": "300ms", "restart": "never" });
    let failure = dae.ask("install", &json!(["Silent", shell(IDLE, &more)])).unwrap_err();
    let why = "did not answer `dae` within 0.3 s; listens on nothing";
    assert!(message(&failure).contains(why), "{failure}");
    assert_eq!(failure["code"], "not-ready");
    assert_eq!(ways(&dae, "Silent"), ["pending", "starting", "stopping", "failed"]);
}

/// A child without a shell.
fn sleep(more: &Value) -> Value {
    let mut definition = json!({ "program": "/bin/sleep", "args": ["1000"], "ready": "none" });
    definition.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    definition
}

/// What the manager itself says to every child, but for the secret.
fn ours(dae: &Dae, name: &str, variable: &str) -> BTreeMap<String, String> {
    let path = |below: &str| dae.home().join(below).to_str().unwrap().to_owned();
    let data = path(&format!("data/daemons/{name}"));
    [
        ("DAE", "true".to_owned()),
        ("DAE_PID", dae.pid().to_string()),
        ("DAE_PORT", dae.port().to_string()),
        ("DAE_NAME", name.to_owned()),
        ("DAE_HOST", "127.0.0.1".to_owned()),
        ("DAE_TOKEN_FILE", path("state/token")),
        ("DAE_DATA", data.clone()),
        (&format!("DAE_{variable}_DATA"), data),
        ("DAE_SOCKET", path(&format!("run/{name}.sock"))),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value))
    .collect()
}

/// The failure that `command` must have, at once.
fn quickly(dae: &Dae, command: &str, args: &Value) -> Value {
    let start = Instant::now();
    let failure = dae.ask(command, args).unwrap_err();
    let took = start.elapsed();
    eprintln!("{command} {} failed within {took:?}", args[0]);
    assert!(took < QUICK, "{took:?}: {failure}");
    failure
}

/// Asserts that `name` was tried to start exactly once, and waits for nothing.
fn failed_once(dae: &Dae, name: &str) {
    assert_eq!(dae.listed(name).unwrap()["state"], "failed");
    assert_eq!(ways(dae, name), ["pending", "starting", "failed"]);
}

fn replace_by_directory(path: &Path) {
    fs::remove_file(path).unwrap();
    fs::create_dir(path).unwrap();
}

/// The states that `name` has come into, oldest first.
fn ways(dae: &Dae, name: &str) -> Vec<String> {
    let status = dae.ask("status", &json!([name])).unwrap();
    let history = status["history"].as_array().unwrap();
    history.iter().map(|it| it["to"].as_str().unwrap().to_owned()).collect()
}

fn message(failure: &Value) -> &str {
    failure["message"].as_str().unwrap()
}

fn descriptors(pid: u32) -> Vec<String> {
    let mut all: Vec<String> = fs::read_dir(of(pid, "fd"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    all.sort();
    all
}

fn link(pid: u32, file: &str) -> PathBuf {
    fs::read_link(of(pid, file)).unwrap()
}

/// Every file below `directory`.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .flat_map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => files(&entry.path()),
            Ok(kind) if kind.is_file() => vec![entry.path()],
            _ => vec![],
        })
        .collect()
}
