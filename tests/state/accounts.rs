//! Who gets in, who no longer is, and what it costs others to try.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpStream},
    process::Command,
};

use nix::sys::{
    signal::Signal,
    socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, socket},
};
use serde_json::{Value, json};

use super::{StateServer, event};
use crate::harness::{Netcat, eventually, tell};

/// Somebody who watches `big` by `token`, reads nothing, and has much waiting for him.
fn deaf(server: &StateServer, root: &mut Netcat, token: &Value) -> Netcat {
    let mut deaf = Netcat::narrow(server.daemon().port());
    deaf.ask("auth", &json!([token]));
    deaf.ask("subscribe", &json!([["big", "**"]]));
    for n in 0..60 {
        root.ask("update", &json!([["big"], format!("{n}{}", "x".repeat(300_000))]));
    }
    deaf
}

#[test]
fn who_is_no_longer_let_in_hears_nothing_more_however_slowly_he_reads() {
    let server = StateServer::start(&["--packet-timeout", "10s"]);
    let mut root = server.root();
    root.ask("createUser", &json!(["ann", "secret"]));
    root.ask("updatePerms", &json!([[], "ann", {"lvl": 2}]));
    let ends: [fn(&mut Netcat, &Value); 3] = [
        |root, made| drop(root.ask("revokeToken", &json!([made["id"]]))),
        |root, _| drop(root.ask("changePassword", &json!(["other", null, "ann"]))),
        |root, _| drop(root.ask("deleteUser", &json!(["ann"]))),
    ];
    for (n, end) in ends.into_iter().enumerate() {
        let last = format!("for others {n}");
        let made = root.ask("createToken", &json!([{"user": "ann"}]));
        let mut deaf = deaf(&server, &mut root, &made["token"]);
        end(&mut root, &made);
        root.ask("update", &json!([["big"], last]));
        assert_eq!(root.ask("stats", &json!([]))["subscriptions"], 0);
        assert_eq!(root.ask("stats", &json!([]))["sessions"], 1);
        // The connection ends, whether or not all that was on its way is read.
        let mut heard = String::new();
        while let Ok(line) = deaf.read_line()
            && !line.is_empty()
        {
            assert!(!line.contains(&last));
            heard = line;
        }
        assert!(heard.starts_with("event") || heard.starts_with("end"), "{}", heard.len());
    }
}

#[test]
fn who_must_leave_and_reads_nothing_is_gone_soon() {
    let server = StateServer::start(&["--packet-timeout", "100ms"]);
    let mut root = server.root();
    let made = root.ask("createToken", &json!([]));
    let mut deaf = deaf(&server, &mut root, &made["token"]);
    root.ask("revokeToken", &json!([made["id"]]));
    eventually("the connection is over", || deaf.send("ping\n").is_err().then_some(()));
}

/// As many requests as there are tags, side by side; the code of each answer, or its name.
fn side_by_side(netcat: &mut Netcat, requests: &[String]) -> Vec<String> {
    let tagged = |(tag, it): (usize, &String)| {
        let (name, args) = it.split_once(' ').unwrap();
        format!("{name}#{tag} {args}\n")
    };
    netcat.send(requests.iter().enumerate().map(tagged).collect::<String>()).unwrap();
    let mut answers = vec![String::new(); requests.len()];
    for _ in requests {
        let line = netcat.read_line().unwrap();
        let (name, args) = line.split_once(' ').unwrap();
        let (name, tag) = name.split_once('#').unwrap();
        let args: Value = serde_json::from_str(args).unwrap();
        let code = args[0]["code"].as_str();
        answers[tag.parse::<usize>().unwrap()] = code.unwrap_or(name).to_owned();
    }
    answers
}

fn count(answers: &[String], code: &str) -> usize {
    answers.iter().filter(|it| *it == code).count()
}

#[test]
fn a_password_that_is_changed_while_others_wait_lets_nobody_in() {
    let args = ["--login-attempts", "1000", "--newcomer-idle", "1h"];
    let server = StateServer::start(&args);
    let mut root = server.root();
    root.ask("createUser", &json!(["ann", "old"]));
    let mut line: Vec<Netcat> = (0..12).map(|_| server.connect()).collect();
    line.iter_mut().for_each(|it| it.send("auth [\"ann\",\"old\"]\n").unwrap());
    root.ask("changePassword", &json!(["new", null, "ann"]));
    for mut netcat in line {
        // Whoever was in already is out again, and nobody comes in afterwards.
        match netcat.read_line().unwrap().starts_with("auth") {
            true => assert_eq!(netcat.read_to_end().unwrap(), ""),
            false => drop(netcat.refuse("auth-required", "get", &json!([[]]))),
        }
    }
    assert_eq!(root.ask("stats", &json!([]))["sessions"], 1);
    server.connect().refuse("bad-credentials", "auth", &json!(["ann", "old"]));
    server.logged_in("ann", "new");
}

#[test]
fn guessing_is_five_a_minute_whatever_the_way() {
    let server = StateServer::start(&[]);
    let mut root = server.root();
    root.ask("createUser", &json!(["ann", "secret"]));
    root.ask("createUser", &json!(["bob", "secret"]));
    let mut line: Vec<Netcat> = (0..20).map(|_| server.connect()).collect();
    line.iter_mut().for_each(|it| it.send("auth [\"ann\",\"wrong\"]\n").unwrap());
    let answers = line.iter_mut().map(|it| it.read_line().unwrap());
    let answers: Vec<String> = answers
        .map(|it| if it.contains("rate-limited") { "rate-limited" } else { "wrong" }.to_owned())
        .collect();
    assert_eq!((count(&answers, "wrong"), count(&answers, "rate-limited")), (5, 15));
    server.connect().refuse("rate-limited", "auth", &json!(["ann", "secret"]));

    // The other way to try one, and that one is for one's own only.
    let mut bob = server.logged_in("bob", "secret");
    bob.refuse("denied", "changePassword", &json!(["x", "guess", "root"]));
    let guesses = vec!["changePassword [\"x\",\"guess\"]".to_owned(); 10];
    let answers = side_by_side(&mut bob, &guesses);
    assert_eq!((count(&answers, "bad-credentials"), count(&answers, "rate-limited")), (5, 5));
    assert_eq!(root.ask("stats", &json!([]))["loginFailures"], 10);
    // Who is in stays in, and root may still help.
    root.ask("changePassword", &json!(["new", null, "ann"]));
}

/// Connects from another address of this machine.
fn from(address: Ipv4Addr, port: u16) -> Netcat {
    let flags = SockFlag::SOCK_CLOEXEC;
    let own = socket(AddressFamily::Inet, SockType::Stream, flags, None).unwrap();
    let [a, b, c, d] = address.octets();
    use std::os::fd::AsRawFd;
    bind(own.as_raw_fd(), &SockaddrIn::new(a, b, c, d, 0)).unwrap();
    connect(own.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, port)).unwrap();
    let stream = TcpStream::from(own);
    assert!(matches!(stream.local_addr().unwrap(), SocketAddr::V4(it) if *it.ip() == address));
    Netcat::of(stream)
}

#[test]
fn refused_logins_are_told_and_a_storm_of_them_is_counted() {
    let mut server = StateServer::start(&["--audit"]);
    server.connect().refuse("bad-credentials", "auth", &json!(["a\nn", "a secret guess"]));
    server.connect().refuse("bad-credentials", "auth", &json!(["a secret token"]));
    let mut root = server.root();
    root.refuse("bad-credentials", "changePassword", &json!(["new", "a secret guess"]));
    let lines = |server: &StateServer| -> Vec<String> {
        let said = server.daemon().said();
        said.lines().filter(|it| it.contains(" audit: ")).map(Into::into).collect()
    };
    let told = lines(&server);
    let has = |parts: &[&str]| told.iter().any(|it| parts.iter().all(|part| it.contains(part)));
    let (why, from) = ("code=\"bad-credentials\"", "address=127.0.0.1");
    assert!(has(&["user=\"a\\nn\"", "command=\"auth\"", why, from]), "{told:#?}");
    assert!(has(&["audit: command=\"auth\"", why, from]), "{told:#?}");
    assert!(has(&["user=\"root\"", "command=\"changePassword\"", why, from]), "{told:#?}");

    let mut storm: Vec<Netcat> = (0..20).map(|_| server.connect()).collect();
    storm.iter_mut().for_each(|it| it.send("auth [\"a secret token\"]\n").unwrap());
    storm.iter_mut().for_each(|it| assert!(it.read_line().unwrap().contains("bad-credentials")));
    assert_eq!(lines(&server).iter().filter(|it| it.contains(from)).count(), 10);
    assert!(!server.daemon().said().contains("secret"), "{}", server.daemon().said());
    // What was only counted is told at the end, if its minute is not over before.
    tell(server.daemon().pid(), Signal::SIGTERM);
    let (_, said) = server.ended();
    assert!(said.contains("more logins were refused address=127.0.0.1 refused=13"), "{said}");
}

#[test]
fn who_guesses_is_warned_of_once() {
    let server = StateServer::start(&["--local-attempts", "2"]);
    for _ in 0..2 {
        server.connect().refuse("bad-credentials", "auth", &json!(["ann", "guess"]));
    }
    for _ in 0..3 {
        server.connect().refuse("rate-limited", "auth", &json!(["ann", "guess"]));
    }
    let said = server.daemon().said();
    let warned: Vec<&str> = said.lines().filter(|it| it.contains(" WARN ")).collect();
    assert_eq!(warned.len(), 1, "{said}");
    assert!(warned[0].contains("too many wrong passwords"), "{said}");
    assert!(warned[0].contains("user=\"ann\" address=127.0.0.1"), "{said}");
}

#[test]
fn an_address_has_so_many_attempts_whoever_they_are_for() {
    let server = StateServer::start(&["--local-attempts", "3"]);
    server.root().ask("createUser", &json!(["ann", "secret"]));
    let port = server.daemon().port();
    let (here, there) = (Ipv4Addr::new(127, 0, 0, 2), Ipv4Addr::new(127, 0, 0, 3));
    let auth = |address, user: String, password| {
        let args = json!([user, password]);
        let (name, answer) = from(address, port).call("auth", &args);
        answer[0]["code"].as_str().unwrap_or(&name).to_owned()
    };
    for n in 0..3 {
        assert_eq!(auth(here, format!("user{n}"), "wrong"), "bad-credentials");
    }
    assert_eq!(auth(here, "ann".to_owned(), "secret"), "rate-limited");
    for _ in 0..5 {
        assert_eq!(auth(there, "ann".to_owned(), "secret"), "auth", "what is right is not counted");
    }
}

#[test]
fn two_logins_at_once_are_one_after_the_other() {
    let server = StateServer::start(&[]);
    let mut root = server.root();
    for user in ["ann", "bob"] {
        root.ask("createUser", &json!([user, "secret"]));
    }
    let [ann, bob] =
        ["ann", "bob"].map(|it| root.ask("createToken", &json!([{"user": it}]))["token"].take());
    let mut both = server.connect();
    let auth = |it: &Value| format!("auth [{it}]");
    let watch = || "subscribe [null]".to_owned();
    let password = || "auth [\"ann\",\"secret\"]".to_owned();
    for _ in 0..3 {
        let requests = [auth(&ann), password(), auth(&bob), "logout []".to_owned(), auth(&bob)];
        let answers = side_by_side(&mut both, &requests);
        assert_eq!(answers, ["auth", "auth", "auth", "logout", "auth"]);
        // It is bob's alone: one session, and what is for ann does not come.
        let users = root.ask("listUsers", &json!([]));
        assert_eq!((&users[0]["sessions"], &users[1]["sessions"]), (&json!(0), &json!(1)));
        assert_eq!(side_by_side(&mut both, &[watch()]), ["subscribe"]);
        assert_eq!(root.ask("emit", &json!(["ann", "hello", 1]))["delivered"], 0);
        assert_eq!(root.ask("emit", &json!(["bob", "hello", 2]))["delivered"], 1);
        assert_eq!(event(&mut both).1["payload"], 2);
        both.ask("cancel", &json!([]));
        assert!(both.read_line().unwrap().starts_with("end"));
    }
}

#[test]
fn a_login_that_fails_changes_nothing() {
    let server = StateServer::start(&["--sessions-per-user", "1"]);
    let mut root = server.root();
    root.ask("createUser", &json!(["ann", "secret"]));
    let made = root.ask("createToken", &json!([{"user": "ann"}]));
    let mut other = server.connect();
    let bob = root.ask("createUser", &json!(["bob", "secret"]));
    assert_eq!(bob["user"], "bob");
    let _ann = server.logged_in("ann", "secret");
    other.ask("auth", &json!(["bob", "secret"]));
    other.ask("subscribe", &json!([null]));
    other.refuse("quota", "auth", &json!([made["token"]]));
    other.refuse("bad-credentials", "auth", &json!(["0".repeat(64)]));
    assert_eq!(root.ask("emit", &json!(["bob", "hello", 1]))["delivered"], 1);
    event(&mut other);
    other.ask("get", &json!([["users", "bob"]]));
    // Where there is one place, it is one's own that is taken again.
    other.ask("auth", &json!(["bob", "secret"]));
}

#[test]
fn those_who_are_in_do_not_stand_in_line_with_who_tries_passwords() {
    let server = StateServer::start(&["--newcomer-idle", "1h"]);
    let mut root = server.root();
    root.ask("createUser", &json!(["ann", "secret"]));
    let mut ann = server.logged_in("ann", "secret");
    let mut crowd: Vec<Netcat> = (0..100).map(|_| server.connect()).collect();
    for (n, netcat) in crowd.iter_mut().enumerate() {
        netcat.send(format!("auth [\"u{n}\",\"x\"]\n")).unwrap();
    }
    ann.ask("changePassword", &json!(["new", "secret"]));
    let failures = root.ask("stats", &json!([]))["loginFailures"].as_u64().unwrap();
    assert!(failures < 50, "{failures} of the crowd went first");
    // 64 wait, perhaps beside one that is looked at, and others are told to come again.
    assert!(crowd.last_mut().unwrap().read_line().unwrap().contains("\"busy\""));
    let told = crowd[..99].iter_mut().map(|it| it.read_line().unwrap());
    assert!(told.filter(|it| it.contains("bad-credentials")).count() >= 64);
    // What was not looked at is no attempt.
    server.logged_in("ann", "new");
}

#[test]
fn a_script_has_an_account_without_a_password_and_a_service_opens_sessions_as_it() {
    let server = StateServer::start(&[]);
    let mut root = server.root();
    root.ask("createUser", &json!(["runner", "secret"]));
    let made = root.ask("createToken", &json!([{"user": "runner", "service": ["script:*"]}]));
    let mut runner = server.by_token(made["token"].as_str().unwrap());
    let script = "script:ann/clock";
    assert_eq!(runner.ask("createUser", &json!([script, null]))["user"], script);
    root.refuse("exists", "createUser", &json!([script, null, {"level": 2}]));
    root.refuse("bad-argument", "createUser", &json!(["ann", null]));
    root.refuse("bad-argument", "createUser", &json!([script, "secret"]));
    runner.refuse("denied", "createUser", &json!(["ann", "secret"]));
    server.connect().refuse("bad-credentials", "auth", &json!([script, ""]));

    let opened = runner.ask("createToken", &json!([{"user": script, "ttl": 600_000}]));
    let mut clock = server.by_token(opened["token"].as_str().unwrap());
    assert_eq!(clock.ask("auth", &json!([opened["token"]]))["user"], script);
    runner.refuse("denied", "createToken", &json!([{"user": "root"}]));
    runner.refuse("denied", "createToken", &json!([{}]));
    assert_eq!(runner.ask("listTokens", &json!([script])).as_array().unwrap().len(), 1);
    runner.refuse("denied", "listTokens", &json!(["runner"]));
    runner.ask("deleteUser", &json!([script]));
    assert_eq!(clock.read_to_end().unwrap(), "");
}

#[test]
fn a_limited_token_lists_no_others_and_what_a_service_reads_for_others_stays_limited() {
    let server = StateServer::start(&["--tokens", "3"]);
    let mut root = server.root();
    root.ask("createUser", &json!(["ann", "secret"]));
    root.ask("update", &json!([["a"], {"b": 1, "c": 2}]));
    root.ask("updatePerms", &json!([["a"], "ann", {"lvl": 3}]));
    let mut token = |opts: Value| root.ask("createToken", &json!([opts]))["token"].take();
    let limited = token(json!({"user": "ann", "path": ["a"]}));
    let service = token(json!({"as": ["ann"], "path": ["a", "b"], "lvl": 2}));
    let mut limited = server.by_token(limited.as_str().unwrap());
    limited.refuse("denied", "listTokens", &json!([]));
    limited.refuse("denied", "emit", &json!(["root", "hello", 1]));
    limited.ask("update", &json!([["a", "b"], 3]));
    let mut service = server.by_token(service.as_str().unwrap());
    assert_eq!(service.ask("get", &json!([["a", "b"], {"as": "ann"}])), 3);
    service.refuse("denied", "get", &json!([["a", "c"], {"as": "ann"}]));
    service.refuse("denied", "update", &json!([["a", "b"], 4, {"as": "ann"}]));
    let mut ann = server.logged_in("ann", "secret");
    (0..2).for_each(|_| drop(ann.ask("createToken", &json!([]))));
    ann.refuse("quota", "createToken", &json!([]));
}

/// What of the journal of `server` looks like `pattern`.
fn grep(pattern: &str, server: &StateServer) -> String {
    let mut grep = Command::new("grep");
    let found = grep.args(["-rahoE", pattern]).arg(server.data.join("journal")).output();
    String::from_utf8(found.unwrap().stdout).unwrap()
}

#[test]
fn the_first_password_may_be_given_as_a_hash() {
    let first = StateServer::start(&["--hash-memory", "8", "--hash-passes", "1"]);
    // Any hash will do, such as the one that is kept of the first server's own password.
    let found = grep(r"\$argon2id\$[A-Za-z0-9+/=,$]+", &first);
    let hash = found.lines().next().unwrap().to_owned();
    assert!(hash.contains("m=8,t=1,p=1"), "{hash}");

    let second = StateServer::start(&["--root-password-hash", &hash]);
    assert!(!second.data.join("root-password").exists());
    second.logged_in("root", &first.root_password());
    let refused = super::run(&["--data", "/tmp/absent", "--root-password-hash", "secret"]);
    assert_eq!(refused.status.code(), Some(2));
    // It is kept as it should be from the first login on.
    assert!(grep("m=19456,t=2,p=1", &second).contains("m=19456"));
}
