//! The time between two managers: what runs, runs on; what ends, is told truly.

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::number_of;
use crate::harness::{Dae, eventually, is_running, now_ms, pid, shell, tell, transitions, unix_ms};

/// A child that prints numbered lines of a hundred bytes, `BURST` of them twice a second, and says
/// how many they were when it is told to end.
const TALKER: &str = r#"
    trap 'echo "end $i"; exit 0' TERM
    i=0
    pad=$(printf '%090d' 0)
    while :; do
        n=0
        while [ $n -lt $BURST ]; do i=$((i+1)); n=$((n+1)); echo "$i $pad"; done
        sleep 0.5
    done
"#;

/// A child that ends with 37 when it is told to, and leaves nothing behind.
const ENDING: &str = "trap 'exit 37' USR2; while :; do sleep 0.05; done";

/// Lines a second of all talkers together: a megabyte.
const LINES: usize = 10_000;

#[test]
fn m_8_4_no_daemon_and_no_line_is_lost_with_the_manager() {
    let kills = number_of("DAE_TEST_MANAGER_KILLS", 5);
    let count = number_of("DAE_TEST_TALKERS", 20);
    let dae = Dae::start();
    let burst = (LINES / count / 2).to_string();
    let names: Vec<String> = (0..count).map(|number| format!("Talker{number}")).collect();
    let more = json!({ "env": { "BURST": burst }, "log_max": "1M", "log_keep": 100 });
    for name in &names {
        dae.install(name, &shell(TALKER, &more));
    }
    dae.install("Ending", &shell(ENDING, &json!({ "restart": "never" })));
    let talkers = up(&dae, &names);
    let start = now_ms();

    for kill in 1..=kills {
        let ending = pid(&dae.eventually("Ending", |it| it["state"] == "up"));
        eventually("its trap is set", || catches(ending, Signal::SIGUSR2).then_some(()));
        dae.kill_manager();
        let alone = now_ms();
        tell(ending, Signal::SIGUSR2);
        eventually("the end of one", || (!is_running(ending)).then_some(()));
        let ended = now_ms();
        dae.succeed(["up"]);

        assert_eq!(up(&dae, &names), talkers, "after kill {kill}");
        let failed = dae.eventually("Ending", |it| it["state"] != "down");
        assert_eq!((&failed["state"], &failed["note"]), (&json!("failed"), &json!("exit 37")));
        let told = transitions(&dae, "Ending").pop().unwrap();
        assert_eq!(told["exit"]["code"], 37, "{told}");
        assert_eq!(told["pid"], ending);
        let at = unix_ms(&told["exited"]);
        assert!((alone..=ended).contains(&at), "{told}: not between {alone} and {ended}");
        dae.succeed(["start", "Ending"]);
    }

    let seconds = (now_ms() - start) as f64 / 1000.0;
    dae.succeed(["stop", "Talker*"]);
    let lines: usize = names.iter().map(|name| complete(&dae, name)).sum();
    println!("M-8.4: {kills} kills, {count} daemons, {lines} lines in {seconds:.1} s");
}

#[test]
fn who_ended_well_without_a_manager_stays_down() {
    let dae = Dae::start();
    let script = "trap 'exit 0' USR2; while :; do sleep 0.05; done";
    let child = pid(&dae.install("Done", &shell(script, &json!({ "restart": "on-failure" }))));
    eventually("its trap is set", || catches(child, Signal::SIGUSR2).then_some(()));
    dae.kill_manager();
    tell(child, Signal::SIGUSR2);
    eventually("its end", || (!is_running(child)).then_some(()));

    dae.succeed(["up"]);

    let down = dae.eventually("Done", |it| it["note"].is_string());
    assert_eq!((&down["state"], &down["note"]), (&json!("down"), &json!("exit 0")));
}

#[test]
fn who_had_been_stable_comes_back_at_once_also_when_nobody_managed() {
    let dae = Dae::start();
    let more = json!({
        "ready": "delay=1ms", "start_timeout": "2s", "stable": "1s", "backoff": "1h..1h",
    });
    let child = dae.install("Stable", &shell("exec sleep 1000", &more));
    let (since, child) = (child["created"].as_u64().unwrap(), pid(&child));
    eventually("it is stable", || (now_ms() > since + 2_000).then_some(()));
    dae.kill_manager();
    tell(child, Signal::SIGKILL);
    eventually("its end", || (!is_running(child)).then_some(()));

    dae.succeed(["up"]);

    dae.eventually("Stable", |it| it["state"] == "up" && it["pid"] != child);
}

/// The processes of `names`, once all are up.
fn up(dae: &Dae, names: &[String]) -> Vec<u32> {
    eventually("all are up", || {
        let listed = dae.ask("list", &json!([{ "all": true, "own": true }])).unwrap();
        let is_wanted =
            |it: &&Value| it["state"] == "up" && names.iter().any(|name| it["name"] == **name);
        let up: Vec<u32> = listed.as_array().unwrap().iter().filter(is_wanted).map(pid).collect();
        (up.len() == names.len()).then_some(up)
    })
}

/// Asserts that the log of a talker has each of its lines once and in order; returns how many.
fn complete(dae: &Dae, name: &str) -> usize {
    let log = dae.succeed(["logs", name, "--stream", "out"]);
    // `TIME NAME STREAM TEXT`
    let mut texts: Vec<&str> = log.lines().map(|it| it.splitn(4, ' ').nth(3).unwrap()).collect();
    let end = texts.pop().unwrap();
    assert_eq!(end, format!("end {}", texts.len()), "{name}");
    for (number, text) in (1..).zip(&texts) {
        assert_eq!(text.split(' ').next(), Some(&*format!("{number}")), "{name}");
    }
    texts.len()
}

/// Whether `pid` has a handler for `signal`.
pub(super) fn catches(pid: u32, signal: Signal) -> bool {
    let caught = crate::harness::status(pid, "SigCgt").unwrap_or_default();
    u64::from_str_radix(&caught, 16).is_ok_and(|it| it >> (signal as u64 - 1) & 1 == 1)
}
