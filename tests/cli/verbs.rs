//! What is asked, and what comes of it.

use std::{sync::mpsc, thread, time::Duration};

use serde_json::json;
use tokio::time::Instant;

use super::{Follower, check_complaint, document, error, text, with_three};
use crate::harness::{Dae, IDLE, Netcat, binary, is_running, kill, pid, shell};

#[test]
fn m_4_5_the_list_answers_while_100_daemons_start() {
    let dae = Dae::start();
    let sample = json!({ "program": binary("sample"), "no_start": true, "start_timeout": "60s" });
    for number in 0..100 {
        dae.install(&format!("Sample{number:02}"), &sample);
    }

    let (started, has_started) = mpsc::channel();
    let took = thread::scope(|scope| {
        scope.spawn(|| started.send(dae.run(["start", "all", "--json"])).unwrap());
        let mut took = vec![];
        while has_started.try_recv().is_err() {
            let before = Instant::now();
            let listed = document(dae.succeed(["list", "--own", "--json"]).as_bytes());
            took.push(before.elapsed());
            assert_eq!(listed["daemons"].as_array().unwrap().len(), 100);
        }
        took
    });

    let longest = *took.iter().max().unwrap();
    println!("{} times `dae list` while 100 daemons start: at most {longest:?}", took.len());
    assert!(longest < Duration::from_secs(5), "{longest:?}");
    assert!(took.len() > 1, "all had started before anybody looked");
    let listed = document(dae.succeed(["list", "--own", "--json"]).as_bytes());
    assert!(listed["daemons"].as_array().unwrap().iter().all(|it| it["state"] == "up"));
}

#[test]
fn an_edit_is_shown_until_the_next_start() {
    let dae = Dae::start();
    dae.install("Idle", &shell(IDLE, &json!({})));
    let head = || dae.succeed(["status", "Idle"]).lines().next().unwrap().to_owned();

    let edited = dae.succeed(["edit", "Idle", "--grace", "2s", "--env", "A=1"]);

    assert!(edited.ends_with("(changed since its start)\n"), "{edited}");
    assert!(head().contains("changed since its start"), "{}", head());
    assert!(dae.succeed(["list", "--own"]).contains("changed since its start"));
    dae.succeed(["restart", "Idle"]);
    assert!(!head().contains("changed"), "{}", head());
    let status = document(dae.succeed(["status", "Idle", "--json"]).as_bytes());
    assert_eq!(status["definition"]["grace"], "2s");
    assert_eq!(status["environment"], json!({ "A": "1" }));
    check_complaint(&dae.run(["edit", "Idle"]), 2, &["nothing is to be changed", "--grace"]);
}

#[test]
fn a_call_comes_in_as_the_owner_by_the_unix_socket_or_else_by_the_token() {
    let dae = Dae::start();
    let vault = binary("examples/vault");
    let path = vault.to_str().unwrap();
    dae.install("Near", &json!({ "program": path }));
    let far = format!("unset DAE_SOCKET; exec {path}");
    dae.install("Far", &shell(&far, &json!({ "ready": "port" })));
    let closed = format!("unset DAE_SOCKET DAE_TOKEN_FILE; exec {path}");
    dae.install("Closed", &shell(&closed, &json!({ "ready": "port" })));

    for name in ["Near", "Far"] {
        assert_eq!(dae.succeed(["call", name, "look"]), "\"gold\"\n", "{name}");
    }
    check_complaint(&dae.run(["call", "Closed", "look"]), 8, &["say `auth"]);
    // Over TCP it needs the token all the same.
    let near = dae.listed("Near").unwrap();
    let mut stranger = Netcat::tcp(near["port"].as_u64().unwrap().try_into().unwrap());
    assert_eq!(stranger.call("look", &json!([])).1[0]["code"], "auth-required");
    let socket = near["unix"].as_str().unwrap();
    let status = dae.succeed(["status", "Near"]);
    assert!(status.contains(&format!("sockets\n  Unix  {socket}  yours\n")), "{status}");
    assert!(!dae.succeed(["status", "Far"]).contains("Unix"));
}

#[test]
fn enabled_and_disabled_daemons_are_started_and_stopped_now_if_told_so() {
    let dae = Dae::start();
    let first = pid(&dae.install("Idle", &shell(IDLE, &json!({}))));

    assert_eq!(dae.succeed(["disable", "Idle"]), "Idle  disabled  up\n");
    assert!(is_running(first));
    assert_eq!(dae.succeed(["disable", "Idle", "--now"]), "Idle  disabled  down\n");
    assert!(!is_running(first));
    assert_eq!(dae.run(["status", "Idle"]).status.code(), Some(3));
    assert_eq!(dae.succeed(["enable", "Idle"]), "Idle  enabled  down\n");
    assert_eq!(dae.succeed(["enable", "Idle", "--now"]), "Idle  enabled  up\n");
    assert_eq!(dae.run(["status", "Idle"]).status.code(), Some(0));
}

#[test]
fn a_wait_in_vain_times_out_with_7() {
    let dae = Dae::start();
    dae.install("Idle", &shell(IDLE, &json!({})));
    for state in ["gone", "failed"] {
        let output = dae.run(["wait", "Idle", "--for", state, "--timeout", "50ms"]);
        check_complaint(&output, 7, &["cannot wait for `Idle`: not done within 50 ms"]);
    }
    let waiting = Follower::start(dae.command(["wait", "Idle", "--for", "gone"]));
    dae.succeed(["stop", "Idle"]);
    assert_eq!(waiting.line(), "Idle  down");
}

#[test]
fn a_call_takes_words_or_an_array() {
    let dae = Dae::start();
    dae.install("Sample", &json!({ "program": binary("sample") }));

    assert_eq!(dae.succeed(["call", "Sample", "set", "key", "5"]), "");
    assert_eq!(dae.succeed(["call", "sample", "get", "key"]), "5\n");
    assert_eq!(dae.succeed(["call", "Sample", "set", r#"["key", {"x": [1]}]"#]), "");
    assert_eq!(dae.succeed(["call", "Sample", "get", r#"["key"]"#]), "{\"x\":[1]}\n");
    assert_eq!(dae.succeed(["call", "Sample", "set", "text", "a b"]), "");
    assert_eq!(dae.succeed(["call", "Sample", "get", "text"]), "\"a b\"\n");

    let wrong = dae.run(["call", "Sample", "set", "key"]);
    check_complaint(&wrong, 8, &["`Sample` answered: set: expected 2 arguments, got 1"]);
    let unknown = dae.run(["call", "Smaple", "get", "key"]);
    check_complaint(&unknown, 4, &["no daemon is called `Smaple`; did you mean `Sample`?"]);
    dae.succeed(["stop", "Sample"]);
    check_complaint(&dae.run(["call", "Sample", "all"]), 4, &["`Sample` is down"]);
}

#[test]
fn what_is_kept_has_the_same_pids_with_the_next_manager() {
    let dae = Dae::start();
    dae.install("Idle", &shell(IDLE, &json!({})));
    dae.install("Sample", &json!({ "program": binary("sample") }));
    let pids = || ["Idle", "Sample"].map(|name| pid(&dae.listed(name).unwrap()));
    let before = pids();

    assert_eq!(dae.succeed(["down", "--keep"]), "Dae  down\n");
    assert!(before.iter().all(|it| is_running(*it)));
    let up = dae.succeed(["up", "--wait"]);

    assert_eq!(pids(), before);
    let [idle, sample] = before;
    assert!(up.contains(&format!("Idle  up  pid {idle}\n")), "{up}");
    assert!(up.contains(&format!("Sample  up  pid {sample}  port ")), "{up}");
    assert_eq!(dae.succeed(["down"]), "Idle  down\nSample  down\nDae  down\n");
    assert!(!before.iter().any(|it| is_running(*it)));
}

#[test]
fn up_waits_for_who_comes_and_tells_who_does_not() {
    let dae = with_three();
    dae.succeed(["down"]);
    let up = dae.run(["up", "--wait"]);
    assert_eq!(up.status.code(), Some(3), "{up:?}");
    for daemon in ["Idle  up", "Sample  up"] {
        assert!(text(&up.stdout).contains(daemon), "{up:?}");
    }
    assert!(text(&up.stderr).contains("`Failing` is failed: exit 3"), "{up:?}");

    dae.succeed(["uninstall", "Failing"]);
    dae.succeed(["stop", "Idle"]);
    let up = dae.run(["up", "--wait"]);
    assert_eq!(up.status.code(), Some(3), "{up:?}");
    assert!(text(&up.stdout).contains("Sample  up"), "{up:?}");
    let said = "dae: `Idle` is down\n  hint: start what is down with `dae start Idle`\n";
    assert_eq!(text(&up.stderr), said);
    let up = dae.run(["up", "--wait", "--json"]);
    assert_eq!(document(&up.stdout)["down"], json!(["Idle"]));
    assert_eq!((up.status.code(), &error(&up)["code"]), (Some(3), &json!("stopped")));
    dae.succeed(["start", "Idle"]);
    dae.succeed(["up", "--wait"]);
}

#[test]
fn the_example_survives_the_end_of_whom_it_uses_and_of_the_manager() {
    let dae = Dae::start();
    let sample = dae.install("Sample", &json!({ "program": binary("sample") }));
    let counter = dae.install("Counter", &json!({ "program": binary("examples/counter") }));
    let count = || dae.succeed(["call", "Counter", "count"]);
    assert_eq!([count(), count()], ["1\n", "2\n"]);

    kill(pid(&sample));
    dae.eventually("Sample", |it| it["state"] == "up" && it["pid"] != sample["pid"]);
    assert_eq!([count(), count()], ["1\n", "2\n"], "the memory is a new one");

    dae.kill_manager();
    let port = counter["port"].as_u64().unwrap().try_into().unwrap();
    let counted = Netcat::tcp(port).call("count", &json!([]));
    assert_eq!(counted, ("count".into(), json!([3])));

    dae.succeed(["up", "--wait"]);
    assert_eq!(pid(&dae.listed("Counter").unwrap()), pid(&counter));
    let neighbours = document(dae.succeed(["call", "Counter", "neighbours"]).as_bytes());
    for name in ["Counter", "Sample"] {
        assert!(neighbours.as_array().unwrap().contains(&json!(name)), "{neighbours}");
    }
    assert_eq!(count(), "4\n");
    let measured = dae.succeed(["call", "Counter", "measure", "1000"]);
    println!("`find` over one connection, 1000 times: p50 and p99 in µs: {}", measured.trim());
}
