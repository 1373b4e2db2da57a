//! A manager that does not run for a while, as when it is stopped or its machine sleeps: what has
//! happened meanwhile counts before what is due.

use std::{thread, time::Duration};

use nix::sys::signal::Signal;
use serde_json::json;

use super::gap::catches;
use crate::harness::{Dae, eventually, is_running, now_ms, pid, shell, tell, transitions, unix_ms};

/// Longer than any time that these daemons are given.
const ASLEEP: Duration = Duration::from_secs(5);

#[test]
fn m_8_9_after_a_sleep_of_the_manager_nothing_is_restarted_that_went_well() {
    let dae = Dae::start();
    // Ready once it is told so, long before it would be too late.
    let slow = r#"trap 'printf "READY=1\n" | nc -uU -w1 "$NOTIFY_SOCKET"' USR1
        while :; do sleep 1000 & wait $!; done"#;
    let more = json!({ "ready": "notify", "start_timeout": "3s", "no_start": true });
    dae.install("Slow", &shell(slow, &more));
    // Ends as it was told, long before it would be killed.
    let polite = "trap 'sleep 0.5; exit 5' TERM; while :; do sleep 0.05; done";
    let polite = dae.install("Polite", &shell(polite, &json!({ "grace": "3s" })));
    let ending = "trap 'exit 6' USR2; while :; do sleep 0.05; done";
    let more = json!({ "stable": "1h", "backoff": "1s..1s" });
    let ending = pid(&dae.install("Ending", &shell(ending, &more)));
    let idle = dae.install("Idle", &shell("exec sleep 1000", &json!({ "stable": "2s" })));
    for (pid, signal) in [(pid(&polite), Signal::SIGTERM), (ending, Signal::SIGUSR2)] {
        eventually("its trap is set", || catches(pid, signal).then_some(()));
    }
    dae.unix().send("start [\"Slow\"]\n").unwrap();
    let slow = pid(&dae.eventually("Slow", |it| it["state"] == "starting" && it["pid"].is_u64()));
    eventually("its trap is set", || catches(slow, Signal::SIGUSR1).then_some(()));
    let mut stopping = dae.unix();
    stopping.send("stop [\"Polite\"]\n").unwrap();
    dae.eventually("Polite", |it| it["state"] == "stopping");

    let manager = dae.pid();
    let asleep = now_ms();
    tell(manager, Signal::SIGSTOP);
    tell(slow, Signal::SIGUSR1);
    tell(ending, Signal::SIGUSR2);
    eventually("two have ended", || {
        (!is_running(ending) && !is_running(pid(&polite))).then_some(())
    });
    let ended = now_ms();
    thread::sleep(ASLEEP);
    tell(manager, Signal::SIGCONT);

    let up = dae.eventually("Slow", |it| it["state"] != "starting");
    assert_eq!((&up["state"], pid(&up)), (&json!("up"), slow));
    assert!(stopping.read_line().unwrap().contains(r#""state":"down""#));
    assert_eq!(dae.ask("status", &json!(["Polite"])).unwrap()["last_exit"], "exit 5");
    let again = dae.eventually("Ending", |it| it["state"] == "up" && it["pid"] != ending);
    assert_eq!(again["restarts"], 1);
    let past = transitions(&dae, "Ending");
    let end = past.iter().find(|it| it["exit"]["code"] == 6).unwrap();
    let at = unix_ms(&end["exited"]);
    assert!((asleep..=ended).contains(&at), "{end}: not between {asleep} and {ended}");
    assert_eq!(dae.listed("Idle").unwrap()["pid"], idle["pid"]);
}
