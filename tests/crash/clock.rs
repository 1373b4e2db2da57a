//! A wall clock that jumps: nothing waits by it.
//!
//! Only manager and keeper see it jump, by libfaketime; the machine's clock is left alone.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

use serde_json::json;

use crate::harness::{
    Dae, environment, eventually, kill, now_ms, pid, shell, transitions, unix_ms,
};

/// A day, in milliseconds.
const DAY_MS: u64 = 86_400_000;

#[test]
fn m_8_10_a_wall_clock_that_jumps_by_a_day_changes_nothing() {
    let Some(library) = library() else {
        return println!("skipped: no libfaketime, which comes with the package `faketime`");
    };
    for jump in ["+1d", "-1d"] {
        let steps = tempfile::NamedTempFile::new().unwrap();
        fs::write(steps.path(), "+0").unwrap();
        let faked: [(&str, &OsStr); 4] = [
            ("LD_PRELOAD", library.as_os_str()),
            ("FAKETIME_TIMESTAMP_FILE", steps.path().as_os_str()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".as_ref()),
            ("FAKETIME_NO_CACHE", "1".as_ref()),
        ];
        let dae = Dae::start_by("exec \"$0\" up", &faked);
        assert!(environment(dae.pid()).contains_key("LD_PRELOAD"));
        check(&dae, jump, steps.path());
    }
}

/// Lets the clock jump under daemons in each state that waits for a time.
fn check(dae: &Dae, jump: &str, steps: &Path) {
    let idle = "exec sleep 1000";
    let up = dae.install("Up", &shell(idle, &json!({ "stable": "1h" })));
    assert_eq!(environment(pid(&up)).get("LD_PRELOAD"), None, "daemons see the true clock");
    let waiting = shell("exit 3", &json!({ "ready": "dae", "backoff": "1h..1h" }));
    dae.ask("install", &json!(["Waiting", waiting])).unwrap_err();
    let silent = json!({ "ready": "dae", "start_timeout": "1h", "no_start": true });
    dae.install("Starting", &shell(idle, &silent));
    dae.unix().send("start [\"Starting\"]\n").unwrap();
    dae.eventually("Starting", |it| it["pid"].is_u64());
    let stubborn = r#"trap "" TERM; touch "$DAE_DATA/deaf"; exec sleep 1000"#;
    dae.install("Stopping", &shell(stubborn, &json!({ "grace": "1h" })));
    let deaf = dae.home().join("data/daemons/Stopping/deaf");
    eventually("it hears nothing", || deaf.exists().then_some(()));
    dae.unix().send("stop [\"Stopping\"]\n").unwrap();
    dae.eventually("Stopping", |it| it["state"] == "stopping");
    dae.install("Loop", &shell(idle, &json!({ "backoff": "1ms..1ms" })));
    let names = ["Up", "Waiting", "Starting", "Stopping"];
    let seen = || {
        names.map(|name| {
            let listed = dae.listed(name).unwrap();
            (listed["state"].clone(), listed["pid"].clone(), listed["restarts"].clone())
        })
    };
    let before = seen();

    fs::write(steps, jump).unwrap();

    // Something has to happen after it, so that it is known to have been noticed.
    let first = pid(&dae.listed("Loop").unwrap());
    kill(first);
    dae.eventually("Loop", |it| it["state"] == "up" && it["pid"] != first);
    eventually("the history has the new time", || {
        let last = transitions(dae, "Loop").pop()?;
        (unix_ms(&last["time"]).abs_diff(now_ms()) > DAY_MS / 2).then_some(())
    });
    assert_eq!(seen(), before, "{jump}");
    assert_eq!(dae.ask("status", &json!(["Waiting"])).unwrap()["failures"], 1);
    kill(pid(&dae.listed("Stopping").unwrap()));
    dae.succeed(["down"]);
    assert!(dae.processes().is_empty());
}

/// Where the library is on this machine.
fn library() -> Option<PathBuf> {
    let lib = fs::read_dir("/usr/lib").ok()?.flatten().map(|it| it.path());
    lib.map(|it| it.join("faketime/libfaketime.so.1")).find(|it| it.is_file())
}
