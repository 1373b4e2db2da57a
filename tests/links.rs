//! `needs`, `after` and `follows`, with real processes.

use serde_json::{Value, json};

use crate::harness::{Dae, Netcat, kill};

#[test]
fn a_start_starts_what_it_needs() {
    let dae = Dae::start();
    let mut client = dae.unix();
    install(&mut client, "Base", json!({}));
    install(&mut client, "Middle", json!({ "needs": ["Base"] }));
    install(&mut client, "Top", json!({ "needs": ["Middle"] }));

    client.ask("start", &json!(["Top"]));

    assert_eq!(states(&mut client), ["Base up", "Middle up", "Top up"]);
    let history = history(&mut client);
    assert!(at(&history, "Base up") < at(&history, "Middle starting"), "{history:?}");
    assert!(at(&history, "Middle up") < at(&history, "Top starting"), "{history:?}");
}

#[test]
fn a_stop_stops_what_needs_it() {
    let dae = Dae::start();
    let mut client = dae.unix();
    install(&mut client, "Base", json!({}));
    install(&mut client, "Middle", json!({ "needs": ["Base"] }));
    install(&mut client, "Top", json!({ "needs": ["Middle"] }));
    install(&mut client, "Free", json!({ "after": ["Base"] }));
    client.ask("start", &json!(["all"]));

    client.ask("stop", &json!(["Base"]));
    client.ask("wait", &json!(["Top", { "for": "gone" }]));

    assert_eq!(states(&mut client), ["Base down", "Free up", "Middle down", "Top down"]);
    let middle = client.ask("list", &json!([{ "all": true, "name": "Middle" }]));
    assert_eq!(middle[0]["note"], "needs `Base`, which was stopped");
}

#[test]
fn what_needs_a_daemon_that_failed_does_not_start() {
    let dae = Dae::start();
    let mut client = dae.unix();
    let failing =
        json!({ "program": "/bin/false", "args": [], "restart": "never", "ready": "delay=60s" });
    install(&mut client, "Base", failing);
    install(&mut client, "Top", json!({ "needs": ["Base"] }));

    let error = client.refuse("stopped", "start", &json!(["Top"]));

    assert_eq!(error["state"], "down");
    assert!(
        error["message"].as_str().unwrap().contains("needs `Base`, which has failed"),
        "{error}"
    );
    assert_eq!(states(&mut client), ["Base failed", "Top down"]);
}

#[test]
fn an_edited_need_is_started_by_a_restart() {
    let dae = Dae::start();
    let mut client = dae.unix();
    install(&mut client, "Base", json!({}));
    install(&mut client, "Top", json!({}));
    client.ask("start", &json!(["Top"]));

    client.ask("edit", &json!(["Top", { "needs": ["Base"] }]));
    client.ask("restart", &json!(["Top"]));

    assert_eq!(states(&mut client), ["Base up", "Top up"]);
}

#[test]
fn a_cycle_is_refused_and_printed() {
    let dae = Dae::start();
    let mut client = dae.unix();
    install(&mut client, "One", json!({ "needs": ["Two"] }));
    install(&mut client, "Two", json!({ "after": ["Three"] }));

    let definition = definition(json!({ "follows": ["One"] }));
    let error = client.refuse("conflict", "install", &json!(["Three", definition]));

    let message = error["message"].as_str().unwrap();
    for link in ["needs `Two`", "after `Three`", "follows `One`"] {
        let (words, name) = link.split_once(' ').unwrap();
        assert!(message.contains(words) && message.contains(name.trim_matches('`')), "{message}");
    }
    let edit = json!(["Two", { "after": ["One"] }]);
    client.refuse("conflict", "edit", &edit);
    client.refuse("conflict", "edit", &json!(["One", { "after": ["one"] }]));
    assert_eq!(states(&mut client), ["One down", "Two down"]);
    let two = client.ask("status", &json!(["Two"]));
    assert_eq!(two["definition"]["after"], json!(["Three"]), "nothing was changed");
}

#[test]
fn a_follower_restarts_after_the_other_came_back() {
    let dae = Dae::start();
    let mut client = dae.unix();
    install(&mut client, "Leader", json!({}));
    install(&mut client, "Follower", json!({ "follows": ["Leader"] }));
    install(&mut client, "Free", json!({ "after": ["Leader"] }));
    client.ask("start", &json!(["all"]));
    let before = ["Leader", "Follower", "Free"].map(|name| pid(&dae, name));

    kill(before[0]);

    let is_new = |it: &Value, old: u32| it["state"] == "up" && it["pid"] != old;
    let leader = dae.eventually("Leader", |it| is_new(it, before[0]));
    let follower = dae.eventually("Follower", |it| is_new(it, before[1]));
    assert_eq!(pid(&dae, "Free"), before[2], "order alone restarts nobody");
    assert_eq!((&leader["restarts"], &follower["restarts"]), (&json!(1), &json!(1)));
    let history = history(&mut client);
    let last = |what: &str| history.iter().rposition(|it| it == what).unwrap();
    assert!(last("Leader up") < last("Follower stopping"), "{history:?}");
}

#[test]
fn the_order_holds_when_all_start_and_when_all_stop() {
    let dae = Dae::start();
    let mut client = dae.unix();
    // By name they would start the other way round.
    install(&mut client, "Z", json!({ "ready": "delay=100ms" }));
    install(&mut client, "M", json!({ "after": ["Z"], "ready": "delay=100ms" }));
    install(&mut client, "A", json!({ "after": ["M"] }));

    dae.succeed(["down"]);
    dae.succeed(["up"]);
    let mut client = dae.unix();
    client.ask("wait", &json!(["all"]));
    dae.succeed(["down"]);
    dae.succeed(["up"]);

    let history = history(&mut dae.unix());
    assert!(at(&history, "Z up") < at(&history, "M starting"), "{history:?}");
    assert!(at(&history, "M up") < at(&history, "A starting"), "{history:?}");
    assert!(at(&history, "A down") < at(&history, "M stopping"), "{history:?}");
    assert!(at(&history, "M down") < at(&history, "Z stopping"), "{history:?}");
}

#[test]
fn the_order_holds_when_several_are_named() {
    let dae = Dae::start();
    let mut client = dae.unix();
    install(&mut client, "Z", json!({ "ready": "delay=100ms" }));
    install(&mut client, "M", json!({ "after": ["Z"], "ready": "delay=100ms" }));
    install(&mut client, "A", json!({ "follows": ["M"] }));

    client.ask("start", &json!([["A", "M", "Z"]]));
    client.ask("stop", &json!(["all"]));
    client.ask("start", &json!(["*"]));

    let history = history(&mut client);
    let starts: Vec<&String> = history.iter().filter(|it| it.ends_with(" starting")).collect();
    let once = ["Z starting", "M starting", "A starting"];
    assert_eq!(starts, once.repeat(2), "{history:?}");
}

/// Installs a program that is up at once, with `more` said of it, and does not start it.
fn install(client: &mut Netcat, name: &str, more: Value) {
    client.ask("install", &json!([name, definition(more)]));
}

fn definition(more: Value) -> Value {
    let mut definition = json!({
        "program": "/bin/sleep", "args": ["infinity"], "ready": "none", "no_start": true,
    });
    let Value::Object(more) = more else { unreachable!("definitions are objects") };
    definition.as_object_mut().unwrap().extend(more);
    definition
}

/// `NAME STATE` of all, by name.
fn states(client: &mut Netcat) -> Vec<String> {
    let listed = client.ask("list", &json!([{ "all": true, "own": true }]));
    listed.as_array().unwrap().iter().map(|it| step(it, "state")).collect()
}

/// `NAME STATE` for every transition that has been.
fn history(client: &mut Netcat) -> Vec<String> {
    let events = client.ask("events", &json!([]));
    let all = events.as_array().unwrap().iter();
    all.filter(|it| it["kind"] == "transition").map(|it| step(it, "to")).collect()
}

fn step(of: &Value, key: &str) -> String {
    format!("{} {}", of["name"].as_str().unwrap(), of[key].as_str().unwrap())
}

/// When it was so first.
fn at(history: &[String], what: &str) -> usize {
    history.iter().position(|it| it == what).unwrap_or_else(|| panic!("no {what}: {history:?}"))
}

fn pid(dae: &Dae, name: &str) -> u32 {
    let listed = dae.eventually(name, |it| it["state"] == "up");
    listed["pid"].as_u64().unwrap().try_into().unwrap()
}
