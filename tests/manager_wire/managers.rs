//! From one manager to the next.

use serde_json::{Value, json};

use super::{is_alive, listed, only, sleeper};
use crate::harness::{Dae, binary, eventually, kill};

#[test]
fn only_what_is_enabled_starts_with_the_manager() {
    let dae = Dae::start();
    let mut client = dae.client();
    for name in ["Off", "On", "Now"] {
        client.ask("install", &sleeper(name));
    }

    let disabled = only(client.ask("disable", &json!(["Off"])));
    assert_eq!((&disabled["enabled"], &disabled["state"]), (&json!(false), &json!("up")));
    assert_eq!(disabled["definition_changed"], false, "nothing waits for a restart");
    let stopped = only(client.ask("disable", &json!(["Now", { "now": true }])));
    assert_eq!((&stopped["enabled"], &stopped["state"]), (&json!(false), &json!("down")));
    let started = only(client.ask("enable", &json!(["Now", { "now": true }])));
    assert_eq!((&started["enabled"], &started["state"]), (&json!(true), &json!("up")));
    dae.succeed(["down"]);
    dae.succeed(["up"]);

    let mut client = dae.client();
    for name in ["On", "Now"] {
        client.ask("wait", &json!([name]));
    }
    let states: Vec<Value> = listed(&dae)
        .as_array()
        .unwrap()
        .iter()
        .map(|it| json!([it["name"], it["state"]]))
        .collect();
    assert_eq!(json!(states), json!([["Now", "up"], ["Off", "down"], ["On", "up"]]));
}

#[test]
fn down_that_keeps_leaves_daemons_to_the_next_manager() {
    let dae = Dae::start();
    let mut client = dae.client();
    client.ask("install", &json!(["Sample", { "program": binary("sample") }]));
    client.ask("install", &sleeper("Sleeper"));
    client.ask("call", &json!(["Sample", "set", ["key", 1]]));
    let (before, manager) = (pids(&dae), json!(dae.pid()));
    client.refuse("bad-argument", "down", &json!([{ "keeep": true }]));

    assert_eq!(client.ask("down", &json!([{ "keep": true }]))["stopped"], json!([]));

    eventually("the manager has ended", || (!is_alive(&manager)).then_some(()));
    assert!(before.iter().all(|(_, pid)| is_alive(pid)));
    dae.succeed(["up"]);
    let mut client = dae.client();
    client.ask("wait", &json!(["all"]));
    assert_eq!(pids(&dae), before);
    let kept = client.ask("call", &json!(["Sample", "get", ["key"]]));
    assert_eq!(kept["args"], json!([1]));

    let down = client.ask("down", &json!([]));
    assert_eq!(down["stopped"], json!(["Sample", "Sleeper"]));
    assert!(!before.iter().any(|(_, pid)| is_alive(pid)));
    eventually("nothing of this home runs", || dae.processes().is_empty().then_some(()));
}

#[test]
fn a_killed_manager_is_followed_by_one_that_takes_over() {
    let dae = Dae::start();
    let mut client = dae.client();
    client.ask("install", &json!(["Sample", { "program": binary("sample") }]));
    client.ask("install", &sleeper("Sleeper"));
    client.ask("install", &sleeper("Victim"));
    let before = pids(&dae);
    let port = dae.port();

    dae.kill_manager();
    let victim = before.iter().find(|(name, _)| name == "Victim").unwrap().1.clone();
    kill(victim.as_u64().unwrap().try_into().unwrap());
    dae.succeed(["up"]);

    let mut client = dae.client();
    client.ask("wait", &json!(["all"]));
    assert_eq!(dae.port(), port, "it listens where the last one did");
    let after = pids(&dae);
    let lasting = |all: &[(Value, Value)]| all[..2].to_vec();
    assert_eq!(lasting(&after), lasting(&before));
    let second = dae.eventually("Victim", |it| it["state"] == "up" && it["pid"] != victim);
    assert!(is_alive(&second["pid"]));
}

/// Names and pids, by name.
fn pids(dae: &Dae) -> Vec<(Value, Value)> {
    let listed = listed(dae);
    listed.as_array().unwrap().iter().map(|it| (it["name"].clone(), it["pid"].clone())).collect()
}
