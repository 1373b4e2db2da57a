//! Two commands after each other and at once, in every state.

use std::fs;

use serde_json::json;

use super::{ONCE_BROKEN, is, ways};
use crate::harness::{Dae, IDLE, eventually, shell};

/// All that can be asked of a daemon in a pair. What takes a timeout gets one.
const VERBS: [&str; 7] = ["start", "stop", "restart", "enable", "disable", "edit", "uninstall"];

/// A daemon for each state in which a pair of commands may meet it, and how it comes there.
const STATES: [(&str, &str, &str); 7] = [
    ("down", "", r#"{}"#),
    ("pending", "start", r#"{ "after": ["Blocker"] }"#),
    ("starting", "start", r#"{ "ready": "delay=60ms" }"#),
    ("up", "start", r#"{}"#),
    ("stopping", "stop", r#"{}"#),
    ("waiting", "start", r#"{ "ready": "delay=60ms", "backoff": "1h..1h" }"#),
    ("failed", "start", r#"{ "ready": "delay=60ms", "restart": "never" }"#),
];

#[test]
fn m_7_3_pairs_of_commands_in_every_state_are_answered_and_the_last_one_counts() {
    let dae = with_blocker();
    let mut client = dae.client();
    for state in STATES {
        for (first, second) in pairs() {
            let name = bring(&dae, state, &format!("{first}-{second}"));
            for verb in [first, second] {
                client.send(packet(verb, &name, state.0)).unwrap();
            }
            for verb in [first, second] {
                let answer = client.read_line().unwrap();
                let is_answer =
                    answer.starts_with(&format!("{verb} ")) || answer.starts_with("err ");
                assert!(is_answer, "{first}, {second} of {name}: {answer}");
            }
            judge(&dae, &name, state.0, [first, second]);
        }
    }
    let registry = fs::read_to_string(dae.home().join("data/registry.toml")).unwrap();
    assert!(!registry.contains("[daemon.T-"), "{registry}");
}

#[test]
fn m_7_3_pairs_of_commands_at_the_same_time_are_each_answered_once() {
    let dae = with_blocker();
    let mut client = dae.client();
    for state in STATES {
        for (first, second) in pairs() {
            let name = bring(&dae, state, &format!("{first}-{second}"));
            let [one, two] = [first, second].map(|verb| packet(verb, &name, state.0));
            let [one, two] = [tagged(&one, 1), tagged(&two, 2)];
            client.send(one + &two).unwrap();
            let answers = [(); 2].map(|()| client.read_line().unwrap());
            for tag in ["#1 ", "#2 "] {
                let of_tag = answers.iter().filter(|it| it.contains(tag)).count();
                assert_eq!(of_tag, 1, "{first}, {second} of {name}: {answers:?}");
            }
            if (first == "uninstall") != (second == "uninstall") {
                let is_done = answers.iter().any(|it| it.starts_with("uninstall#"));
                assert!(is_done, "{first}, {second} of {name}: {answers:?}");
            }
            forget(&dae, &name);
        }
    }
    let registry = fs::read_to_string(dae.home().join("data/registry.toml")).unwrap();
    assert!(!registry.contains("[daemon.T-"), "{registry}");
}

/// A manager with a daemon that never becomes ready, so that who comes after it stays `pending`.
fn with_blocker() -> Dae {
    let dae = Dae::start();
    let more = json!({ "ready": "dae", "start_timeout": "1h", "no_start": true });
    dae.install("Blocker", &shell(IDLE, &more));
    dae.unix().send("start [\"Blocker\", { \"timeout\": 1 }]\n").unwrap();
    dae.eventually("Blocker", is("starting"));
    dae
}

fn pairs() -> impl Iterator<Item = (&'static str, &'static str)> {
    VERBS.into_iter().flat_map(|first| VERBS.map(|second| (first, second)))
}

/// Installs a daemon and brings it into a state.
fn bring(dae: &Dae, (state, verb, more): (&str, &str, &str), pair: &str) -> String {
    let name = format!("T-{state}-{pair}");
    let script = match state {
        "waiting" | "failed" => ONCE_BROKEN,
        "stopping" => r#"trap "sleep 0.05; exit 0" TERM; while :; do sleep 1000 & wait; done"#,
        _ => IDLE,
    };
    let mut definition = shell(script, &serde_json::from_str(more).unwrap());
    definition["grace"] = json!("300ms");
    definition["no_start"] = json!(state != "stopping");
    dae.install(&name, &definition);
    if !verb.is_empty() {
        let mut client = dae.unix();
        client.send(format!("{verb} [\"{name}\"]\n")).unwrap();
        // It may be past that state already; that it has been there is enough.
        eventually(&format!("{name} is there"), || {
            ways(dae, &name).contains(&state.into()).then_some(())
        });
    }
    name
}

fn packet(verb: &str, name: &str, state: &str) -> String {
    // Who is pending stays so: the answer to a start is that it was not done in time.
    let is_vain = state == "pending" && verb.contains("start");
    let timeout = if is_vain { 20 } else { 10_000 };
    let options =
        if verb == "edit" { json!({ "grace": "400ms" }) } else { json!({ "timeout": timeout }) };
    format!("{verb} {}\n", json!([name, options]))
}

fn tagged(packet: &str, tag: u32) -> String {
    packet.replacen(' ', &format!("#{tag} "), 1)
}

/// Asserts that what was asked last is so, and that it can be got rid of.
fn judge(dae: &Dae, name: &str, state: &str, pair: [&str; 2]) {
    let last = |verbs: &[&'static str]| {
        pair.iter().rev().find_map(|it| verbs.iter().copied().find(|verb| verb == it))
    };
    if pair.contains(&"uninstall") {
        eventually(&format!("{name} is gone"), || dae.listed(name).is_none().then_some(()));
        return;
    }
    let wanted = match last(&["start", "stop", "restart"]) {
        Some("stop") => Some("down"),
        Some(_) if state == "pending" => Some("pending"),
        Some(_) => Some("up"),
        None => None,
    };
    if let Some(wanted) = wanted {
        dae.eventually(name, is(wanted));
    }
    if let Some(word) = last(&["enable", "disable"]) {
        assert_eq!(dae.listed(name).unwrap()["enabled"], word == "enable", "{name}");
    }
    forget(dae, name);
}

/// Uninstalls `name` unless that has been done.
fn forget(dae: &Dae, name: &str) {
    match dae.ask("uninstall", &json!([name, { "timeout": 10_000 }])) {
        Ok(_) => {}
        Err(error) => assert_eq!(error["code"], "not-found", "{name}: {error}"),
    }
    assert_eq!(dae.listed(name), None);
}
