//! What is told to whom, and what is not: too large, too late, or to somebody who was refused.

use serde_json::json;

use super::{StateServer, event};
use crate::harness::Netcat;

/// More than waits for one session, less than the kernel keeps of a connection.
const LARGE: usize = 20_000;

#[test]
fn a_value_that_is_larger_than_what_may_wait_is_told_all_the_same() {
    let server = StateServer::start(&["--queue-bytes", "1000"]);
    let mut root = server.root();
    for name in ["a", "b", "c"] {
        root.ask("update", &json!([["big", name], "x".repeat(LARGE)]));
    }
    root.ask("subscribeSync", &json!([["big"]]));
    assert_eq!(event(&mut root).1["value"].as_object().unwrap().len(), 3);
    for name in ["a", "b", "c"] {
        root.send(format!("subscribe [[\"big\",\"{name}\"]]\n")).unwrap();
    }
    let mut told = 0;
    while told < 3 {
        let line = root.read_line().unwrap();
        if line.starts_with("event ") {
            assert!(line.contains("\"sync\":true") && line.len() > LARGE);
            told += 1;
        }
    }
}

#[test]
fn what_can_be_no_result_is_refused_before_there_is_a_stream() {
    let server = StateServer::start(&["--result-bytes", "10000"]);
    let mut root = server.root();
    root.ask("update", &json!([["big"], "x".repeat(LARGE)]));
    root.ask("update", &json!([["small"], 1]));
    for command in ["get", "subscribe", "subscribeSync"] {
        assert_eq!(root.refuse("too-large", command, &json!([["big"]]))["limit"], 10000);
    }
    root.refuse("not-found", "cancel", &json!([]));
    root.ask("subscribe", &json!([["small"]]));
    event(&mut root);
    // It grows later: the stream says why it ends.
    let line = format!("update [[\"small\"],\"{}\"]\n", "x".repeat(LARGE));
    root.send(line).unwrap();
    let lines = [root.read_line().unwrap(), root.read_line().unwrap()];
    assert!(lines.contains(&"end [{\"reason\":\"too-large\"}]\n".to_owned()), "{lines:?}");
    assert_eq!(root.ask("stats", &json!([]))["subscriptions"], 0);
}

#[test]
fn who_lags_is_no_receiver_and_hears_of_the_end_of_what_it_watched() {
    let server = StateServer::start(&["--queue-events", "10", "--queue-patience", "1h"]);
    let token = server.root_token();
    let mut root = server.by_token(&token);
    root.ask("createUser", &json!(["ann", "secret"]));
    root.ask("update", &json!([["big"], 1]));
    root.ask("updatePerms", &json!([["big"], "ann", {"lvl": 2}]));
    let mut ann = Netcat::narrow(server.daemon().port());
    ann.ask("auth", &json!(["ann", "secret"]));
    ann.ask("subscribe", &json!([["big"]]));
    while root.ask("stats", &json!([]))["eventsDropped"] == 0 {
        root.ask("update", &json!([["big"], "x".repeat(300_000)]));
    }
    assert_eq!(root.ask("emit", &json!(["ann", "hello", 1]))["delivered"], 0);
    root.ask("updatePerms", &json!([["big"], "ann", null]));
    let last = loop {
        let (_, change) = event(&mut ann);
        if change["name"] != "update" {
            break change;
        }
    };
    assert_eq!((&last["name"], &last["reason"]), (&json!("revoked"), &json!("perms")));
    ann.refuse("denied", "get", &json!([["big"]]));
}

#[test]
fn who_has_cancelled_watches_nothing() {
    let server = StateServer::start(&[]);
    let mut root = server.root();
    root.ask("subscribe", &json!([["a"]]));
    event(&mut root);
    root.ask("cancel", &json!([]));
    assert_eq!(root.read_line().unwrap(), "end [{\"reason\":\"cancelled\"}]\n");
    assert_eq!(root.ask("unsubscribe", &json!([1]))["removed"], 0);
    assert_eq!(root.ask("stats", &json!([]))["subscriptions"], 0);
}
