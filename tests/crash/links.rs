//! What `follows` and `needs` mean when daemons, or the manager between them, are killed.

use serde_json::{Value, json};

use crate::harness::{Dae, IDLE, binary, eventually, is_running, kill, pid, shell, transitions};

#[test]
fn a_new_manager_that_finds_the_followed_restarts_no_follower() {
    let dae = Dae::start();
    let (leader, follower) = leader_and_follower(&dae, &json!({}));
    dae.kill_manager();

    dae.succeed(["up"]);

    assert_eq!(pid(&dae.eventually("Leader", |it| it["state"] == "up")), leader);
    assert_eq!(pid(&dae.eventually("Follower", |it| it["state"] == "up")), follower);
    // Whoever follows is told at once, so it would be under way.
    let past = transitions(&dae, "Follower");
    assert_eq!(past.iter().filter(|it| it["to"] == "stopping").count(), 0, "{past:?}");
}

#[test]
fn a_follower_restarts_once_though_the_followed_crashed_without_a_manager() {
    let dae = Dae::start();
    let (leader, follower) = leader_and_follower(&dae, &json!({ "backoff": "1ms..1ms" }));
    dae.kill_manager();
    kill(leader);
    eventually("it has ended", || (!is_running(leader)).then_some(()));

    dae.succeed(["up"]);

    let is_new = |old: u32| move |it: &Value| it["state"] == "up" && it["pid"] != old;
    let again = dae.eventually("Follower", is_new(follower));
    assert_eq!(again["restarts"], 1);
    let up = dae.eventually("Leader", is_new(leader));
    let past = [transitions(&dae, "Leader"), transitions(&dae, "Follower")];
    let last = |index: usize, to: &str| {
        past[index].iter().rfind(|it| it["to"] == to).map(|it| it["seq"].as_u64().unwrap())
    };
    assert!(last(0, "up") < last(1, "stopping"), "{past:?}");
    assert_eq!(past[1].iter().filter(|it| it["to"] == "stopping").count(), 1, "{past:?}");
    // And no more of it with the next manager.
    dae.kill_manager();
    dae.succeed(["up"]);
    assert_eq!(dae.eventually("Leader", |it| it["state"] == "up")["pid"], up["pid"]);
    assert_eq!(dae.eventually("Follower", |it| it["state"] == "up")["pid"], again["pid"]);
}

#[test]
fn a_need_that_failed_without_a_manager_takes_along_who_needs_it() {
    let dae = Dae::start();
    // By name the one that needs comes first.
    let need = pid(&dae.install("Need", &shell(IDLE, &json!({ "restart": "never" }))));
    let more = json!({ "needs": ["Need"] });
    let needing = pid(&dae.install("Alone", &shell(IDLE, &more)));
    dae.kill_manager();
    kill(need);
    eventually("it has ended", || (!is_running(need)).then_some(()));

    dae.succeed(["up"]);

    let down = dae.eventually("Alone", |it| it["state"] == "down" && it["note"].is_string());
    assert_eq!(down["note"], "needs `Need`, which has failed");
    assert!(!is_running(needing));
    assert_eq!(dae.listed("Need").unwrap()["state"], "failed");
}

/// One that is known to be ready only once it has been asked, and one that follows it.
fn leader_and_follower(dae: &Dae, more: &Value) -> (u32, u32) {
    let mut leader = json!({ "program": binary("sample") });
    leader.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let leader = pid(&dae.install("Leader", &leader));
    let follower = shell(IDLE, &json!({ "follows": ["Leader"] }));
    (leader, pid(&dae.install("Follower", &follower)))
}
