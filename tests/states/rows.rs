//! The rows of the table, each with a real process.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::{FOREVER, ONCE_BROKEN, history, is, status, ways};
use crate::harness::{
    Dae, IDLE, STUBBORN, binary, eventually, group_and_session, is_running, kill, pid, processes,
    shell,
};

#[test]
fn m_7_2_a_start_goes_from_down_to_up_and_a_second_one_changes_nothing() {
    let dae = Dae::start();
    let down = dae.install("Sample", &json!({ "program": binary("sample"), "no_start": true }));
    assert_eq!(down["state"], "down");

    let first = dae.ask("start", &json!(["Sample"])).unwrap()["daemons"][0].take();
    let second = dae.ask("start", &json!(["Sample"])).unwrap()["daemons"][0].take();

    assert_eq!((&first["state"], &second["state"]), (&json!("up"), &json!("up")));
    assert_eq!((&first["pid"], &first["restarts"]), (&second["pid"], &second["restarts"]));
    assert_eq!(ways(&dae, "Sample"), ["pending", "starting", "up"]);
}

#[test]
fn m_7_2_the_next_manager_starts_what_is_enabled_alone() {
    let dae = Dae::start();
    dae.install("Wanted", &shell(IDLE, &json!({})));
    dae.install("Unwanted", &shell(IDLE, &json!({})));
    let disabled = dae.ask("disable", &json!(["Unwanted"])).unwrap()["daemons"][0].take();
    assert_eq!((&disabled["state"], &disabled["enabled"]), (&json!("up"), &json!(false)));
    assert_eq!(disabled["definition_changed"], false, "it runs with what it will run with");

    dae.succeed(["down"]);
    dae.succeed(["up"]);

    dae.eventually("Wanted", is("up"));
    assert_eq!(dae.listed("Unwanted").unwrap()["state"], "down");
}

#[test]
fn m_7_2_a_pending_daemon_starts_when_the_one_before_it_is_up() {
    let dae = Dae::start();
    let before = json!({ "ready": "delay=300ms", "no_start": true });
    dae.install("Before", &shell(IDLE, &before));
    let mut starting = dae.unix();
    starting.send("start [\"Before\"]\n").unwrap();
    dae.eventually("Before", is("starting"));

    dae.install("After", &shell(IDLE, &json!({ "after": ["Before"] })));

    assert_eq!(dae.listed("Before").unwrap()["state"], "up");
    assert!(time_of(&dae, "After", "starting") >= time_of(&dae, "Before", "up"));
}

#[test]
fn m_7_2_a_pending_daemon_is_down_when_what_it_needs_fails_or_is_stopped() {
    let dae = Dae::start();
    let silent = json!({ "ready": "dae", "start_timeout": "1h", "no_start": true });
    dae.install("Stopped", &shell(IDLE, &silent));
    dae.install("Failing", &shell("exit 78", &json!({ "ready": "dae", "no_start": true })));
    for (need, name, how) in
        [("Stopped", "First", "was stopped"), ("Failing", "Second", "has failed")]
    {
        dae.install(name, &shell(IDLE, &json!({ "needs": [need], "no_start": true })));
        let mut starting = dae.unix();
        starting.send(format!("start [\"{name}\"]\n")).unwrap();
        if need == "Stopped" {
            dae.eventually(need, is("starting"));
            assert_eq!(dae.listed(name).unwrap()["state"], "pending");
            dae.ask("stop", &json!([need])).unwrap();
        }
        let down = dae.eventually(name, |it| it["note"].is_string());
        assert_eq!(down["note"], format!("needs `{need}`, which {how}"));
        assert_eq!(ways(&dae, name), ["pending", "down"]);
        let answer = starting.read_line().unwrap();
        assert!(answer.starts_with("err ") && answer.contains(how), "{answer}");
    }
}

#[test]
fn m_7_2_a_daemon_is_stopped_together_with_what_it_needs() {
    let dae = Dae::start();
    dae.install("Need", &shell(IDLE, &json!({})));
    dae.install("Needing", &shell(IDLE, &json!({ "needs": ["Need"] })));
    dae.ask("stop", &json!(["Need"])).unwrap();
    let down = dae.eventually("Needing", is("down"));
    assert_eq!(down["note"], "needs `Need`, which was stopped");
}

#[test]
fn m_7_2_an_exit_with_78_while_starting_is_final() {
    let dae = Dae::start();
    let definition = shell("exit 78", &json!({ "ready": "dae" }));
    let failure = dae.ask("install", &json!(["Misled", definition])).unwrap_err();
    assert!(failure["message"].as_str().unwrap().contains("exit 78"), "{failure}");
    assert_eq!(dae.listed("Misled").unwrap()["state"], "failed");
    assert_eq!(ways_but_stopping(&dae, "Misled"), ["pending", "starting", "failed"]);
}

#[test]
fn m_7_2_exits_while_starting_are_tried_again_after_growing_delays() {
    let dae = Dae::start();
    let more = json!({ "ready": "dae", "backoff": "50ms..1h" });
    let failure = dae.ask("install", &json!(["Loop", shell("exit 3", &more)])).unwrap_err();
    assert_eq!(failure["state"], "waiting");

    eventually("five failures", || (status(&dae, "Loop")["failures"].as_u64()? >= 5).then_some(()));

    let history = history(&dae, "Loop");
    let delays = history.windows(2).filter(|it| it[0].to == "waiting");
    let delays: Vec<u64> = delays.map(|it| it[1].at_ms - it[0].at_ms).collect();
    for (delay, plain) in delays.iter().zip([50, 100, 200, 400]) {
        // The clock of the history has whole milliseconds.
        assert!(delay + 1 >= plain * 8 / 10, "{delays:?}");
    }
    assert!(delays.len() >= 4, "{delays:?}");
    let note = dae.eventually("Loop", is("waiting"))["note"].clone();
    let note = note.as_str().unwrap();
    assert!(note.starts_with("crash loop: ") && note.ends_with(", last: exit 3"), "{note}");
}

#[test]
fn m_7_2_a_start_that_takes_too_long_is_stopped_and_tried_again() {
    let dae = Dae::start();
    let more = json!({ "ready": "dae", "start_timeout": "100ms", "backoff": FOREVER });
    let failure = dae.ask("install", &json!(["Late", shell(IDLE, &more)])).unwrap_err();
    assert_eq!(failure["state"], "waiting");
    assert_eq!(ways(&dae, "Late"), ["pending", "starting", "stopping", "waiting"]);
}

#[test]
fn m_7_2_what_follows_an_exit_is_the_policys_matter() {
    let dae = Dae::start();
    let kill_self = "kill -9 $$";
    let cases = [
        ("always", "exit 0", "waiting", "exit 0"),
        ("always", "exit 3", "waiting", "exit 3"),
        ("always", "exit 5", "waiting", "exit 5"),
        ("on-failure", "exit 0", "down", "exit 0"),
        ("on-failure", "exit 5", "down", "exit 5"),
        ("on-failure", "exit 3", "waiting", "exit 3"),
        ("on-failure", kill_self, "waiting", "killed by SIGKILL"),
        ("never", "exit 0", "down", "exit 0"),
        ("never", "exit 5", "down", "exit 5"),
        ("never", "exit 3", "failed", "exit 3"),
        ("never", kill_self, "failed", "killed by SIGKILL"),
    ];
    for (index, (policy, script, wanted, note)) in cases.into_iter().enumerate() {
        let name = format!("Case{index}");
        let more = json!({ "restart": policy, "success_codes": [5], "backoff": FOREVER });
        dae.install(&name, &shell(script, &more));
        let then = dae.eventually(&name, is(wanted));
        assert_eq!(then["note"], note, "{policy} {script}");
        let ways = ways_but_stopping(&dae, &name);
        assert_eq!(ways, ["pending", "starting", "up", wanted], "{policy} {script}");
    }
}

#[test]
fn m_7_2_a_daemon_that_was_stable_comes_back_at_once() {
    let dae = Dae::start();
    let definition = shell(IDLE, &json!({ "backoff": FOREVER, "stable": "20ms" }));
    let first = dae.install("Stable", &definition);
    let since = Instant::now();
    eventually("it is stable", || (since.elapsed() > Duration::from_millis(200)).then_some(()));

    kill(pid(&first));

    let second = dae.eventually("Stable", |it| it["state"] == "up" && it["pid"] != first["pid"]);
    assert_eq!(second["restarts"], 1);
    assert!(!ways(&dae, "Stable").contains(&"waiting".into()));
}

#[test]
fn m_7_2_who_follows_another_restarts_after_it() {
    let dae = Dae::start();
    dae.install("Leader", &shell(IDLE, &json!({})));
    let first = dae.install("Follower", &shell(IDLE, &json!({ "follows": ["Leader"] })));

    kill(pid(&dae.listed("Leader").unwrap()));

    dae.eventually("Follower", |it| it["state"] == "up" && it["pid"] != first["pid"]);
    let note = &history(&dae, "Follower")[3].note;
    assert_eq!(note.as_deref(), Some("follows `Leader`, which came back"));
    assert!(time_of(&dae, "Follower", "stopping") >= last_time_of(&dae, "Leader", "up"));
}

#[test]
fn m_7_2_a_stop_ends_in_down_from_wherever_it_is_asked() {
    let dae = Dae::start();
    let silent = json!({ "ready": "dae", "start_timeout": "1h" });
    let cases = [
        ("Up", shell(IDLE, &json!({})), "up"),
        ("Starting", shell(IDLE, &silent), "starting"),
        ("Pending", shell(IDLE, &json!({ "after": ["Starting"] })), "pending"),
        ("Waiting", shell("exit 3", &json!({ "ready": "dae", "backoff": FOREVER })), "waiting"),
        ("Failed", shell("exit 78", &json!({ "ready": "dae" })), "failed"),
    ];
    let mut installing = vec![];
    for (name, definition, state) in &cases {
        let mut client = dae.unix();
        client.send(format!("install {}\n", json!([name, definition]))).unwrap();
        installing.push(client);
        dae.eventually(name, is(state));
    }
    let running: Vec<u32> =
        ["Up", "Starting"].map(|name| pid(&dae.eventually(name, |it| it["pid"].is_u64()))).to_vec();

    // In the end `Pending` would start, if `Starting` went first.
    for (name, _, state) in cases.iter().rev() {
        let stopped = dae.ask("stop", &json!([name])).unwrap()["daemons"][0].take();
        assert_eq!(stopped["state"], "down", "{name} was {state}");
        assert_eq!(ways(&dae, name).last().unwrap(), "down");
    }
    assert!(!running.into_iter().any(is_running));
}

#[test]
fn m_7_2_a_stop_while_stopping_is_answered_with_the_first_one() {
    let dae = Dae::start();
    let up = dae.install("Stubborn", &shell(STUBBORN, &json!({ "grace": "400ms" })));
    // It sleeps once its trap is set.
    eventually("it is stubborn", || (group(pid(&up)).len() >= 2).then_some(()));
    let start = Instant::now();
    let (mut first, mut second) = (dae.unix(), dae.unix());
    first.send("stop [\"Stubborn\"]\n").unwrap();
    dae.eventually("Stubborn", is("stopping"));
    second.send("stop [\"Stubborn\"]\n").unwrap();

    for mut client in [first, second] {
        let answer = client.read_line().unwrap();
        assert!(answer.starts_with("stop ") && answer.contains(r#""state":"down""#), "{answer}");
    }
    assert!(start.elapsed() >= Duration::from_millis(400), "the grace is granted");
    assert_eq!(ways(&dae, "Stubborn"), ["pending", "starting", "up", "stopping", "down"]);
    assert_eq!(status(&dae, "Stubborn")["last_exit"], "killed by SIGKILL");
    assert_eq!(group(pid(&up)), [0; 0]);
}

#[test]
fn m_7_2_a_restart_is_a_stop_and_a_start() {
    let dae = Dae::start();
    let up = dae.install("Up", &shell(IDLE, &json!({})));
    let again = dae.ask("restart", &json!(["Up"])).unwrap()["daemons"][0].take();
    assert_eq!(again["state"], "up");
    assert_ne!(again["pid"], up["pid"]);
    assert!(!is_running(pid(&up)));
    let wanted = ["pending", "starting", "up", "stopping", "pending", "starting", "up"];
    assert_eq!(ways(&dae, "Up"), wanted);
}

#[test]
fn m_7_2_a_restart_while_starting_starts_with_another_process() {
    let dae = Dae::start();
    let silent = json!({ "ready": "dae", "start_timeout": "1h" });
    let mut client = dae.unix();
    client.send(format!("install {}\n", json!(["Silent", shell(IDLE, &silent)]))).unwrap();
    let first = dae.eventually("Silent", |it| it["pid"].is_u64());

    let mut restarting = dae.unix();
    restarting.send("restart [\"Silent\"]\n").unwrap();

    dae.eventually("Silent", |it| {
        it["state"] == "starting" && it["pid"].is_u64() && it["pid"] != first["pid"]
    });
    assert!(!is_running(pid(&first)));
    assert_eq!(ways(&dae, "Silent"), ["pending", "starting", "stopping", "pending", "starting"]);
}

#[test]
fn m_7_2_who_waits_starts_at_once_when_asked_and_forgets_its_failures() {
    for verb in ["start", "restart"] {
        let dae = Dae::start();
        let more = json!({ "ready": "delay=200ms", "backoff": FOREVER });
        dae.ask("install", &json!(["Broken", shell(ONCE_BROKEN, &more)])).unwrap_err();
        assert_eq!(status(&dae, "Broken")["failures"], 1);

        let up = dae.ask(verb, &json!(["Broken"])).unwrap()["daemons"][0].take();

        assert_eq!(up["state"], "up");
        assert_eq!(status(&dae, "Broken")["failures"], 0);
        let wanted = ["pending", "starting", "waiting", "pending", "starting", "up"];
        assert_eq!(ways_but_stopping(&dae, "Broken"), wanted);
    }
}

#[test]
fn m_7_2_who_waits_starts_when_its_time_has_come() {
    let dae = Dae::start();
    let more = json!({ "ready": "delay=200ms", "backoff": "50ms..50ms" });
    dae.ask("install", &json!(["Broken", shell(ONCE_BROKEN, &more)])).unwrap_err();
    let up = dae.eventually("Broken", is("up"));
    assert_eq!(up["restarts"], 1);
}

#[test]
fn m_7_2_who_fails_too_often_is_given_up() {
    let dae = Dae::start();
    let more = json!({ "ready": "dae", "backoff": "10ms..10ms", "give_up": "2/1m" });
    dae.ask("install", &json!(["Hopeless", shell("exit 3", &more)])).unwrap_err();
    let failed = dae.eventually("Hopeless", is("failed"));
    assert_eq!(failed["note"], "gave up: more than 2/1m, last: exit 3");
    assert_eq!(ways(&dae, "Hopeless").iter().filter(|it| *it == "starting").count(), 3);
}

#[test]
fn m_7_2_what_a_leader_leaves_behind_is_killed_before_the_next_start() {
    let dae = Dae::start();
    let script = r#"sh -c 'trap "" TERM; while :; do sleep 1000; done' & exec sleep 1000"#;
    let more = json!({ "grace": "100ms", "backoff": "1ms..1ms" });
    let first = dae.install("Family", &shell(script, &more));
    eventually("the family is complete", || (group(pid(&first)).len() >= 3).then_some(()));

    kill(pid(&first));

    dae.eventually("Family", |it| it["state"] == "up" && it["pid"] != first["pid"]);
    assert_eq!(group(pid(&first)), [0; 0]);
    let wanted = ["pending", "starting", "up", "stopping", "waiting", "pending", "starting", "up"];
    assert_eq!(ways(&dae, "Family"), wanted);
}

#[test]
fn m_7_2_a_leader_that_obeys_does_not_save_a_member_that_does_not() {
    let dae = Dae::start();
    let script = r#"sh -c 'trap "" TERM; while :; do sleep 1000; done' & exec sleep 1000"#;
    let up = dae.install("Family", &shell(script, &json!({ "grace": "200ms" })));
    eventually("the family is complete", || (group(pid(&up)).len() >= 3).then_some(()));

    dae.ask("stop", &json!(["Family"])).unwrap();

    assert_eq!(group(pid(&up)), [0; 0]);
    assert_eq!(status(&dae, "Family")["last_exit"], "killed by SIGTERM");
}

#[test]
fn m_7_2_what_is_uninstalled_is_stopped_first() {
    let dae = Dae::start();
    let up = dae.install("Idle", &shell(IDLE, &json!({})));
    dae.ask("uninstall", &json!(["Idle"])).unwrap();
    assert_eq!(dae.listed("Idle"), None);
    assert!(!is_running(pid(&up)));
}

/// The same without `stopping`, through which an exit leads while what is left of the tree ends.
fn ways_but_stopping(dae: &Dae, name: &str) -> Vec<String> {
    ways(dae, name).into_iter().filter(|it| it != "stopping").collect()
}

/// When `name` came into `state` first.
fn time_of(dae: &Dae, name: &str, state: &str) -> u64 {
    history(dae, name).iter().find(|it| it.to == state).unwrap().at_ms
}

fn last_time_of(dae: &Dae, name: &str, state: &str) -> u64 {
    history(dae, name).iter().rev().find(|it| it.to == state).unwrap().at_ms
}

/// The living processes of the group that `leader` leads or led.
fn group(leader: u32) -> Vec<u32> {
    let of_group = |pid: &u32| group_and_session(*pid).is_some_and(|it| it.0 == leader);
    processes().into_iter().filter(of_group).filter(|pid| is_running(*pid)).collect()
}
