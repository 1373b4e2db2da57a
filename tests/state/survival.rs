//! What lasts: everything over a restart, every acknowledged change over SIGKILL.

use std::{
    env,
    hash::{BuildHasher, RandomState},
    sync::atomic::{AtomicU64, Ordering::SeqCst},
    thread,
};

use serde_json::{Value, json};

use super::{StateServer, event};
use crate::harness::{Netcat, patiently};

/// Rounds of [`nothing_acknowledged_is_lost_by_a_kill`], unless this variable says otherwise.
const ROUNDS: (&str, u64) = ("STATE_KILLS", 10);

/// Connections that write in each round.
const WRITERS: usize = 4;

/// At most so many changes are acknowledged before the kill.
const MOST: u64 = 400;

#[test]
fn a_restart_keeps_everything() {
    let mut server = StateServer::start(&[]);
    let mut root = server.root();
    root.ask("createUser", &json!(["ann", "secret"]));
    root.ask("update", &json!([["doc"], {"v": [1, 2.5, "é", null, true, -7]}]));
    root.ask("updatePerms", &json!([["doc"], "ann", {"lvl": 2}]));
    root.ask("setQuota", &json!([["users", "ann"], {"bytes": 1000, "nodes": 3}]));
    root.ask("create", &json!([["doc"], "late", 1]));
    root.ask("gc", &json!([["doc", "late"], [{"on": "event", "name": "tidy"}]]));
    root.ask("create", &json!([[], "here", 1, {"ephemeral": true}]));
    let token = server.logged_in("ann", "secret").ask("createToken", &json!([{"lvl": 2}]));
    let before = root.ask("get", &json!([["doc"], {"rev": true}]));
    // Half of it from a snapshot, half from the journal.
    root.ask("saveServerState", &json!([]));
    let rev = root.ask("update", &json!([["after"], 1]))["rev"].clone();
    root.ask("update", &json!([["after"], 2]));
    server.kill();
    server.resume();

    let mut root = server.root();
    assert_eq!(root.ask("get", &json!([["doc"], {"rev": true}])), before);
    assert_eq!(root.ask("get", &json!([["after"]])), 2);
    root.ask("subscribe", &json!([["after"], {"since": rev}]));
    let (_, missed) = event(&mut root);
    assert_eq!((&missed["value"], &missed["sync"]), (&json!(2), &Value::Null));
    root.ask("cancel", &json!([]));
    assert_eq!(root.read_line().unwrap(), "end [{\"reason\":\"cancelled\"}]\n");
    let mut ann = server.by_token(token["token"].as_str().unwrap());
    assert_eq!(ann.ask("get", &json!([["doc", "v", 2]])), "é");
    ann.refuse("denied", "update", &json!([["users", "ann"], {}]));
    let mut ann = server.logged_in("ann", "secret");
    ann.refuse("quota", "update", &json!([["users", "ann"], {"a": 1, "b": 2, "c": 3}]));
    root.ask("emit", &json!(["root", "tidy", null]));
    root.refuse("not-found", "get", &json!([["doc", "late"]]));
    // The session of the crash is over, which is found out at the start.
    let gone = |root: &mut Netcat| root.call("get", &json!([["here"]])).0 == "err";
    patiently(tokio::time::Instant::now(), || gone(&mut root).then_some(()).ok_or("still here"))
        .unwrap();
}

/// What one connection was told.
#[derive(Debug, Default)]
struct Told {
    sent: u64,
    acknowledged: u64,
    rev: u64,
}

#[test]
fn nothing_acknowledged_is_lost_by_a_kill() {
    let mut server = StateServer::start(&[]);
    let token = server.root_token();
    let rounds = env::var(ROUNDS.0).map_or(ROUNDS.1, |it| it.parse().unwrap());
    let mut root = server.by_token(&token);
    (0..WRITERS).for_each(|it| drop(root.ask("update", &json!([["k", it.to_string()], {"n": 0}]))));
    for round in 0..rounds {
        let kill_after = RandomState::new().hash_one(round) % MOST;
        let acknowledged = AtomicU64::new(0);
        let (told, seen) = thread::scope(|scope| {
            let writers: Vec<Writer<'_>> = (0..WRITERS)
                .map(|it| (it, server.by_token(&token)))
                .map(|(it, netcat)| {
                    scope.spawn({
                        let acknowledged = &acknowledged;
                        move || write(it, netcat, acknowledged)
                    })
                })
                .collect::<Vec<Writer<'_>>>();
            let mut watcher = server.by_token(&token);
            watcher.ask("subscribe", &json!([["k", "**"]]));
            let watcher = scope.spawn(|| watch(watcher));
            let reached = || (acknowledged.load(SeqCst) >= kill_after).then_some(()).ok_or("slow");
            patiently(tokio::time::Instant::now(), reached).unwrap();
            server.kill();
            let told: Vec<Told> = writers.into_iter().map(|it| it.join().unwrap()).collect();
            (told, watcher.join().unwrap())
        });
        server.resume();
        let mut root = server.by_token(&token);
        told.iter().enumerate().for_each(|(writer, told)| check(&mut root, writer, told));
        let rev = root.ask("stats", &json!([]))["rev"].as_u64().unwrap();
        assert!(rev >= seen.0, "an event told of revision {}, and there are {rev}", seen.0);
        for (writer, n) in seen.1.iter().enumerate() {
            let there = root.ask("get", &json!([["k", writer.to_string(), "n"]]));
            assert!(there.as_u64().unwrap() >= *n, "an event told of {n}, and there is {there}");
        }
    }
}

type Writer<'a> = thread::ScopedJoinHandle<'a, Told>;

/// Makes one change after the other, each of two places, until nobody answers.
fn write(writer: usize, mut netcat: Netcat, acknowledged: &AtomicU64) -> Told {
    let writer = writer.to_string();
    let n = netcat.ask("get", &json!([["k", writer, "n"]])).as_u64().unwrap();
    let mut told = Told { sent: n, acknowledged: n, rev: 0 };
    loop {
        told.sent += 1;
        let n = told.sent;
        let ops = json!([
            ["update", ["k", writer, "n"], n],
            ["update", ["k", writer, "was", n.to_string()], n]
        ]);
        if netcat.send(format!("batch [{ops}]\n")).is_err() {
            return told;
        }
        let Ok(line) = netcat.read_line() else { return told };
        let Some(args) = line.strip_suffix('\n').and_then(|it| it.strip_prefix("batch ")) else {
            return told;
        };
        let args: Value = serde_json::from_str(args).unwrap();
        told.acknowledged = n;
        told.rev = args[0]["rev"].as_u64().unwrap();
        acknowledged.fetch_add(1, SeqCst);
    }
}

/// The last revision, and the last number of each writer, of which an event told.
fn watch(mut netcat: Netcat) -> (u64, [u64; WRITERS]) {
    let mut seen = (0, [0; WRITERS]);
    while let Ok(line) = netcat.read_line()
        && let Some(args) = line.strip_suffix('\n').and_then(|it| it.strip_prefix("event "))
    {
        let args: Value = serde_json::from_str(args).unwrap();
        let change = &args[1];
        seen.0 = change["rev"].as_u64().unwrap();
        let path: Vec<&str> =
            change["path"].as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect();
        if let ["k", writer, "n"] = path[..] {
            seen.1[writer.parse::<usize>().unwrap()] = change["value"].as_u64().unwrap();
        }
    }
    seen
}

/// Whether everything that a writer was told is so, and nothing is half so.
fn check(root: &mut Netcat, writer: usize, told: &Told) {
    let writer = writer.to_string();
    let there = root.ask("get", &json!([["k", writer]]));
    let n = there["n"].as_u64().unwrap();
    assert!((told.acknowledged..=told.sent).contains(&n), "{told:?}, and there is {n}");
    let was = there["was"].as_object();
    let was = was.map_or(0, |was| (1..=n).filter(|n| was[&n.to_string()] == *n).count() as u64);
    assert_eq!(was, n, "half a change, or one too few");
    if told.rev > 0 {
        let path = json!([["k", writer, "was", told.acknowledged.to_string()], {"rev": true}]);
        assert_eq!(root.ask("get", &path)["rev"], told.rev);
    }
}
