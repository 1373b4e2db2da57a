//! Real AceBase processes on one database, which the relay connects.

use serde_json::{Value, json};

use super::cluster::{Cluster, Process};

/// Waits until so many others want to be told of what happens there.
fn wait_for_listeners(process: &mut Process, path: &str, event: &str, count: usize) {
    process.does("listeners", json!({ "path": path, "event": event, "count": count }));
}

#[test]
fn what_one_process_writes_is_heard_in_the_others_whoever_came_first() {
    let cluster = Cluster::start(&[]);
    let listen = |process: &mut Process| {
        process.does("listen", json!({ "path": "words", "event": "child_added" }));
        process.does("listen", json!({ "path": "last", "event": "value" }));
    };
    let mut processes =
        vec![cluster.master(), cluster.worker(), cluster.worker(), cluster.worker()];
    // Some listen before others are there.
    processes.iter_mut().take(2).for_each(listen);
    processes.push(cluster.worker());
    processes.iter_mut().skip(2).for_each(listen);
    for process in &mut processes {
        wait_for_listeners(process, "words", "child_added", 4);
        wait_for_listeners(process, "last", "value", 4);
    }
    for n in 0..processes.len() {
        let word = json!({ "path": format!("words/w{n}"), "value": format!("from {n} ☕") });
        processes[n].does("set", word.clone());
        processes[n].does("set", json!({ "path": "last", "value": n }));
        for process in &processes {
            let heard = [process.hears(), process.hears()];
            let told =
                json!({ "event": "child_added", "path": word["path"], "value": word["value"] });
            assert!(heard.contains(&told), "{heard:?}");
            assert!(heard.contains(&json!({ "event": "value", "path": "last", "value": n })));
        }
    }
}

#[test]
fn a_newcomer_hears_of_earlier_listeners_by_the_hello_that_the_relay_says_for_it() {
    for (hello, expected) in [("true", 1), ("false", 0)] {
        let cluster = Cluster::start(&["--assist-hello", hello]);
        let mut master = cluster.master();
        master.does("listen", json!({ "path": "words", "event": "child_added" }));
        let mut worker = cluster.worker();
        // Each needs a lock, so all that the master had to say before is there after it, and the
        // other way round.
        for path in ["before", "words/one", "after"] {
            worker.does("set", json!({ "path": path, "value": 1 }));
        }
        assert_eq!(master.does("get", json!({ "path": "words/one" })), 1);
        assert_eq!(master.heard().len(), expected, "with a hello: {hello}");
    }
}

#[test]
fn transactions_of_several_processes_at_once_are_all_counted() {
    const TIMES: u32 = 20;
    let cluster = Cluster::start(&[]);
    let mut master = cluster.master();
    let mut workers = [cluster.worker(), cluster.worker(), cluster.worker()];
    for worker in &mut workers {
        worker.begins("count", json!({ "path": "n", "times": TIMES }));
    }
    workers.iter().for_each(|it| drop(it.done("count")));
    for process in workers.iter_mut().chain([&mut master]) {
        assert_eq!(process.does("get", json!({ "path": "n" })), 3 * TIMES);
    }
}

#[test]
fn large_values_are_heard_whole_in_other_processes() {
    // Who takes as long as a busy machine lets him is not slow.
    let cluster = Cluster::start(&["--queue-age", "1h"]);
    let (mut master, mut writer, mut listener) =
        (cluster.master(), cluster.worker(), cluster.worker());
    for process in [&mut master, &mut listener] {
        process.does("listen", json!({ "path": "large", "event": "value" }));
    }
    wait_for_listeners(&mut writer, "large", "value", 2);
    for bytes in [100_000, 5_000_000] {
        // Neither as many bytes as characters nor as many units of UTF-16.
        let value = "0123456 ä☕𝄞".repeat(bytes / 17);
        writer.does("set", json!({ "path": "large", "value": value }));
        for process in [&master, &listener] {
            let heard = process.hears();
            // Not by `assert_eq`, which would print them.
            assert!(heard["value"] == value, "{bytes} bytes came as others");
        }
    }
}

#[test]
fn who_knows_the_token_is_let_in_however_it_is_escaped_and_nobody_else() {
    let (spaced, reserved) = (r#"a "secret" of <Zoë>"#, "a&b=c#d/é?");
    let cluster = Cluster::start(&["--token", spaced, "--token", reserved]);
    // The client has its way with the first; the second must be escaped for it.
    let mut master = cluster.process("master", Some("a%26b%3Dc%23d%2F%C3%A9%3F"));
    let mut worker = cluster.process("worker", Some(spaced));
    worker.does("listen", json!({ "path": "large", "event": "value" }));
    wait_for_listeners(&mut master, "large", "value", 1);
    let large = "x".repeat(50_000);
    master.does("set", json!({ "path": "large", "value": large }));
    assert!(worker.hears()["value"] == large);

    for token in [Some("a secret"), None] {
        let mut stranger = Process::start();
        stranger.begins("open", cluster.opening("worker", token));
        assert_eq!(stranger.failed("open"), "it gave up");
        assert_eq!(stranger.hears(), complaint("unauthorized"));
    }
}

#[test]
fn a_process_that_is_killed_is_forgotten_and_the_others_go_on() {
    let cluster = Cluster::start(&[]);
    let mut processes = vec![cluster.master(), cluster.worker(), cluster.worker()];
    let mut victim = cluster.worker();
    let listen = |it: &mut Process| it.does("listen", json!({ "path": "last", "event": "value" }));
    processes.iter_mut().chain([&mut victim]).for_each(|it| drop(listen(it)));
    processes.iter_mut().for_each(|it| wait_for_listeners(it, "last", "value", 3));
    wait_for_listeners(&mut victim, "last", "value", 3);
    tell_all(&mut victim, &processes, "before");
    // Who may write holds the only lock, and so the victim none.
    processes[1].does("count", json!({ "path": "n", "times": 1 }));
    drop(victim);

    processes.iter_mut().for_each(|it| wait_for_listeners(it, "last", "value", 2));
    for worker in &mut processes[1..] {
        worker.begins("count", json!({ "path": "n", "times": 5 }));
    }
    processes[1..].iter().for_each(|it| drop(it.done("count")));
    let mut newcomer = cluster.worker();
    listen(&mut newcomer);
    wait_for_listeners(&mut newcomer, "last", "value", 3);
    tell_all(&mut newcomer, &processes, "after");
    assert_eq!(newcomer.does("get", json!({ "path": "n" })), 11);
}

#[test]
fn there_is_one_master_and_another_only_after_it() {
    // Enough for the first to show that it lives, however busy the machine is.
    let cluster = Cluster::start(&["--dup-probe", "20s"]);
    let (mut master, mut worker) = (cluster.master(), cluster.worker());
    let mut second = Process::start();
    second.begins("open", cluster.opening("master", None));
    assert_eq!(second.failed("open"), "it gave up");
    assert_eq!(second.hears(), complaint("unsupported client version (too new or old)"));
    drop(second);
    worker.does("count", json!({ "path": "n", "times": 5 }));
    master.does("count", json!({ "path": "n", "times": 1 }));

    drop(master);
    let mut master = cluster.master();
    worker.does("count", json!({ "path": "n", "times": 5 }));
    assert_eq!(master.does("get", json!({ "path": "n" })), 11);
}

/// Has one process write what it and all of these listen to.
fn tell_all(writer: &mut Process, others: &[Process], what: &str) {
    writer.does("set", json!({ "path": "last", "value": what }));
    for process in others.iter().chain([&*writer]) {
        assert_eq!(process.hears()["value"], what);
    }
}

/// What a client says that may not connect.
fn complaint(why: &str) -> Value {
    json!({ "complaint": format!("Cannot connect to IPC server: {why}") })
}
