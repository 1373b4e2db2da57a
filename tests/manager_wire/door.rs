//! Who gets in, with how many arguments, and who does not.

use std::{io, thread};

use serde_json::{Value, json};
use tokio::time::{Duration, Instant};

use super::{listed, sleeper};
use crate::harness::{Dae, Netcat, binary};

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
