//! Who reads too slowly, asks too much, or is somebody else by now.

use serde_json::{Value, json};

use super::{StateServer, event, run};
use crate::harness::{Netcat, eventually};

/// Too much for what the kernel keeps of a connection that nobody reads.
const LARGE: usize = 300_000;

/// Changes what is watched until events of somebody who reads nothing were dropped.
fn overrun(root: &mut Netcat) {
    let mut n = 0;
    while root.ask("stats", &json!([]))["eventsDropped"] == 0 {
        n += 1;
        assert!(n < 300, "90 MB wait for somebody who reads nothing");
        root.ask("update", &json!([["big"], format!("{n}{}", "x".repeat(LARGE))]));
    }
}

#[test]
fn who_reads_too_slowly_is_told_how_things_are_once_he_reads() {
    let server = StateServer::start(&["--queue-events", "10", "--queue-patience", "1h"]);
    let token = server.root_token();
    let (mut root, mut slow) = (server.by_token(&token), Netcat::narrow(server.daemon().port()));
    slow.ask("auth", &json!([token]));
    slow.ask("subscribe", &json!([["big", "**"]]));
    overrun(&mut root);
    let last = root.ask("update", &json!([["big"], "last"]))["rev"].clone();

    let mut seq = 0;
    let lagged = loop {
        let line = slow.read_line().unwrap();
        let args: Value = serde_json::from_str(line.strip_prefix("event ").unwrap()).unwrap();
        seq += 1;
        assert_eq!(args[2], seq);
        if args[1]["lagged"] == true {
            break args[1].clone();
        }
    };
    assert_eq!((&lagged["rev"], &lagged["value"]), (&last, &json!("last")));
    assert_eq!((&lagged["sync"], &lagged["subs"]), (&json!(true), &json!([1])));
    root.ask("update", &json!([["big"], "after"]));
    let (_, change) = event(&mut slow);
    assert_eq!((&change["value"], &change["lagged"]), (&json!("after"), &Value::Null));
}

#[test]
fn who_does_not_read_at_all_loses_the_stream_and_keeps_the_session() {
    let server = StateServer::start(&["--queue-events", "10", "--queue-patience", "100ms"]);
    let token = server.root_token();
    let (mut root, mut slow) = (server.by_token(&token), Netcat::narrow(server.daemon().port()));
    slow.ask("auth", &json!([token]));
    slow.ask("subscribe", &json!([["big", "**"]]));
    overrun(&mut root);
    eventually("the subscription goes", || {
        (root.ask("stats", &json!([]))["subscriptions"] == 0).then_some(())
    });
    let end = loop {
        let line = slow.read_line().unwrap();
        if !line.starts_with("event ") {
            break line;
        }
    };
    let end: Value = serde_json::from_str(end.strip_prefix("end ").unwrap()).unwrap();
    assert_eq!(end[0]["reason"], "lagged");
    assert!(end[0]["missed"].as_u64() > Some(0), "{end}");
    assert_eq!(slow.ask("subscribe", &json!([["big"]]))["sub"], 1);
}

#[test]
fn messages_that_nobody_reads_count_together_with_all_that_waits() {
    let server = StateServer::start(&["--waiting-bytes", "2000000"]);
    let token = server.root_token();
    let mut root = server.by_token(&token);
    let mut deaf: Vec<_> = (0..4).map(|_| Netcat::narrow(server.daemon().port())).collect();
    for guest in &mut deaf {
        guest.ask("auth", &json!([token]));
        guest.ask("subscribe", &json!([null]));
    }
    // Each may have more waiting for it than all together, though they share what waits.
    let message = json!(["root", "much", "x".repeat(LARGE)]);
    eventually("somebody is sent away", || {
        root.ask("emit", &message);
        let stats = root.ask("stats", &json!([]));
        assert_eq!(stats["eventsDropped"], 0, "eight million bytes wait for one");
        (stats["sessions"].as_u64().unwrap() < 5).then_some(())
    });
}

#[test]
fn who_has_not_logged_in_has_less_unless_everybody_may_ask() {
    let large = json!([["a"], "x".repeat(100_000)]);
    let server = StateServer::start(&["--newcomer-rate", "3"]);
    let mut nobody = server.connect();
    assert_eq!(nobody.ask("hello", &json!([]))["limits"]["packet"], 65536);
    assert_eq!(server.root().ask("hello", &json!([]))["limits"]["packet"], 2 << 20);
    nobody.refuse("too-large", "update", &large);
    let mut nobody = server.connect();
    let mut asked = 0;
    while nobody.call("ping", &json!([])).0 == "ping" {
        asked += 1;
        assert!(asked < 10_000);
    }
    nobody.refuse("rate-limited", "ping", &json!([]));
    server.root().ask("update", &large);

    let server = StateServer::start(&["--anonymous"]);
    let mut nobody = server.connect();
    assert_eq!(nobody.ask("hello", &json!([]))["limits"]["packet"], 2 << 20);
    nobody.refuse("denied", "update", &large);
}

#[test]
fn a_limit_that_cannot_hold_is_refused_by_its_flag_and_range() {
    for (flag, value, range) in [
        ("--depth", "500", "1..=128"),
        ("--depth", "0", "1..=128"),
        ("--hashers", "1", "2..=1024"),
        ("--hashers", "0", "2..=1024"),
        ("--rate", "0", "1.."),
        ("--burst", "0", "1.."),
        ("--newcomer-rate", "0", "1.."),
        ("--login-attempts", "0", "1.."),
        ("--local-attempts", "0", "1.."),
        ("--queue-events", "0", "1.."),
        ("--segment-bytes", "1", "65536.."),
        ("--segment-bytes", "65535", "65536.."),
    ] {
        let output = run(&[flag, value, "check", "--data", "/nonexistent"]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{flag} {value}: {said}");
        let why = format!("{value} is not in {range}");
        assert!(said.contains(flag) && said.contains(&why), "{said}");
    }
    let server = StateServer::start(&["--depth", "128"]);
    assert_eq!(server.root().ask("hello", &json!([]))["limits"]["depth"], 128);
}

#[test]
fn a_session_has_a_pace_and_a_user_so_many_sessions() {
    let server = StateServer::start(&["--rate", "1", "--burst", "10", "--sessions-per-user", "2"]);
    let token = server.root_token();
    // The session that made the token may be there still.
    let enter = || {
        eventually("a place is free", || {
            let mut guest = server.connect();
            (guest.call("auth", &json!([token])).0 == "auth").then_some(guest)
        })
    };
    let (mut first, second) = (enter(), enter());
    assert_eq!(server.connect().refuse("quota", "auth", &json!([token]))["limit"], 2);
    drop(second);
    drop(enter());
    let refused = (0..10_000).find_map(|_| {
        let (name, args) = first.call("get", &json!([["users"]]));
        (name == "err").then_some(args)
    });
    assert_eq!(refused.unwrap()[0]["code"], "rate-limited");
}

#[test]
fn levels_tokens_and_accounts_act_at_once_on_sessions_that_run() {
    let server = StateServer::start(&[]);
    let mut root = server.root();
    for user in ["ann", "bob"] {
        root.ask("createUser", &json!([user, "secret"]));
    }
    root.ask("update", &json!([["doc"], 1]));
    let mut ann = server.logged_in("ann", "secret");
    ann.refuse("denied", "subscribe", &json!([["doc"]]));
    root.ask("updateUserLevel", &json!(["ann", 0]));
    ann.ask("subscribe", &json!([["doc"]]));
    event(&mut ann);
    root.ask("updateUserLevel", &json!(["ann", 1]));
    assert_eq!(event(&mut ann).1["name"], "revoked");
    ann.refuse("denied", "get", &json!([["doc"]]));

    let made = ann.ask("createToken", &json!([]));
    let mut other = server.by_token(made["token"].as_str().unwrap());
    ann.ask("revokeToken", &json!([made["id"]]));
    assert_eq!(other.read_to_end().unwrap(), "", "its session is closed");
    server.connect().refuse("bad-credentials", "auth", &json!([made["token"]]));

    // As long as it takes to log in before it ends.
    let mut other = (0..12)
        .find_map(|it| {
            let made = ann.ask("createToken", &json!([{"ttl": 200 << it}]));
            let mut other = server.connect();
            let (name, _) = other.call("auth", &json!([made["token"]]));
            (name == "auth").then_some(other)
        })
        .unwrap();
    assert_eq!(other.read_to_end().unwrap(), "", "its token has ended");

    let mut bob = server.logged_in("bob", "secret");
    bob.ask("subscribe", &json!([null]));
    root.ask("deleteUser", &json!(["bob"]));
    let (topic, message) = event(&mut bob);
    assert_eq!((topic.as_str(), &message["name"]), ("message", &json!("userDeleted")));
    assert!(message["src"].is_null());
    assert!(!bob.read_to_end().unwrap().contains("event"));
}
