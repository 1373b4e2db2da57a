//! AceBase processes while their relay is restarted. They would end if they were refused once, and
//! can't tell a door at which they wait from one that is open.

use serde_json::{Value, json};

use super::cluster::{Cluster, Process};
use crate::harness::{Dae, kill, pid};

#[test]
fn processes_outlive_restarts_and_kills_of_a_relay_whose_socket_is_held() {
    let cluster = Cluster::install();
    let (mut writer, mut workers) = (cluster.master(), [cluster.worker(), cluster.worker()]);
    for worker in &mut workers {
        worker.does("listen", json!({ "path": "last", "event": "value" }));
    }
    writer.does("listeners", json!({ "path": "last", "event": "value", "count": 2 }));
    writer.does("keep_writing", json!({ "path": "last" }));
    for end in [restart, kill_it, restart, kill_it] {
        let before = pid(&cluster.keeper.listed("Relay").unwrap());
        end(&cluster.keeper, before);
        cluster.keeper.eventually("Relay", |it| it["state"] == "up" && it["pid"] != before);
        let written = writer.does("get", json!({ "path": "last" }));
        workers.iter().for_each(|it| hears_beyond(it, &written));
    }
    for worker in &mut workers {
        worker.begins("count", json!({ "path": "n", "times": 5 }));
    }
    workers.iter().for_each(|it| drop(it.done("count")));
    assert_eq!(writer.does("get", json!({ "path": "n" })), 10);
    workers.iter().chain([&writer]).for_each(|it| it.heard().iter().for_each(assert_not_refused));
}

fn restart(dae: &Dae, _: u32) {
    dae.succeed(["restart", "Relay"]);
}

fn kill_it(_: &Dae, relay: u32) {
    kill(relay);
}

/// Waits until a process hears of something newer. What is said while it connects again is lost.
fn hears_beyond(process: &Process, written: &Value) {
    let is_newer = |heard: &Value| heard["value"].as_u64() > written.as_u64();
    let hears = || Some(process.hears()).inspect(assert_not_refused);
    while !hears().is_some_and(|it| is_newer(&it)) {}
}

/// Who says so has ten seconds to live.
fn assert_not_refused(heard: &Value) {
    let complaint = heard["complaint"].as_str().unwrap_or_default();
    assert!(!complaint.starts_with("Unable to connect"), "{complaint}");
}
