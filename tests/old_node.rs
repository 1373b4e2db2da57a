//! Programs from before this project stay what they are: found, supervised and understood.
//!
//! `programs/old-daemon.js` is one, and dies of whatever its kind died of: a packet in two reads,
//! two packets in one, a packet called `error`, a reset connection. That it lives on is part of
//! each test.

use std::{ffi::OsStr, path::PathBuf};

use serde_json::{Value, json};

use crate::harness::{Dae, Netcat, binary, eventually, kill, listening_ports, workspace};

#[test]
fn an_old_daemon_is_found_by_the_scan() {
    let (dae, old) = with_old_daemon();

    assert_eq!(old["name"], "Old");
    assert_eq!(old["secret"], Value::Null, "a listing shows no secrets");
    assert!(listening_ports(pid(&old)).contains(&port(&old)), "{old}");

    dae.succeed(["scan"]);
    dae.succeed(["scan"]);
    let still = dae.eventually("Old", |_| true);
    assert_eq!((&still["pid"], &still["port"]), (&old["pid"], &old["port"]));
}

#[test]
fn an_old_daemon_shows_the_secret_of_its_start() {
    let (_dae, old) = with_old_daemon();
    let mut netcat = Netcat::tcp(port(&old));
    netcat.send("dae []").unwrap();

    let reply = netcat.read_to_end().unwrap();

    let credential: Value =
        serde_json::from_str(reply.strip_prefix("credential ").unwrap()).unwrap();
    assert_eq!(
        (&credential[0], &credential[1], &credential[2]),
        (&json!("Old"), &old["pid"], &old["port"])
    );
    let secret = credential[3].as_str().unwrap();
    assert_eq!(secret.len(), 32, "128 bits in hex: {secret}");
}

#[test]
fn an_old_daemon_that_is_killed_comes_back_with_a_new_pid() {
    let (dae, first) = with_old_daemon();

    kill(pid(&first));

    let second = dae.eventually("Old", |it| is_up(it) && it["pid"] != first["pid"]);
    assert!(listening_ports(pid(&second)).contains(&port(&second)), "{second}");
    assert!(dae.succeed(["list"]).contains(&pid(&second).to_string()));
}

#[test]
fn an_old_daemon_hears_the_list_in_one_packet() {
    let dae = Dae::start();
    for name in ["Sample", "Second", "Third"] {
        dae.succeed([OsStr::new("install"), name.as_ref(), binary("sample").as_os_str()]);
    }
    let old = install_old(&dae);

    let (chunks, lists) = heard(port(&old));

    assert_eq!(chunks.len(), 1, "{chunks:?}");
    let names: Vec<&Value> = lists[0].as_array().unwrap().iter().map(|it| &it["name"]).collect();
    for name in ["Sample", "Second", "Third"] {
        assert!(names.contains(&&json!(name)), "{names:?}");
    }
}

#[test]
fn our_command_line_calls_an_old_daemon() {
    let (dae, _old) = with_old_daemon();

    let reply = dae.succeed(["call", "Old", "options", "--json"]);
    assert!(reply.contains("heard"), "{reply}");

    // It never answers a name that it does not know: ours has a deadline.
    let unknown = dae.run(["--timeout", "500ms", "call", "Old", "nope"]);
    assert!(!unknown.status.success());
}

/// A manager with the old daemon installed and up, and what is listed of it.
fn with_old_daemon() -> (Dae, Value) {
    let dae = Dae::start();
    let old = install_old(&dae);
    (dae, old)
}

fn install_old(dae: &Dae) -> Value {
    let program: PathBuf = workspace().join("tests/programs/old-daemon.js");
    dae.succeed(["install", "Old", "node", "--", program.to_str().unwrap()]);
    dae.eventually("Old", is_up)
}

/// What the old daemon at `port` has heard from its manager: the reads, and the lists in them.
fn heard(port: u16) -> (Vec<Value>, Vec<Value>) {
    eventually("the old daemon has its answer", || {
        let mut netcat = Netcat::tcp(port);
        netcat.send("heard []").unwrap();
        netcat.half_close().unwrap();
        let reply = netcat.read_to_end().unwrap();
        let args: Value = serde_json::from_str(reply.strip_prefix("heard ").unwrap()).unwrap();
        let [chunks, lists] = [0, 1].map(|index| args[index].as_array().unwrap().clone());
        (!chunks.is_empty()).then_some((chunks, lists))
    })
}

fn is_up(listed: &Value) -> bool {
    listed["state"] == "up"
}

fn pid(listed: &Value) -> u32 {
    listed["pid"].as_u64().unwrap().try_into().unwrap()
}

fn port(listed: &Value) -> u16 {
    listed["port"].as_u64().unwrap().try_into().unwrap()
}
