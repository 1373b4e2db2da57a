//! Logs and events, and who reads them.

use std::{
    io::{BufRead, BufReader, Read},
    process::{ChildStdout, Stdio},
};

use nix::sys::signal::Signal;
use serde_json::json;

use super::{Follower, Running, document};
use crate::harness::{Dae, IDLE, eventually, kill, pid, shell, tell};

/// A child that prints when it is told to.
const TALKER: &str = r#"
    trap 'echo "told $$"' USR1
    echo "hello $$"; echo "oops $$" >&2
    while :; do sleep 1000 & wait; kill $!; done
"#;

#[test]
fn m_4_3_a_reader_that_goes_away_is_no_failure() {
    let dae = Dae::start();
    // More than a pipe holds.
    dae.install("Loud", &shell("seq 100000; echo end; exec sleep 1000", &json!({})));
    eventually("all is printed", || {
        dae.succeed(["logs", "Loud", "-n", "1"]).ends_with("end\n").then_some(())
    });
    for args in [
        "logs Loud",
        "logs Loud --json",
        "logs Loud -f",
        "logs Loud -f --json",
        "list",
        "list --json",
        "status Loud",
        "events",
        "events --json",
        "events -f",
        "events -f --since 1h",
        "scan",
        "call Dae options",
    ] {
        // `| true`, then `| head -1`, where there is a line to wait for.
        check_unread(&dae, args, |_| {});
        if args != "events -f" {
            check_unread(&dae, args, |out| drop(BufReader::new(out).lines().next()));
        }
    }
}

#[test]
fn logs_are_chosen_by_number_time_stream_and_pattern() {
    let dae = Dae::start();
    dae.install("One", &shell("seq 5; echo oops >&2; exec sleep 1000", &json!({})));
    dae.install("Two", &shell("echo two; exec sleep 1000", &json!({})));
    let said = |args: &str| -> Vec<String> {
        let printed = dae.succeed(["logs"].into_iter().chain(args.split_whitespace()));
        // After time, name and stream.
        let words = |it: &str| it.split_whitespace().skip(1).collect::<Vec<_>>().join(" ");
        printed.lines().map(words).collect()
    };
    eventually("all is printed", || (said("").len() == 7).then_some(()));

    assert_eq!(said("One -n 2 --stream out"), ["One out 4", "One out 5"]);
    assert_eq!(said("one --stream err"), ["One err oops"]);
    assert_eq!(said("One --grep [24]$"), ["One out 2", "One out 4"]);
    assert_eq!(said("--grep ^(two|oops)$").len(), 2, "all daemons are meant");
    assert_eq!(said("One Two --since 1h").len(), 7);
    assert_eq!(said("--since 2999-01-01").len(), 0);
    assert_eq!(said("t* -n 5"), ["Two out two"]);
    let lines = document(dae.succeed(["logs", "One", "-n", "2", "--json"]).as_bytes());
    assert_eq!(lines["lines"].as_array().unwrap().len(), 2, "{lines}");
}

#[test]
fn who_follows_logs_sees_a_restart_and_the_end_of_the_manager() {
    let dae = Dae::start();
    let first = pid(&dae.install("Talker", &shell(TALKER, &json!({}))));
    let follower = Follower::start(dae.command(["logs", "Talker", "-f", "--stream", "out"]));
    follower.until(&format!("Talker out hello {first}"));

    kill(first);
    let second = pid(&dae.eventually("Talker", |it| it["pid"].is_u64() && it["pid"] != first));
    follower.until(&format!("Talker out hello {second}"));
    dae.kill_manager();
    tell(second, Signal::SIGUSR1);

    follower.until(&format!("Talker out told {second}"));
}

#[test]
fn who_follows_events_sees_what_comes() {
    let dae = Dae::start();
    dae.install("Idle", &shell(IDLE, &json!({})));
    // `--since` leaves no moment between the start of the follower and what it is to see.
    let follower = Follower::start(dae.command(["events", "-f", "--since", "1h"]));
    follower.until("starting → up");

    dae.succeed(["stop", "Idle"]);
    follower.until("stopping → down");

    dae.kill_manager();
    dae.succeed(["up"]);
    follower.until("down → pending");
}

#[test]
fn logs_outlive_an_uninstall_but_not_a_purge() {
    let dae = Dae::start();
    for name in ["Kept", "Purged"] {
        dae.install(name, &shell("echo hello; exec sleep 1000", &json!({})));
        eventually("it has printed", || {
            dae.succeed(["logs", name]).contains("hello").then_some(())
        });
    }

    assert_eq!(dae.succeed(["uninstall", "Kept"]), "Kept  uninstalled\n");
    dae.succeed(["uninstall", "Purged", "--purge"]);

    assert!(dae.succeed(["logs", "Kept"]).contains("hello"));
    assert_eq!(dae.run(["logs", "Purged"]).status.code(), Some(4));
    assert!(!dae.home().join("state/logs/Purged").exists());
}

/// Runs a command whose reader goes away once it has read what `read` wants: exit 0, in silence.
fn check_unread(dae: &Dae, args: &str, read: impl FnOnce(ChildStdout)) {
    let mut command = dae.command(args.split(' '));
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = Running(command.spawn().unwrap());
    read(running.0.stdout.take().unwrap());
    let status = eventually(&format!("{args} has ended"), || running.0.try_wait().unwrap());
    let mut said = String::new();
    running.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!((status.code(), &*said), (Some(0), ""), "{args}");
}
