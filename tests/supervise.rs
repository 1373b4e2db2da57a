//! What becomes of daemons when they, their manager or their keeper are killed, and what is left
//! when everything was told to end.

use std::{fs, process::Stdio};

use nix::sys::signal::Signal;
use serde_json::json;

use crate::harness::{
    Dae, IDLE, binary, children, eventually, is_running, kill, listening_ports, living, of, pid,
    shell, tell,
};

/// A child that prints, or ends with 37, when it is told to.
const TALKER: &str = r#"
    trap 'echo "while nobody managed"' USR1
    trap 'exit 37' USR2
    while :; do sleep 1000 & wait; kill $!; done
"#;

#[test]
fn a_stop_outlives_the_manager_that_was_asked_for_it() {
    const STUBBORN: &str = r#"
        trap 'echo asked' TERM
        trap 'kill $!; exit 3' USR2
        echo ready
        while :; do sleep 1000 & wait; kill $!; done
    "#;
    let dae = Dae::start();
    let before = pid(&dae.install("Sample", &shell(STUBBORN, &json!({ "grace": "1h" }))));
    let log = dae.home().join("state/logs/Sample/current");
    let says = |what: &str| {
        eventually(what, || fs::read_to_string(&log).ok()?.contains(what).then_some(()));
    };
    says("ready");
    let mut guest = dae.unix();
    guest.send("stop [\"Sample\"]\n").unwrap();
    says("asked");

    dae.kill_manager();
    dae.succeed(["up"]);

    let stopping = dae.listed("Sample").unwrap();
    assert_eq!((&stopping["state"], pid(&stopping)), (&json!("stopping"), before), "{stopping}");
    dae.kill_manager();
    tell(before, Signal::SIGUSR2);
    eventually("it has ended", || (!is_running(before)).then_some(()));
    dae.succeed(["up"]);
    dae.eventually("Sample", |it| it["state"] == "down");
    // Who is started again is meant to run again.
    let again = pid(&dae.ask("start", &json!(["Sample"])).unwrap()["daemons"][0]);
    dae.kill_manager();
    dae.succeed(["up"]);
    assert_eq!(pid(&dae.eventually("Sample", |it| it["state"] == "up")), again);
}

#[test]
fn a_manager_that_is_about_to_end_is_waited_for() {
    const SLOW: &str = r#"
        trap 'echo asked' TERM
        trap 'kill $!; exit 0' USR2
        while :; do sleep 1000 & wait; kill $!; done
    "#;
    let dae = Dae::start();
    let slow = pid(&dae.install("Slow", &shell(SLOW, &json!({ "grace": "1h" }))));
    let manager = dae.pid();
    let mut down = dae.command(["down"]).spawn().unwrap();
    dae.eventually("Slow", |it| it["state"] == "stopping");
    let mut up = dae.command(["--json", "up"]);
    let up = up.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Until it has ended the one before is not killed.
    eventually("up watches the manager", || {
        let fds = fs::read_dir(of(up.id(), "fd")).ok()?.flatten();
        let links = fds.filter_map(|it| fs::read_link(it.path()).ok());
        links.map(|it| it.display().to_string()).find(|it| it.contains("pidfd"))
    });
    tell(slow, Signal::SIGUSR2);
    assert!(down.wait().unwrap().success());
    let output = up.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_ne!(dae.pid(), manager);
    dae.eventually("Slow", |it| it["state"] == "up");
}

#[test]
fn a_killed_daemon_comes_back_with_a_new_pid() {
    let dae = Dae::start();
    let first = dae.install("Sample", &json!({ "program": binary("sample") }));

    kill(pid(&first));

    let second = dae.eventually("Sample", |it| it["state"] == "up" && it["pid"] != first["pid"]);
    assert_eq!(u64::from(*listening_ports(pid(&second)).first().unwrap()), second["port"]);
    assert_eq!(second["restarts"], 1);
    assert!(!is_running(pid(&first)));
}

#[test]
fn no_daemon_notices_that_the_manager_is_killed() {
    let dae = Dae::start();
    let notify = r#"printf 'READY=1\n' | nc -uU -w1 "$NOTIFY_SOCKET"; exec sleep 1000"#;
    let short = json!({ "ready": "notify", "start_timeout": "3s" });
    dae.install("Notify", &shell(notify, &short));
    dae.install("Port", &shell("exec nc -lk 127.0.0.1 0", &json!({ "ready": "port" })));
    dae.install("Delay", &shell(IDLE, &json!({ "ready": "delay=10ms" })));
    dae.install("None", &shell(IDLE, &json!({})));
    let sample = dae.install("Sample", &json!({ "program": binary("sample") }));
    let names = ["Notify", "Port", "Delay", "None", "Sample"];
    let before = names.map(|name| pid(&dae.listed(name).unwrap()));
    let manager = dae.pid();

    kill(manager);
    eventually("the manager is dead", || (!is_running(manager)).then_some(()));
    dae.succeed(["up"]);

    let after = names.map(|name| pid(&dae.eventually(name, |it| it["state"] == "up")));
    assert_eq!(after, before);
    assert_eq!(dae.listed("Sample").unwrap()["port"], sample["port"]);
    assert_ne!(dae.pid(), manager);
    for name in names {
        eventually(&format!("{name} runs once"), || {
            (living(dae.home(), name).len() == 1).then_some(())
        });
        let way = &dae.ask("status", &json!([name])).unwrap()["history"];
        let stops = way.as_array().unwrap().iter().filter(|it| it["to"] == "stopping");
        assert_eq!(stops.count(), 0, "{way}");
    }
}

#[test]
fn what_happens_without_a_manager_is_known_to_the_next() {
    let dae = Dae::start();
    let never = json!({ "restart": "never" });
    let talker = pid(&dae.install("Talker", &shell(TALKER, &never)));
    let ending = pid(&dae.install("Ending", &shell(TALKER, &never)));
    // Its traps are set once it waits for its first child.
    for pid in [talker, ending] {
        eventually("the shell waits", || (!children(pid).is_empty()).then_some(()));
    }
    let manager = dae.pid();
    kill(manager);
    eventually("the manager is dead", || (!is_running(manager)).then_some(()));

    tell(talker, Signal::SIGUSR1);
    tell(ending, Signal::SIGUSR2);
    eventually("the end of one", || (!is_running(ending)).then_some(()));
    eventually("the line is written", || {
        let log = fs::read_to_string(dae.home().join("state/logs/Talker/current")).ok()?;
        log.contains("while nobody managed").then_some(())
    });
    dae.succeed(["up"]);

    let failed = dae.eventually("Ending", |it| it["state"] == "failed");
    assert_eq!(failed["note"], "exit 37");
    assert_eq!(dae.ask("status", &json!(["Ending"])).unwrap()["last_exit"], "exit 37");
    assert_eq!(pid(&dae.eventually("Talker", |it| it["state"] == "up")), talker);
    let logged = dae.succeed(["logs", "Talker"]);
    assert!(logged.contains("while nobody managed"), "{logged}");
    // The pipe is still read.
    tell(talker, Signal::SIGUSR1);
    eventually("a second line", || {
        (dae.succeed(["logs", "Talker"]).matches("while nobody managed").count() == 2).then_some(())
    });
}

#[test]
fn nothing_of_a_home_is_left_after_down() {
    let dae = Dae::start();
    dae.install("Sample", &json!({ "program": binary("sample") }));
    let mark = dae.home().join("mark");
    let escapee = r#"trap "" TERM; echo $$ > "$MARK"; while :; do sleep 1000; done"#;
    let script =
        format!("(setsid sh -c '{escapee}' </dev/null >/dev/null 2>&1 &) & wait; exec sleep 1000");
    let more = json!({ "grace": "200ms", "env": { "MARK": mark } });
    dae.install("Escaping", &shell(&script, &more));
    dae.install("Loop", &shell("exit 3", &json!({ "backoff": "1h..1h" })));
    let escaped: u32 =
        eventually("it has escaped", || fs::read_to_string(&mark).ok()?.trim().parse().ok());
    assert!(is_running(escaped));
    let before = dae.processes();
    assert!(before.len() >= 5, "manager, keeper, sample, leader, grandchild: {before:?}");

    dae.succeed(["down"]);

    let left = dae.processes();
    assert!(left.is_empty(), "{left:?}");
    assert!(!before.into_iter().chain([escaped]).any(is_running));
}
