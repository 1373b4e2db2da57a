//! What is installed, changed and forgotten.

use std::fs;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::{is_alive, listed, only, sleeper};
use crate::harness::{Dae, eventually, pid, shell, status, tell};

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
fn a_start_that_fails_shows_no_line_of_an_earlier_process() {
    let dae = Dae::start();
    let mut client = dae.client();
    let noisy = json!({
        "program": "/bin/sh", "args": ["-c", "echo earlier; exec sleep 1000"], "ready": "none",
    });
    client.ask("install", &json!(["Broken", noisy]));
    eventually("it has printed", || {
        let status = client.ask("status", &json!(["Broken"]));
        status["output"].as_array().filter(|it| !it.is_empty()).map(|_| ())
    });

    for (script, wanted) in [("exit 3", None), ("echo now; exit 3", Some("now"))] {
        let broken = json!({
            "program": "/bin/sh", "args": ["-c", script], "restart": "never", "replace": true,
            "ready": "delay=60s",
        });
        let error = client.refuse("not-ready", "install", &json!(["Broken", broken]));
        let lines = error["output"].as_array().into_iter().flatten();
        let texts: Vec<&str> = lines.map(|it| it["text"].as_str().unwrap()).collect();
        assert_eq!(texts, Vec::from_iter(wanted), "{error}");
    }
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
    tell(dae.pid(), Signal::SIGTERM);
    assert!(ending.read_line().unwrap().starts_with("down "));
}
