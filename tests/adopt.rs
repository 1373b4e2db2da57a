//! A child survives its keeper, its manager, and both, and the link between them.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use nix::{
    sys::signal::{self, Signal},
    unistd::Pid,
};
use serde_json::json;

use crate::harness::{
    Dae, binary, environment, eventually, is_running, kill, pid, processes, shell, status,
};

/// A child that counts into its log, and ends with 37 when it is told to.
const COUNTER: &str = r#"
    trap 'echo "at last"; exit 37' USR2
    n=0
    while :; do n=$((n + 1)); echo "line $n"; sleep 0.01 & wait $!; done
"#;

/// A child that does nothing, with a child in a session of its own that does not end by SIGTERM.
const FAMILY: &str = r#"
    setsid sh -c 'trap "" TERM; while :; do sleep 1000; done' </dev/null >/dev/null 2>&1 &
    exec sleep 1000
"#;

#[test]
fn m_8_5_children_of_a_killed_keeper_are_adopted_as_they_are() {
    let dae = Dae::start();
    dae.install("Sample", &json!({ "program": binary("sample") }));
    dae.install("Counter", &shell(COUNTER, &json!({ "restart": "never" })));
    dae.install("Family", &shell(FAMILY, &json!({ "grace": "100ms" })));
    let names = ["Sample", "Counter", "Family"];
    let before = names.map(|name| dae.listed(name).unwrap());

    let next = kill_keeper(&dae);

    let after = names.map(|name| dae.listed(name).unwrap());
    for (before, after) in before.iter().zip(&after) {
        for key in ["name", "state", "pid", "port", "since", "restarts"] {
            assert_eq!(before[key], after[key], "{after}");
        }
        assert!(is_running(pid(after)));
        assert_ne!(status(pid(after), "PPid"), Some(next.to_string()), "adopted, not spawned");
    }
    // Its output is read on, and its end is known as that of any other.
    let counted = until_logged(&dae, "Counter", |log| Some(log.len()));
    until_logged(&dae, "Counter", |log| log.len().checked_sub(counted + 100));
    tell(pid(&after[1]), Signal::SIGUSR2);
    let failed = dae.eventually("Counter", |it| it["state"] == "failed");
    assert_eq!(failed["note"], "exit 37");
    assert_counted(&dae, "Counter");
    assert!(log(&dae, "Counter").ends_with("at last\n"));
    // Who crashes comes back, as the new keeper's own.
    kill(pid(&after[0]));
    let again = dae.eventually("Sample", |it| it["state"] == "up" && it["pid"] != after[0]["pid"]);
    assert_eq!(status(pid(&again), "PPid"), Some(next.to_string()));
    // Who is stopped leaves nobody.
    dae.eventually("Family", |it| it["state"] == "up");
    dae.ask("stop", &json!(["Family"])).unwrap();
    assert_eq!(living(&dae, "Family"), BTreeSet::new());
}

/// Kills the keeper and waits for the one that comes after it.
fn kill_keeper(dae: &Dae) -> u32 {
    let before = eventually("a keeper", || keeper(dae));
    kill(before);
    eventually("another keeper", || keeper(dae).filter(|pid| *pid != before))
}

fn keeper(dae: &Dae) -> Option<u32> {
    let status = dae.ask("status", &json!([])).unwrap();
    let keeper = &status["manager"]["keeper"];
    keeper["trouble"].is_null().then(|| keeper["pid"].as_u64()?.try_into().ok())?
}

fn log_path(dae: &Dae, name: &str) -> PathBuf {
    dae.home().join("state/logs").join(name).join("current")
}

fn log(dae: &Dae, name: &str) -> String {
    fs::read_to_string(log_path(dae, name)).unwrap_or_default()
}

fn until_logged<T>(dae: &Dae, name: &str, wanted: impl Fn(&str) -> Option<T>) -> T {
    eventually(&format!("the log of {name} is as wanted"), || wanted(&log(dae, name)))
}

/// Asserts that what a counter has printed is in its log, once each and in order.
fn assert_counted(dae: &Dae, name: &str) {
    let log = log(dae, name);
    let numbers = log.lines().filter_map(|line| line.strip_prefix("line ")?.parse::<u32>().ok());
    let numbers: Vec<u32> = numbers.collect();
    let all: Vec<u32> = (1..).take(numbers.len()).collect();
    assert_eq!(numbers, all);
}

/// The living processes that some spawn of the daemon `name` of this home has started.
fn living(dae: &Dae, name: &str) -> BTreeSet<u32> {
    let is_its = |pid: &u32| {
        let environment = environment(*pid);
        let is_here = |it: &String| Path::new(it).starts_with(dae.home());
        environment.get("DAE_DATA").is_some_and(is_here)
            && environment.get("DAE_NAME").is_some_and(|it| it == name)
    };
    processes().into_iter().filter(|pid| is_running(*pid)).filter(is_its).collect()
}

fn tell(pid: u32, signal: Signal) {
    signal::kill(Pid::from_raw(pid.cast_signed()), signal).unwrap();
}
