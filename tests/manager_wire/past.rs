//! Logs and events, the past and what comes.

use std::{
    sync::mpsc::{self, TryRecvError},
    thread,
};

use serde_json::{Value, json};

use super::{at_rest, sleeper};
use crate::harness::{Dae, eventually};

#[test]
fn logs_are_chosen_by_number_stream_pattern_and_time() {
    let dae = Dae::start();
    let mut client = dae.client();
    let script = "for i in 1 2 3 4 5; do echo line $i; done; echo oops $((6 * 7)) >&2; \
                  exec sleep infinity";
    let definition = json!({ "program": "/bin/sh", "args": ["-c", script], "ready": "none" });
    client.ask("install", &json!(["Talker", definition]));
    let mut texts = |options: Value| -> Vec<String> {
        let lines = client.ask("logs", &json!(["Talker", options]));
        let lines = lines.as_array().unwrap();
        assert!(lines.iter().all(|it| it["name"] == "Talker" && it["time"].is_string()));
        lines.iter().map(|it| it["text"].as_str().unwrap().to_owned()).collect()
    };

    eventually("all is printed", || (texts(json!({})).len() == 6).then_some(()));

    assert_eq!(texts(json!({ "stream": "err" })), ["oops 42"]);
    let all = ["line 1", "line 2", "line 3", "line 4", "line 5"];
    assert_eq!(texts(json!({ "stream": "out" })), all);
    assert_eq!(texts(json!({ "stream": "out", "lines": 2 })), all[3..]);
    assert_eq!(texts(json!({ "grep": "[24]$", "stream": "out" })), ["line 2", "line 4"]);
    assert_eq!(texts(json!({ "since": "1h" })).len(), 6);
    assert!(texts(json!({ "since": "2999-01-01" })).is_empty());
    assert!(texts(json!({ "before": "1h" })).is_empty());

    for wrong in [
        json!({ "stream": "both" }),
        json!({ "grep": "(" }),
        json!({ "since": "soon" }),
        json!({ "lines": -1 }),
        json!({ "linse": 1 }),
    ] {
        client.refuse("bad-argument", "logs", &json!(["Talker", wrong]));
    }
}

#[test]
fn events_tell_every_command_with_who_asked() {
    let dae = Dae::start();
    let mut follower = dae.client();
    follower.send("events#e [{\"follow\":true}]\n").unwrap();
    assert!(follower.read_line().unwrap().starts_with("events#e [["));

    dae.unix().ask("install", &sleeper("Sleeper"));
    dae.client().ask("stop", &json!(["Sleeper"]));

    let mut followed = vec![];
    loop {
        let line = follower.read_line().unwrap();
        let event: Value = serde_json::from_str(line.strip_prefix("event#e ").unwrap()).unwrap();
        assert_eq!((&event[0], &event[2]), (&json!("event"), &json!(followed.len() + 1)));
        let is_last = event[1]["to"] == "down";
        followed.push(event[1].clone());
        if is_last {
            break;
        }
    }
    let shown: Vec<Value> = followed
        .iter()
        .map(|it| if it["kind"] == "command" { it["command"].clone() } else { it["to"].clone() })
        .collect();
    let expected = ["install", "pending", "starting", "up", "stop", "stopping", "down"];
    assert_eq!(json!(shown), json!(expected));
    let uid = nix::unistd::geteuid();
    assert_eq!(followed[0]["by"], format!("uid {uid}"));
    assert!(followed[4]["by"].as_str().unwrap().starts_with("tcp "), "{}", followed[4]);

    let past = dae.client().ask("events", &json!([]));
    let past = past.as_array().unwrap();
    assert_eq!(past[past.len() - followed.len()..], followed, "the file tells the same");
    assert_eq!(dae.client().ask("events", &json!([{ "since": "2999-01-01" }])), json!([]));
    dae.client().refuse("bad-argument", "events", &json!([{ "since": "soon" }]));
    dae.client().refuse("bad-argument", "events", &json!([{ "folow": true }]));
}

#[test]
fn who_follows_events_misses_none_between_the_past_and_the_stream() {
    let dae = Dae::start();
    dae.unix().ask("install", &at_rest("Sleeper"));
    let (is_enough, enough) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let dae = &dae;
        scope.spawn(move || {
            let mut client = dae.unix();
            // Until the sender is dropped, by a panic too.
            while enough.try_recv() == Err(TryRecvError::Empty) {
                client.ask("start", &json!(["Sleeper"]));
                client.ask("stop", &json!(["Sleeper"]));
            }
        });
        let _until_the_end = is_enough;
        for _ in 0..20 {
            let mut follower = dae.unix();
            let past = follower.ask("events", &json!([{ "follow": true }]));
            let event = follower.read_line().unwrap();
            let event: Value = serde_json::from_str(&event["event ".len()..]).unwrap();
            let last = past.as_array().unwrap().last().unwrap()["seq"].as_u64().unwrap();
            assert_eq!(event[1]["seq"], last + 1, "{event}");
        }
    });
}

#[test]
fn a_followed_log_brings_what_is_printed_until_it_is_cancelled() {
    let dae = Dae::start();
    let mut client = dae.unix();
    let says = |what| json!(["Echo", { "program": "/bin/echo", "args": [what], "ready": "none", "restart": "never", "replace": true }]);
    client.ask("install", &says("one"));
    client.ask("wait", &json!(["Echo", { "for": "gone" }]));

    let mut follower = dae.unix();
    follower.send("logs#f [\"Echo\",{\"follow\":true}]\n").unwrap();
    let past = follower.read_line().unwrap();
    assert!(past.starts_with("logs#f [[{") && past.contains("\"text\":\"one\""), "{past}");

    client.ask("install", &says("two"));
    let event = follower.read_line().unwrap();
    assert!(event.starts_with("event#f [\"line\",{") && event.contains("\"two\""), "{event}");
    assert!(event.trim_end().ends_with(",1]"), "{event}");

    follower.send("cancel [\"f\"]\n").unwrap();
    let mut last = [follower.read_line().unwrap(), follower.read_line().unwrap()];
    last.sort();
    assert_eq!(last, ["cancel []\n", "end#f [{\"reason\":\"cancelled\"}]\n"]);
}
