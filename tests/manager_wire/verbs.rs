//! What is asked of daemons, by name or pattern.

use serde_json::{Value, json};

use super::{at_rest, is_alive, listed, names, only, sleeper};
use crate::harness::{Dae, Netcat, binary, environment, pid};

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
