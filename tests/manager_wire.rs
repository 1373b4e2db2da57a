//! Every verb of the manager over the wire, with good and with bad arguments.

use std::{
    fs, io,
    sync::mpsc::{self, TryRecvError},
    thread,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Map, Value, json};
use tokio::time::{Duration, Instant};

use crate::harness::{Dae, Netcat, binary, environment, eventually, pid, shell, status};

/// How long a connection is held up by a token that is wrong.
const PAUSE: Duration = Duration::from_secs(1);

#[test]
fn m_5_1_netcat_alone_installs_over_both_loopbacks() {
    let dae = Dae::start();
    let (port, token) = (dae.port(), dae.token());
    let six = match Netcat::tcp6(port) {
        Ok(six) => Some(six),
        Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => None,
        Err(error) => panic!("::1: {error}"),
    };
    if six.is_none() {
        println!("skipped: M-5.1 over ::1, which this machine does not have");
    }
    thread::scope(|scope| {
        scope.spawn(|| check_netcat(Netcat::tcp(port), "Sample", &token));
        scope.spawn(|| six.map(|six| check_netcat(six, "Sixth", &token)));
    });
}

/// What a person does who has nothing but netcat.
fn check_netcat(mut netcat: Netcat, name: &str, token: &str) {
    let (reply, listed) = netcat.call("list", &json!([]));
    assert_eq!(reply, "daemons");
    assert!(listed[0].is_array(), "{listed}");
    let absent = netcat.refuse("not-found", "find", &json!([name]));
    assert_eq!(absent["name"], name);
    let unknown = netcat.refuse("unknown-command", "lits", &json!([]));
    assert_eq!(unknown["hint"], "list");
    let missing = netcat.refuse("bad-arity", "find", &json!([]));
    assert_eq!((&missing["min"], &missing["got"]), (&json!(1), &json!(0)));
    let install = json!([name, { "program": binary("sample") }]);
    let closed = netcat.refuse("auth-required", "install", &install);
    assert!(closed["message"].as_str().unwrap().contains("auth ["), "{closed}");

    let start = Instant::now();
    netcat.refuse("denied", "auth", &json!(["0".repeat(64)]));
    assert!(start.elapsed() >= PAUSE, "{:?}", start.elapsed());
    netcat.refuse("auth-required", "install", &install);
    assert_eq!(netcat.call("auth", &json!([token])), ("auth".into(), json!([])));
    let installed = netcat.ask("install", &install);

    let daemon = &installed["daemon"];
    assert_eq!((&daemon["name"], &daemon["state"]), (&json!(name), &json!("up")));
    let found = netcat.ask("find", &json!([name]));
    assert_eq!((&found["pid"], &found["port"]), (&daemon["pid"], &daemon["port"]));
    assert_eq!(found["secret"], Value::Null, "a listing shows no secrets");
}

#[test]
fn m_5_1_the_third_wrong_token_closes_the_connection() {
    let dae = Dae::start();
    let mut netcat = Netcat::tcp(dae.port());
    for _ in 0..3 {
        netcat.refuse("denied", "auth", &json!(["wrong"]));
    }

    assert_eq!(netcat.read_to_end().unwrap(), "");
}

#[test]
fn m_5_5_what_a_web_page_sends_is_refused_and_nothing_behind_it_runs() {
    let dae = Dae::start();
    let token = dae.token();
    let evil = format!("auth {}\ninstall {}\n", json!([token]), sleeper("Evil"));
    for first in ["GET / HTTP/1.1", "POST /x HTTP/1.0", "PUT http://x/ HTTP/1.1", "list * HTTP/1.1"]
    {
        for body in [format!("Host: x\r\n\r\n{evil}"), evil.clone()] {
            let mut netcat = Netcat::tcp(dae.port());
            netcat.send(format!("{first}\r\n{body}")).unwrap();

            check_guard(&mut netcat, first);
        }
    }
    // Not even from somebody who may do everything.
    let mut netcat = dae.client();
    netcat.send(format!("POST / HTTP/1.1\r\n\r\n{evil}")).unwrap();
    check_guard(&mut netcat, "authenticated");

    assert_eq!(listed(&dae), json!([]));
}

/// The one answer to HTTP, and then the end.
fn check_guard(netcat: &mut Netcat, sent: &str) {
    let answer = netcat.read_to_end().unwrap();
    let error = answer.strip_prefix("err ").unwrap_or_else(|| panic!("{sent}: {answer:?}"));
    let error: Value = serde_json::from_str(error).unwrap();
    assert_eq!(error[0]["code"], "not-supported", "{sent}");
}

#[test]
fn every_command_counts_its_arguments() {
    let dae = Dae::start();
    let mut client = dae.client();
    let help = client.ask("help", &json!([]));
    let commands = help.as_object().unwrap();
    let verbs = [
        "list",
        "find",
        "watch",
        "ready",
        "status",
        "install",
        "uninstall",
        "start",
        "stop",
        "restart",
        "enable",
        "disable",
        "edit",
        "wait",
        "logs",
        "events",
        "call",
        "scan",
        "doctor",
        "down",
    ];
    for verb in verbs {
        assert!(commands.contains_key(verb), "no {verb}");
    }
    for (name, command) in commands {
        let args = command["args"].as_array().unwrap();
        let required = args.iter().filter(|it| it["optional"] != true).count();
        let too_many = vec![Value::Null; args.len() + 1];
        let error = client.refuse("bad-arity", name, &json!(too_many));
        assert_eq!((&error["got"], &error["max"]), (&json!(args.len() + 1), &json!(args.len())));
        if required > 0 {
            let error = client.refuse("bad-arity", name, &json!([]));
            assert_eq!((&error["got"], &error["min"]), (&json!(0), &json!(required)));
        }
    }
}

#[test]
fn closed_commands_are_closed_without_a_token_and_open_on_the_unix_socket() {
    let dae = Dae::start();
    let mut netcat = Netcat::tcp(dae.port());
    let help = netcat.ask("help", &json!([]));
    let open = ["list", "find", "watch", "ready"];
    let of_everybody =
        ["dae", "options", "whois", "ping", "hello", "help", "auth", "cancel", "quit"];
    for (name, command) in help.as_object().unwrap() {
        let is_open = open.iter().chain(&of_everybody).any(|it| it == name);
        assert_eq!(command["auth"], !is_open, "{name}");
        if !is_open {
            let args = vec!["x"; command["args"].as_array().unwrap().len()];
            netcat.refuse("auth-required", name, &json!(args));
        }
    }
    assert_eq!(dae.unix().ask("status", &json!([]))["manager"]["pid"], dae.pid());
}

#[test]
fn install_says_what_is_wrong_with_a_definition() {
    let dae = Dae::start();
    let plain = dae.home().join("plain");
    fs::write(&plain, "text").unwrap();
    let mut client = dae.client();
    let cases = [
        (json!({ "program": "/bin/sleep", "colour": 1 }), "colour"),
        (json!({ "program": "bin/sleep" }), "bin/sleep"),
        (json!({ "program": "sleep" }), "sleep"),
        (json!({ "program": "/nonexistent/sleep" }), "/nonexistent/sleep"),
        (json!({ "program": dae.home() }), "directory"),
        (json!({ "program": plain }), "execut"),
        (json!({}), "program"),
        (json!({ "program": "/bin/sleep", "args": "infinity" }), "args"),
        (json!({ "program": "/bin/sleep", "grace": "soon" }), "grace"),
        (json!({ "program": "/bin/sleep", "port": 70000 }), "port"),
        (json!({ "program": "/bin/sleep", "ready": "perhaps" }), "ready"),
        (json!({ "program": "/bin/sleep", "no_start": "yes" }), "no_start"),
        (json!({ "program": "/bin/sleep", "timeout": "soon" }), "timeout"),
    ];
    for (definition, named) in cases {
        let error = client.refuse("bad-argument", "install", &json!(["X", definition]));
        assert_eq!(error["arg"], 1, "{error}");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(named), "{definition}: {message}");
    }
    for name in ["", "1st", "a.b", "Dae", "all", &"x".repeat(65)] {
        let error = client.refuse("bad-argument", "install", &sleeper(name));
        assert_eq!(error["arg"], 0, "{error}");
    }
    client.refuse("bad-argument", "install", &json!(["X", 5]));

    assert_eq!(listed(&dae), json!([]));
}

#[test]
fn install_takes_a_name_once_unless_it_replaces() {
    let dae = Dae::start();
    let mut client = dae.client();
    let first = client.ask("install", &sleeper("Sleeper"));
    assert_eq!((&first["v"], &first["daemon"]["state"]), (&json!(1), &json!("up")));

    let error = client.refuse("exists", "install", &sleeper("SLEEPER"));
    assert_eq!(error["name"], "Sleeper");

    let definition = json!({
        "program": "/bin/sleep", "args": ["99999"], "ready": "none", "replace": true,
    });
    let second = client.ask("install", &json!(["sleeper", definition]));
    assert_eq!(second["daemon"]["name"], "Sleeper", "the name stays as it was");
    assert_ne!(second["daemon"]["pid"], first["daemon"]["pid"]);
    let status = client.ask("status", &json!(["Sleeper"]));
    assert_eq!(status["definition"]["args"], json!(["99999"]));
}

#[test]
fn an_install_that_fails_shows_the_last_lines() {
    let dae = Dae::start();
    let script = json!({
        "program": "/bin/sh", "args": ["-c", "echo one; echo two >&2; exit 3"], "restart": "never",
    });

    let error = dae.client().refuse("not-ready", "install", &json!(["Broken", script]));

    assert!(error["message"].as_str().unwrap().contains('3'), "{error}");
    let texts: Vec<&Value> =
        error["output"].as_array().unwrap().iter().map(|it| &it["text"]).collect();
    assert_eq!(texts.len(), 2, "{error}");
    assert!(texts.contains(&&json!("one")) && texts.contains(&&json!("two")), "{error}");
}

#[test]
fn an_unknown_name_is_answered_with_near_ones() {
    let dae = Dae::start();
    let mut client = dae.client();
    client.ask("install", &at_rest("Sample"));
    let calls = [
        ("start", json!(["Sampel"])),
        ("stop", json!(["Sampel"])),
        ("restart", json!(["Sampel"])),
        ("uninstall", json!(["Sampel"])),
        ("enable", json!(["Sampel"])),
        ("disable", json!(["Sampel"])),
        ("wait", json!(["Sampel"])),
        ("find", json!(["Sampel"])),
        ("status", json!(["Sampel"])),
        ("logs", json!(["Sampel"])),
        ("edit", json!(["Sampel", {}])),
        ("call", json!(["Sampel", "dae"])),
    ];
    for (verb, args) in calls {
        let error = client.refuse("not-found", verb, &args);
        assert_eq!(error["near"], json!(["Sample"]), "{verb}: {error}");
        assert_eq!(error["name"], "Sampel", "{verb}: {error}");
        assert_eq!(error["command"], verb, "{verb}: {error}");
    }
}

#[test]
fn start_stop_and_restart_say_what_became_of_it() {
    let dae = Dae::start();
    let mut client = dae.client();
    let installed = client.ask("install", &sleeper("Sleeper"))["daemon"].take();

    let again = only(client.ask("start", &json!(["sleeper"])));
    assert_eq!(again["pid"], installed["pid"], "what is up stays up");
    let restarted = only(client.ask("restart", &json!(["Sleeper"])));
    assert_eq!(restarted["state"], "up");
    assert_ne!(restarted["pid"], installed["pid"]);
    assert_eq!(restarted["restarts"], 1);
    for _ in 0..2 {
        let stopped = only(client.ask("stop", &json!(["Sleeper"])));
        assert_eq!((&stopped["state"], &stopped["pid"]), (&json!("down"), &Value::Null));
    }
    assert!(!is_alive(&restarted["pid"]));
    assert_eq!(
        client.ask("list", &json!([{ "own": true }])),
        json!([]),
        "only what runs is listed"
    );
    let started = only(client.ask("restart", &json!(["Sleeper"])));
    assert_eq!(started["state"], "up", "what is down is started by a restart too");
    client.refuse("bad-argument", "stop", &json!(["Sleeper", { "tiemout": 5 }]));
    client.refuse("bad-argument", "stop", &json!([5]));
    client.refuse("bad-argument", "stop", &json!(["a.b"]));
}

#[test]
fn an_edit_takes_effect_at_the_next_start() {
    let dae = Dae::start();
    let mut client = dae.client();
    client.ask("install", &sleeper("Sleeper"));

    let edited =
        client.ask("edit", &json!(["Sleeper", { "args": ["88888"], "env": { "A": "1" } }]));

    assert_eq!(edited["daemon"]["definition_changed"], true);
    assert_eq!(listed(&dae)[0]["definition_changed"], true);
    let restarted = only(client.ask("restart", &json!(["Sleeper"])));
    assert_eq!(restarted["definition_changed"], false);
    let pid = &restarted["pid"];
    assert_eq!(
        fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap(),
        "/bin/sleep\x0088888\0"
    );
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap();
    assert!(environment.split(|it| *it == 0).any(|it| it == b"A=1"));

    let unknown = client.refuse("bad-argument", "edit", &json!(["Sleeper", { "argz": [] }]));
    assert!(unknown["message"].as_str().unwrap().contains("argz"), "{unknown}");
    client.refuse("bad-argument", "edit", &json!(["Sleeper", { "program": null }]));
    client.refuse("bad-argument", "edit", &json!(["Sleeper", { "program": "sleep" }]));
    client.refuse("bad-argument", "edit", &json!(["Sleeper", { "program": "/nonexistent" }]));
    assert_eq!(listed(&dae)[0]["definition_changed"], false);
}

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
fn wait_ends_when_it_is_so_or_when_time_is_over() {
    let dae = Dae::start();
    let mut client = dae.client();
    client.ask("install", &sleeper("Sleeper"));

    assert_eq!(only(client.ask("wait", &json!(["Sleeper"])))["state"], "up");
    let late = json!(["Sleeper", { "for": "gone", "timeout": 20 }]);
    assert_eq!(client.refuse("timeout", "wait", &late)["limit"], 20);
    client.refuse("bad-argument", "wait", &json!(["Sleeper", { "for": "ever" }]));

    client.send("wait#gone [\"Sleeper\",{\"for\":\"gone\"}]\n").unwrap();
    client.settle();
    dae.client().ask("stop", &json!(["Sleeper"]));
    let gone = client.read_line().unwrap();
    assert!(gone.starts_with("wait#gone [{") && gone.contains("\"down\""), "{gone}");

    client.send("wait#ready [\"Sleeper\"]\n").unwrap();
    client.settle();
    dae.client().ask("start", &json!(["Sleeper"]));
    let ready = client.read_line().unwrap();
    assert!(ready.starts_with("wait#ready [{") && ready.contains("\"up\""), "{ready}");

    client.send("wait#failed [\"Failing\",{\"for\":\"failed\"}]\n").unwrap();
    let unknown = client.read_line().unwrap();
    assert!(unknown.starts_with("err#failed [{\"code\":\"not-found\""), "{unknown}");
    let failing = json!({
        "program": "/bin/false", "restart": "never", "ready": "none", "no_start": true,
    });
    client.ask("install", &json!(["Failing", failing]));
    client.send("wait#failed [\"Failing\",{\"for\":\"failed\"}]\n").unwrap();
    client.settle();
    dae.client().call("start", &json!(["Failing"]));
    let failed = client.read_line().unwrap();
    assert!(failed.starts_with("wait#failed [{") && failed.contains("\"failed\""), "{failed}");
}

#[test]
fn find_waits_until_the_daemon_is_ready() {
    let dae = Dae::start();
    let mut client = dae.client();
    client.ask("install", &json!(["Sample", { "program": binary("sample"), "no_start": true }]));

    let absent = client.refuse("not-found", "find", &json!(["Sample"]));
    assert_eq!(absent["state"], "down");
    assert_eq!(client.refuse("timeout", "find", &json!(["Sample", 20]))["limit"], 20);
    client.refuse("not-found", "find", &json!(["Dae"]));

    client.send("find#f [\"sample\",60000]\n").unwrap();
    client.settle();
    let started = only(dae.client().ask("start", &json!(["Sample"])));
    let line = client.read_line().unwrap();
    let found: Value = serde_json::from_str(line.strip_prefix("find#f ").unwrap()).unwrap();
    assert_eq!((&found[0]["pid"], &found[0]["port"]), (&started["pid"], &started["port"]));
}

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
fn call_hands_on_the_reply_of_a_daemon_an_error_too() {
    let dae = Dae::start();
    let mut client = dae.client();
    client.ask("install", &json!(["Sample", { "program": binary("sample") }]));

    let set = client.ask("call", &json!(["Sample", "set", ["key", { "x": [1] }]]));
    assert_eq!(set, json!({ "reply": "set", "args": [] }));
    let all = client.ask("call", &json!(["sample", "all"]));
    assert_eq!(all, json!({ "reply": "memory", "args": [{ "key": { "x": [1] } }] }));
    let error = client.ask("call", &json!(["Sample", "set", ["key"]]));
    assert_eq!(error["reply"], "err");
    let error = &error["args"][0];
    assert_eq!((&error["code"], &error["got"]), (&json!("bad-arity"), &json!(1)));

    client.refuse("bad-argument", "call", &json!(["Sample", "a b"]));
    client.refuse("bad-argument", "call", &json!(["Sample", "set", "key"]));
    client.ask("stop", &json!(["Sample"]));
    let stopped = client.refuse("not-found", "call", &json!(["Sample", "all"]));
    assert_eq!(stopped["state"], "down");
}

#[test]
fn patterns_mean_several_and_every_name_is_reported() {
    let dae = Dae::start();
    let mut client = dae.client();
    for name in ["Sam", "Sample", "Other"] {
        client.ask("install", &at_rest(name));
    }
    let failing = json!({
        "program": "/bin/false", "restart": "never", "ready": "delay=60s", "no_start": true,
    });
    client.ask("install", &json!(["Samson", failing]));

    let report = client.ask("start", &json!(["sam*"]));
    assert_eq!(names(&report["daemons"]), ["Sam", "Sample"]);
    assert_eq!(names(&report["errors"]), ["Samson"]);
    let report = client.ask("stop", &json!([["Sam", "sam?le", "SAM"]]));
    assert_eq!(names(&report["daemons"]), ["Sam", "Sample"], "each once");
    client.refuse("not-found", "start", &json!(["x*"]));
    let report = client.ask("start", &json!([["Sam", "Nobody"]]));
    assert_eq!(names(&report["daemons"]), ["Sam"]);
    assert_eq!(names(&report["errors"]), ["Nobody"]);
    client.ask("stop", &json!(["all"]));
    let chosen = client.ask("list", &json!([{ "all": true, "own": true, "name": "*e*" }]));
    assert_eq!(names(&chosen), ["Other", "Sample"]);
    client.refuse("bad-argument", "list", &json!([{ "name": "a.b" }]));
    client.refuse("bad-argument", "list", &json!([{ "al": true }]));

    let report = client.ask("uninstall", &json!(["all"]));
    assert_eq!(names(&report["daemons"]), ["Other", "Sam", "Sample", "Samson"]);
    assert_eq!(listed(&dae), json!([]));
    let nobody = client.ask("start", &json!(["all"]));
    assert_eq!(nobody["daemons"], json!([]), "all of none is nothing to complain about");
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

#[test]
fn uninstall_leaves_the_logs_unless_they_go_too() {
    let dae = Dae::start();
    let mut client = dae.client();
    let logs = |name: &str| dae.home().join("state/logs").join(name);
    let pids: Vec<Value> = ["Kept", "Purged"]
        .map(|name| client.ask("install", &sleeper(name))["daemon"]["pid"].take())
        .into();

    client.ask("uninstall", &json!(["Kept"]));
    client.ask("uninstall", &json!(["Purged", { "purge": true }]));

    assert!(!pids.iter().any(is_alive));
    assert!(logs("Kept").exists());
    assert!(!logs("Purged").exists());
    assert_eq!(listed(&dae), json!([]));
    client.refuse("not-found", "uninstall", &json!(["Kept"]));
    assert_eq!(client.ask("logs", &json!(["Kept"])), json!([]));
}

#[test]
fn status_scan_and_doctor_answer_with_objects() {
    let dae = Dae::start();
    let mut client = dae.client();
    client.ask("install", &sleeper("Sleeper"));

    let status = client.ask("status", &json!(["sleeper"]));
    assert_eq!((&status["v"], &status["daemon"]["name"]), (&json!(1), &json!("Sleeper")));
    assert_eq!(status["definition"]["program"], "/bin/sleep");
    assert_eq!(status["identity"]["pid"], status["daemon"]["pid"]);
    let history: Vec<&Value> =
        status["history"].as_array().unwrap().iter().map(|it| &it["to"]).collect();
    assert_eq!(history, ["pending", "starting", "up"]);
    let own = client.ask("status", &json!([]))["manager"].take();
    assert_eq!((&own["pid"], &own["port"]), (&json!(dae.pid()), &json!(dae.port())));
    assert_eq!((&own["registry"], &own["daemons"]), (&json!("ok"), &json!({ "up": 1 })));

    let scan = client.ask("scan", &json!([]));
    assert_eq!(names(&scan["own"]), ["Sleeper"]);
    assert!(scan["foreign"].is_array());
    assert!(client.ask("doctor", &json!([]))["checks"].is_array());
    let wide = client.ask("list", &json!([{ "own": true, "wide": true }]))[0].take();
    assert!(wide["memory"].as_u64().unwrap() > 0, "{wide}");
    assert!(wide["cpu"].is_number(), "{wide}");
}

#[test]
fn ready_is_believed_of_nobody_without_the_secret() {
    let dae = Dae::start();
    let mut netcat = Netcat::tcp(dae.port());

    netcat.refuse("denied", "ready", &json!(["0".repeat(32), dae.port()]));
    netcat.refuse("bad-argument", "ready", &json!(["0".repeat(32), 70000]));
}

#[test]
fn a_daemon_that_is_ready_can_not_move_to_another_port() {
    let dae = Dae::start();
    let sample = dae.install("Sample", &json!({ "program": binary("sample") }));
    let secret = environment(pid(&sample)).remove("DAE_SECRET").unwrap();
    let mut netcat = Netcat::tcp(dae.port());

    netcat.ask("ready", &json!([secret, sample["port"]]));
    netcat.refuse("conflict", "ready", &json!([secret, dae.port()]));
    assert_eq!(dae.listed("Sample").unwrap()["port"], sample["port"]);
}

#[test]
fn nothing_is_installed_while_the_manager_ends() {
    let dae = Dae::start();
    let stubborn = shell("trap '' TERM; while :; do sleep 1; done", &json!({ "grace": "60s" }));
    let up = dae.install("Stubborn", &stubborn);
    let ignores = || u64::from_str_radix(&status(pid(&up), "SigIgn")?, 16).ok();
    let sigterm = 1 << (Signal::SIGTERM as u64 - 1);
    eventually("it is stubborn", || ignores().filter(|it| it & sigterm != 0));
    let mut ending = dae.unix();
    ending.send("down\n").unwrap();
    dae.eventually("Stubborn", |it| it["state"] == "stopping");

    for more in [json!({}), json!({ "no_start": true })] {
        let failure = dae.ask("install", &json!(["Late", shell("sleep 1", &more)])).unwrap_err();
        assert_eq!(failure["code"], "shutting-down", "{failure}");
    }

    assert_eq!(dae.listed("Late"), None);
    // The second signal is that of a person without patience.
    let manager = Pid::from_raw(dae.pid().cast_signed());
    kill(manager, Signal::SIGTERM).unwrap();
    assert!(ending.read_line().unwrap().starts_with("down "));
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
    kill(Pid::from_raw(victim.as_i64().unwrap() as i32), Signal::SIGKILL).unwrap();
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

/// What is listed of our own, stopped ones too.
fn listed(dae: &Dae) -> Value {
    dae.unix().ask("list", &json!([{ "all": true, "own": true }]))
}

/// Names and pids, by name.
fn pids(dae: &Dae) -> Vec<(Value, Value)> {
    let listed = listed(dae);
    listed.as_array().unwrap().iter().map(|it| (it["name"].clone(), it["pid"].clone())).collect()
}

/// The one daemon of a report without errors.
fn only(report: Value) -> Value {
    assert_eq!(report["errors"], json!([]), "{report}");
    let [daemon] = &report["daemons"].as_array().unwrap()[..] else { panic!("{report}") };
    daemon.clone()
}

fn names(listed: &Value) -> Vec<&str> {
    listed.as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect()
}

fn is_alive(pid: &Value) -> bool {
    fs::exists(format!("/proc/{pid}")).unwrap()
}

/// The arguments that install a program that speaks to nobody.
fn sleeper(name: &str) -> Value {
    json!([name, { "program": "/bin/sleep", "args": ["infinity"], "ready": "none" }])
}

/// The same, not started.
fn at_rest(name: &str) -> Value {
    let mut args = sleeper(name);
    let definition: &mut Map<String, Value> = args[1].as_object_mut().unwrap();
    definition.insert("no_start".into(), true.into());
    args
}
