//! The second door: the same commands and the same bounds, over WebSocket.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use nix::{sys::signal::Signal, unistd::geteuid};
use serde_json::{Value, json};

use super::StateServer;
use crate::harness::{Heard, WebSocket, binary, eventually, tell};

/// Somewhere on loopback.
const LISTEN: [&str; 2] = ["--listen", "127.0.0.1:0"];

fn server(args: &[&str]) -> StateServer {
    StateServer::start(&[&LISTEN, args].concat())
}

impl StateServer {
    fn websocket(&self) -> WebSocket {
        WebSocket::connect(self.door())
    }

    /// A WebSocket of `root`.
    fn root_websocket(&self) -> WebSocket {
        let mut socket = self.websocket();
        socket.ask("auth", &json!(["root", self.root_password()]));
        socket
    }

    /// The port for WebSocket.
    pub(super) fn door(&self) -> u16 {
        let port = || {
            let said = self.daemon().said();
            let address = said.split("WebSocket listening address=127.0.0.1:").nth(1)?;
            address.split_whitespace().next()?.parse().ok()
        };
        eventually("the second door is open", port)
    }
}

#[test]
fn a_websocket_is_answered_in_order_under_its_ids() {
    let server = server(&[]);
    let mut socket = server.root_websocket();
    let requests = [
        r#"{"id":"a","name":"update","args":[["doc"],{"v":[1, 2.50, "é\n"]}]}"#,
        " {\"id\": -1.5, \"args\": [\n[\"doc\"]\n], \"name\": \"g\\u0065t\", \"more\": true} ",
        r#"{"id":3,"name":"ping"}"#,
        r#"{"id":"d","name":"get","args":[["absent"]]}"#,
        r#"{"id":5,"name":"dae"}"#,
    ];
    requests.iter().for_each(|it| socket.say(it));
    let rev = server.root().ask("get", &json!([["doc"], {"rev": true}]))["rev"].clone();
    assert_eq!(socket.hear_json(), json!({"id": "a", "result": {"rev": rev}}));
    let Heard::Text(text) = socket.hear() else { panic!("no answer") };
    assert_eq!(text, "{\"id\":-1.5,\"result\":{\"v\":[1,2.5,\"é\\n\"]}}");
    assert_eq!(socket.hear_json(), json!({"id": 3, "result": null}));
    let error = json!({"code": "not-found", "message": "there is nothing", "command": "get"});
    assert_eq!(socket.hear_json(), json!({"id": "d", "error": error}));
    let credential = socket.hear_json();
    assert_eq!(credential["result"][0], "State");
    assert_eq!(credential["result"][2], server.daemon().port());
}

#[test]
fn events_and_the_end_of_a_stream_come_as_events() {
    let server = server(&[]);
    let mut socket = server.root_websocket();
    socket.ask("subscribe", &json!([["doc", "**"]]));
    let sync = socket.hear_json();
    assert_eq!((&sync["event"], &sync["seq"]), (&json!("change"), &json!(1)));
    server.root().ask("update", &json!([["doc", "a"], 1]));
    let change = socket.hear_json();
    assert_eq!((&change["data"]["value"], &change["seq"]), (&json!(1), &json!(2)));
    // What it causes itself comes before the answer.
    socket.say(r#"{"id":1,"name":"update","args":[["doc","a"],2,{"req":"mine"}]}"#);
    assert_eq!(socket.hear_json()["data"]["req"], "mine");
    assert_eq!(socket.hear_json()["id"], 1);
    assert_eq!(socket.ask("cancel", &json!([])), Value::Null);
    assert_eq!(socket.hear_json(), json!({"event": "end", "data": {"reason": "cancelled"}}));
}

#[test]
fn what_is_no_request_is_answered_in_its_turn() {
    let server = server(&["--newcomer-rate", "1000"]);
    let mut socket = server.websocket();
    let long = format!("{{\"id\":\"{}\",\"name\":\"ping\"}}", "x".repeat(300));
    socket.say(r#"{"id":1,"name":"ping","args":[7]}"#);
    for (sent, code, id) in [
        ("", "bad-args", json!(null)),
        ("nonsense", "bad-args", json!(null)),
        (r#"["x","ping",[]]"#, "bad-args", json!(null)),
        (r#"{"id":1,"#, "bad-json", json!(null)),
        (r#"{"name":"ping","args":[]}"#, "bad-args", json!(null)),
        (r#"{"id":{},"name":"ping"}"#, "bad-args", json!(null)),
        (r#"{"id":null,"name":"ping"}"#, "bad-args", json!(null)),
        (&long, "bad-args", json!(null)),
        (r#"{"id":2,"args":[]}"#, "bad-args", json!(2)),
        (r#"{"id":3,"name":5}"#, "bad-args", json!(3)),
        (r#"{"id":4,"name":""}"#, "bad-name", json!(4)),
        (r#"{"id":5,"name":"ping#tag"}"#, "bad-name", json!(5)),
        (r#"{"id":6,"name":"ping []\nquit"}"#, "bad-name", json!(6)),
        (r#"{"id":7,"name":"ping","args":{}}"#, "bad-args", json!(7)),
    ] {
        socket.say(sent);
        socket.say(r#"{"id":"next","name":"ping","args":["ä"]}"#);
        if id.is_null() && sent.is_empty() {
            assert_eq!(socket.hear_json(), json!({"id": 1, "result": 7}));
        }
        let answer = socket.hear_json();
        assert_eq!((&answer["id"], &answer["error"]["code"]), (&id, &json!(code)), "{sent}");
        assert_eq!(socket.hear_json(), json!({"id": "next", "result": "ä"}));
    }
    // In a row they are too many.
    for _ in 0..16 {
        socket.say("nonsense");
    }
    for _ in 0..16 {
        assert_eq!(socket.hear_json()["error"]["code"], "bad-args");
    }
    assert_eq!(socket.hear(), Heard::Close(1008));
}

#[test]
fn what_is_asked_before_something_wrong_is_answered_before_the_close() {
    let server = server(&[]);
    let mut socket = server.root_websocket();
    socket.say(r#"{"id":1,"name":"update","args":[["a"],1]}"#);
    socket.say_bytes(b"{}");
    socket.say(r#"{"id":2,"name":"update","args":[["a"],2]}"#);
    assert_eq!(socket.hear_json()["id"], 1);
    assert_eq!(socket.hear(), Heard::Close(1003));
    assert_eq!(server.root().ask("get", &json!([["a"]])), 1);

    let mut socket = server.root_websocket();
    socket.say(r#"{"id":1,"name":"quit"}"#);
    assert_eq!(socket.hear_json(), json!({"id": 1, "result": null}));
    assert_eq!(socket.hear(), Heard::Close(1000));
}

#[test]
fn who_closes_has_what_was_asked_before_done() {
    let server = server(&[]);
    let mut root = server.root();
    for n in 0..20 {
        let mut socket = server.root_websocket();
        socket.say(&json!({"id": 1, "name": "update", "args": [["a"], n]}).to_string());
        socket.say(&json!({"id": 2, "name": "update", "args": [["b"], n]}).to_string());
        socket.close();
        let read = |root: &mut crate::harness::Netcat, name| root.ask("get", &json!([[name]]));
        eventually("both are done", || (root.call("get", &json!([["b"]])).1[0] == n).then_some(()));
        assert_eq!(read(&mut root, "a"), n);
    }
}

#[test]
fn what_is_too_large_is_refused_and_closes() {
    let server = server(&[]);
    let mut nobody = server.websocket();
    assert_eq!(nobody.ask("hello", &json!([]))["limits"]["packet"], 65536);
    let large = |bytes| json!({"id": 9, "name": "ping", "args": ["x".repeat(bytes)]}).to_string();
    nobody.say(&large(100_000));
    let answer = nobody.hear_json();
    assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!(9), &json!("too-large")));
    assert_eq!(nobody.hear(), Heard::Close(1009));

    let mut root = server.root_websocket();
    root.say(&large(2_000_000));
    assert_eq!(root.hear_json()["result"].as_str().unwrap().len(), 2_000_000);
    // Nothing of such a message is taken at all.
    if root.try_say(&large(4_000_000)).is_ok() {
        assert!(matches!(root.hear(), Heard::Close(1009) | Heard::End));
    }
    server.root().ask("ping", &json!([]));
}

#[test]
fn the_limits_of_who_is_not_logged_in_hold_here_too() {
    let server = server(&["--newcomer-rate", "3", "--newcomer-idle", "100ms"]);
    let mut nobody = server.websocket();
    let mut codes = (0..20).map(|_| nobody.call("ping", &json!([]))["error"]["code"].clone());
    assert!(codes.any(|it| it == "rate-limited"));
    let told = nobody.hear_json();
    assert_eq!((&told["id"], &told["error"]["code"]), (&Value::Null, &json!("timeout")));
    assert_eq!(nobody.hear(), Heard::Close(1008));
}

#[test]
fn the_end_of_the_daemon_is_told_after_the_answers() {
    let server = server(&[]);
    let mut socket = server.root_websocket();
    socket.ask("subscribe", &json!([null]));
    for n in 0..50 {
        socket.say(&json!({"id": n, "name": "update", "args": [["a"], n]}).to_string());
    }
    assert_eq!(socket.hear_json()["id"], 0);
    tell(server.daemon().pid(), Signal::SIGTERM);
    let mut answered = 1;
    let closed = loop {
        match socket.hear() {
            Heard::Text(text) if text.contains("\"result\"") => answered += 1,
            Heard::Text(text) => assert!(text.contains("shutting-down"), "{text}"),
            other => break other,
        }
    };
    assert_eq!(closed, Heard::Close(1001));
    assert!(answered >= 1);
}

#[test]
fn only_our_own_names_and_pages_come_in() {
    let server =
        server(&["--listen-origin", "https://app.example", "--listen-host", "dae.example"]);
    let door = server.door();
    let status = |headers: &str| WebSocket::handshake(door, headers).err();
    assert_eq!(status("host: evil.example\r\n"), Some(403));
    assert_eq!(status("host: localhost\r\norigin: https://evil.example\r\n"), Some(403));
    assert_eq!(status("host: localhost\r\norigin: https://app.example\r\n"), None);
    assert_eq!(status("host: dae.example\r\n"), None);
    eventually("the log says who was not let in", || {
        let said = server.daemon().said();
        (said.matches("turned away peer=127.0.0.1:").count() == 2).then_some(())
    });
}

#[test]
fn other_machines_come_in_without_tls_only_if_that_is_said() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().to_str().unwrap();
    let output = super::run(&["--port", "0", "--data", data, "--listen", "0.0.0.0:0"]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("is open to other machines"), "{said}");
    assert!(said.contains("--insecure") && !said.contains("listening"), "{said}");
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0, "nothing was begun");
}

#[test]
fn common_tcp_that_is_open_to_other_machines_is_warned_of() {
    if !geteuid().is_root() {
        println!("skipped: only root can have a network of its own, where nobody else is");
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new("unshare");
    command.arg("-n").arg(binary("state")).args(["--bind", "0.0.0.0", "--data"]).arg(home.path());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let said: Vec<String> = lines.take_while(|it| !it.contains(" listening port=")).collect();
    child.kill().unwrap();
    child.wait().unwrap();
    let is_it = |it: &String| it.contains(" WARN ") && it.contains("address=0.0.0.0");
    assert!(said.iter().any(|it| is_it(it) && it.contains("passwords")), "{said:?}");
}

#[test]
fn the_door_is_an_address_and_a_port() {
    let server = StateServer::start(&["--listen", "localhost:0"]);
    WebSocket::connect(server.door());
    for wrong in ["foo", "8080", "localhost:http"] {
        let output = super::run(&["--listen", wrong]);
        assert_eq!(output.status.code(), Some(2));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(wrong) && said.contains("wanted ADDRESS:PORT"), "{said}");
    }
}

#[test]
fn who_reads_too_slowly_is_told_how_things_are_once_he_reads() {
    let server = server(&["--queue-events", "10", "--queue-patience", "1h"]);
    let (mut root, mut slow) = (server.root(), server.root_websocket());
    slow.ask("subscribe", &json!([["big", "**"]]));
    let mut n = 0;
    while root.ask("stats", &json!([]))["eventsDropped"] == 0 {
        n += 1;
        assert!(n < 300, "90 MB wait for somebody who reads nothing");
        root.ask("update", &json!([["big"], format!("{n}{}", "x".repeat(300_000))]));
    }
    let last = root.ask("update", &json!([["big"], "last"]))["rev"].clone();
    let lagged = std::iter::repeat_with(|| slow.hear_json())
        .find(|it| it["data"]["lagged"] == true)
        .unwrap();
    assert_eq!((&lagged["data"]["rev"], &lagged["data"]["value"]), (&last, &json!("last")));
}

#[test]
fn what_nobody_reads_counts_together_with_what_other_guests_do_not_read() {
    let server = server(&["--waiting-bytes", "20000000"]);
    let mut root = server.root();
    for n in 0..12 {
        root.ask("update", &json!([["big", n.to_string()], "x".repeat(1_000_000)]));
    }
    // Who has sent so much keeps some of the room for it, and would count too.
    let mut root = server.root();
    let mut deaf: Vec<WebSocket> = (0..5).map(|_| WebSocket::narrow(server.door())).collect();
    for (id, socket) in deaf.iter_mut().enumerate() {
        socket.ask("auth", &json!(["root", server.root_password()]));
        socket.say(&json!({"id": id, "name": "get", "args": [["big"]]}).to_string());
    }
    // Twelve million bytes each, of which the kernel takes some.
    eventually("somebody is sent away", || {
        (root.ask("stats", &json!([]))["sessions"].as_u64().unwrap() < 6).then_some(())
    });
    // Whom it meets depends on what the kernel has taken of whom.
    let whole = deaf.iter_mut().filter_map(|it| match it.hear() {
        Heard::Text(text) => text.contains("\"result\":{").then_some(()),
        _ => None,
    });
    assert!(whole.count() < 5, "all have all of it");
}
