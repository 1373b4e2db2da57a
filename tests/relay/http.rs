//! What is asked over HTTP: refusals, what is posted and fetched, who is there.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::house::{HOST, House, hear, target};
use crate::harness::{Netcat, WebSocket, eventually};

/// The status and the body of an answer.
fn parts(answer: &str) -> (u16, String) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
    (head[9..12].parse().unwrap(), body.to_owned())
}

fn get(house: &House, target: &str) -> (u16, String) {
    parts(&house.ask(&format!("GET {target} HTTP/1.1\r\n{HOST}connection: close\r\n\r\n")))
}

fn post(house: &House, target: &str, body: &str) -> (u16, String) {
    let length = body.len();
    parts(&house.ask(&format!(
        "POST {target} HTTP/1.1\r\n{HOST}connection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    )))
}

/// All that is answered at the door for metrics.
fn administer(house: &House, request: &str) -> String {
    let whois = house.daemon.connect().ask("whois", &json!([]));
    let mut client = Netcat::tcp(u16::try_from(whois["admin"].as_u64().unwrap()).unwrap());
    client.send(format!("{request} HTTP/1.1\r\n{HOST}connection: close\r\n\r\n")).unwrap();
    client.read_to_end().unwrap()
}

#[test]
fn each_refusal_has_the_status_that_clients_look_for() {
    let house =
        House::start(&["--token", "a secret", "--dbs", "mydb,other*", "--tokens", "mydb=own"]);
    let long = "x".repeat(129);
    for (target, status) in [
        ("/mydb/connect?id=abcde&t=a secret", 400),
        ("/mydb/connect?v=2.0.0&id=abcde&t=wrong", 409),
        ("/mydb/connect?id=abcde&t=wrong", 409),
        ("/mydb/connect?v=1.0.0&t=wrong", 500),
        ("/mydb/connect?v=1.0.0&id=abcd&t=wrong", 500),
        (&format!("/mydb/connect?v=1.0.0&id={long}&t=wrong"), 500),
        ("/mydb/connect?v=1.0.0&id=ab;cde&t=wrong", 500),
        ("/mydb/connect?v=1.0.0&id=ctcp:12&t=wrong", 500),
        ("/mydb/connect?v=1.0.0&id=abcde&t=wrong", 403),
        ("/mydb/connect?v=1.0.0&id=abcde&t=undefined", 403),
        ("/mydb/connect?v=1.0.0&id=abcde", 403),
        ("/others/connect?v=1.0.0&id=abcde&t=own", 403),
        ("/none/connect?v=1.0.0&id=abcde&t=a%20secret", 404),
        ("/connect?v=1.0.0&id=abcde&t=a%20secret", 404),
        ("/mydb/other?v=1.0.0&id=abcde&t=a%20secret", 404),
        ("/a/b/connect?v=1.0.0&id=abcde&t=a%20secret", 404),
    ] {
        let (found, answer) = house.refusal(target, HOST);
        assert_eq!(found, status, "{target}: {answer}");
        let answer = answer.to_ascii_lowercase();
        let must_close = !matches!(status, 400 | 404) || target.starts_with("/none");
        assert!(!must_close || answer.contains("connection: close"), "{answer}");
        assert!(!answer.contains("secret"), "{answer}");
    }
    for (db, token) in [("mydb", "a%20secret"), ("otherdb", "a%20secret"), ("mydb", "own")] {
        house.join_with(db, "abcde", token);
    }
    let bearer = format!("{HOST}authorization: Bearer a secret\r\n");
    assert!(WebSocket::at(house.door, "/mydb/connect?v=1&id=abcde", &bearer).is_ok());
    let said = house.daemon.said();
    assert!(!said.contains("a secret") && !said.contains("a%20secret"), "{said}");
}

#[test]
fn pages_and_foreign_names_are_turned_away() {
    let open = House::start(&["--origins", "https://app.example", "--hosts", "relay.example"]);
    let at = target("mydb", "abcde", "");
    for (headers, status) in [
        ("host: evil.example\r\n", Some(403)),
        ("host: localhost\r\norigin: https://evil.example\r\n", Some(403)),
        ("host: localhost\r\norigin: http://localhost\r\n", Some(403)),
        ("host: evil.example\r\norigin: https://app.example\r\n", Some(403)),
        ("host: localhost\r\norigin: https://app.example\r\n", None),
        ("host: relay.example:9163\r\n", None),
        ("host: 192.0.2.1\r\n", None),
    ] {
        let found = WebSocket::at(open.door, &at, headers).err().map(|(status, _)| status);
        assert_eq!(found, status, "{headers}");
    }
    let said = open.daemon.said();
    for (host, origin) in [
        ("evil.example", ""),
        ("localhost", "https://evil.example"),
        ("evil.example", "https://app.example"),
    ] {
        let line = format!("host \\\"{host}\\\" with origin \\\"{origin}\\\" may not come in");
        assert!(said.contains(&line), "{line} is not in\n{said}");
    }
    // Who knows a token has been told where to find it, whatever the name.
    let closed = House::start(&["--token", "secret"]);
    let at = target("mydb", "abcde", "secret");
    assert!(WebSocket::at(closed.door, &at, "host: any.example\r\n").is_ok());
    let page = "host: localhost\r\norigin: https://app.example\r\n";
    assert_eq!(WebSocket::at(closed.door, &at, page).unwrap_err().0, 403);
}

#[test]
fn there_are_as_many_peers_and_databases_as_there_is_room_for() {
    let house = House::start(&["--max-peers", "3", "--max-peers-per-db", "2", "--max-dbs", "2"]);
    let _first = house.join("mydb", "first");
    let _second = house.join("mydb", "second");
    assert_eq!(house.refusal(&target("mydb", "third", ""), HOST).0, 503);
    let other = house.join("other", "third");
    assert_eq!(house.refusal(&target("other", "fourth", ""), HOST).0, 503);
    // Who takes the place of another needs none.
    let other_again = house.join("other", "third");
    drop(other);
    other_again.close();
    assert_eq!(house.refusal(&target("mydb", "third", ""), HOST).0, 503);
    house.join("third", "third").close();
}

/// A request that is answered at once, without a place.
const NOTHING: &str = "GET /nothing HTTP/1.1\r\nhost: localhost\r\n\r\n";

/// Who has had no answer for so long has no room for one.
const STILL: Duration = Duration::from_secs(1);

/// A connection on which so many answers wait that are not read. It takes all of them, or as many
/// as it has room for; how many that were, and one that has none.
fn stuffed(house: &House, most: u64) -> (Netcat, u64) {
    let (mut guest, mut client) = (house.guest(), Netcat::narrow(house.door));
    let mut answered = || guest.ask("stats", &json!([]))["refused"]["404"].as_u64().unwrap_or(0);
    let (before, mut sent) = (answered(), 0);
    loop {
        let more = (most - sent).min(100);
        client.send(NOTHING.repeat(usize::try_from(more).unwrap())).unwrap();
        sent += more;
        let found = settled(&mut answered, before + sent) - before;
        if found < sent || sent == most {
            return (client, found);
        }
    }
}

/// What `count` comes to: `most`, or what it has been for so long.
fn settled(mut count: impl FnMut() -> u64, most: u64) -> u64 {
    let (mut last, mut since) = (count(), Instant::now());
    // Nothing tells that an answer has no room, and each look is a round trip.
    while last < most && since.elapsed() < STILL {
        let found = count();
        if found > last {
            (last, since) = (found, Instant::now());
        }
    }
    last
}

#[test]
fn one_place_is_told_to_be_free_to_one_however_long_it_takes_to_tell() {
    let house = House::start(&["--max-peers", "1"]);
    let (_full, answers) = stuffed(&house, u64::MAX);
    // The answer of each is the first that has no room: it is decided, and not yet written.
    let mut clients = ["first", "other"].map(|id| {
        let (mut client, _) = stuffed(&house, answers - 1);
        let at = target("mydb", id, "");
        let upgrade = "upgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\n";
        let key = "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        client.send(format!("GET {at} HTTP/1.1\r\n{HOST}{upgrade}{key}\r\n")).unwrap();
        client.settle();
        client
    });
    let welcomed = clients.each_mut().map(|client| {
        let lines = std::iter::repeat_with(|| client.read_line().unwrap_or_default());
        // On a machine that is slow enough, who reads so late is closed.
        lines.take_while(|it| !it.is_empty()).find_map(|line| {
            let status = line.split_once("HTTP/1.1 ")?.1[..3].to_owned();
            (status != "404").then_some(status == "101")
        })
    });
    assert_ne!(welcomed, [Some(true); 2]);
    drop(clients);
    // Who could come in and wants no WebSocket after all keeps no place.
    let mut guest = house.guest();
    eventually("the place is free", || {
        (guest.ask("stats", &json!([]))["peers"] == 0).then_some(())
    });
    for _ in 0..2 {
        assert_eq!(get(&house, &target("mydb", "first", "")).0, 426);
    }
    house.join("mydb", "first").close();
}

#[test]
fn who_is_turned_away_again_and_again_does_not_fill_the_log() {
    let house = House::start(&["--max-peers", "1"]);
    let _first = house.join("mydb", "first");
    let begun = Instant::now();
    for _ in 0..100 {
        assert_eq!(house.refusal(&target("mydb", "other", ""), HOST).0, 503);
    }
    let spells = 1 + begun.elapsed().as_secs() as usize / 10;
    // The last line, so that all before it are there.
    let mut last = house.guest();
    last.ask("kick", &json!(["mydb", "first"]));
    eventually("it is kicked", || house.daemon.said().contains("sent away").then_some(()));
    let lines = house.daemon.said().matches("turned away").count();
    assert!((1..=20 * spells).contains(&lines), "{lines} lines for a hundred");
}

#[test]
fn who_asks_with_a_wrong_token_is_in_the_log() {
    let house = House::start(&["--token", "secret"]);
    for target in ["/mydb/clients?t=guess", "/mydb/receive?id=first&msg=x&t=guess"] {
        assert_eq!(get(&house, target).0, 401);
    }
    eventually("both are told", || {
        let lines = house.daemon.said().matches("turned away db=\"mydb\"").count();
        (lines == 2).then_some(())
    });
    assert!(!house.daemon.said().contains("guess"), "{}", house.daemon.said());
}

#[test]
fn what_peers_are_told_of_each_other_is_counted_in_bytes_too() {
    let house = House::start(&["--assist-hello", "false"]);
    let mut first = house.join("mydb", "first");
    house.join("mydb", "second").close();
    assert_eq!(hear(&mut first), "connect:second");
    assert_eq!(hear(&mut first), "disconnect:second");
    let stats = house.guest().ask("stats", &json!([]));
    let bytes = "connect:second".len() + "disconnect:second".len();
    assert_eq!(stats["delivered"]["presence"], json!({ "messages": 2, "bytes": bytes }));
}

#[test]
fn what_is_posted_arrives_in_one_frame_before_it_is_acknowledged() {
    let house = House::start(&["--max-post", "1000000"]);
    let mut first = house.join("mydb", "first");
    let mut second = house.join("mydb", "second");
    assert_eq!(hear(&mut first), "connect:second");
    let large = "ü".repeat(400_000);
    let at = "/mydb/send?id=second&t=undefined";
    for (body, is_heard) in [(format!("to:first;{large}"), true), (large.clone(), true)] {
        assert_eq!(post(&house, at, &body), (200, "ok".to_owned()));
        assert_eq!(hear(&mut first) == large, is_heard);
    }
    assert_eq!(post(&house, at, "ping"), (200, "ok".to_owned()));
    assert_eq!(hear(&mut second), "pong");
    assert_eq!(post(&house, at, "to:nobody;x").0, 200);
    assert_eq!(post(&house, "/mydb/send?id=third", "x"), (401, "Unauthorized".to_owned()));
    assert_eq!(post(&house, "/other/send?id=first", "x").0, 401);
    assert_eq!(post(&house, at, &"x".repeat(1_000_001)).0, 413);
    assert_eq!(parts(&house.ask_bytes(b"POST /mydb/send?id=second HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 2\r\n\r\n\xFF\xFE")).0, 400);
    assert_eq!(get(&house, at).0, 405);
    assert_eq!(post(&house, "/mydb/receive?id=second", "").0, 405);
    assert_eq!(get(&house, "/mydb/nothing").0, 404);
    assert_eq!(get(&house, "/").0, 404);
    assert_eq!(get(&house, "/mydb/connect?v=1&id=abcde").0, 426);
    assert_eq!(post(&house, "/mydb/connect?v=1&id=abcde", "").0, 405);
    for (request, allowed) in [
        ("DELETE /mydb/send", "POST"),
        ("HEAD /mydb/receive", "GET"),
        ("POST /mydb/clients", "GET"),
        ("POST /mydb/connect", "GET"),
    ] {
        let answer = house.ask(&format!("{request} HTTP/1.1\r\n{HOST}connection: close\r\n\r\n"));
        assert!(answer.starts_with("HTTP/1.1 405 "), "{request}: {answer}");
        assert!(answer.contains(&format!("\r\nallow: {allowed}\r\n")), "{request}: {answer}");
    }
    // Nothing of all that was heard.
    second.say("last");
    assert_eq!(hear(&mut first), "last");
}

#[test]
fn requests_are_taken_as_clients_may_send_them() {
    let house = House::start(&[]);
    let mut first = house.join("mydb", "first");
    let _second = house.join("mydb", "second");
    assert_eq!(hear(&mut first), "connect:second");
    // In parts of no announced length, several behind each other, and asking whether to go on.
    let chunked = format!(
        "POST /mydb/send?id=second HTTP/1.1\r\n{HOST}transfer-encoding: chunked\r\n\r\n\
         3\r\none\r\n4\r\n two\r\n0\r\n\r\n"
    );
    let plain =
        format!("POST /mydb/send?id=second HTTP/1.1\r\n{HOST}content-length: 5\r\n\r\nthree");
    let last = format!("GET /mydb/clients HTTP/1.1\r\n{HOST}connection: close\r\n\r\n");
    let answers = house.ask(&[chunked, plain, last].concat());
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 3, "{answers}");
    assert_eq!([hear(&mut first), hear(&mut first)], ["one two", "three"]);

    let mut asking = Netcat::tcp(house.door);
    asking
        .send(format!(
            "POST /mydb/send?id=second HTTP/1.1\r\n{HOST}content-length: 4\r\n\
             expect: 100-continue\r\nconnection: close\r\n\r\n"
        ))
        .unwrap();
    assert_eq!(asking.read_line().unwrap(), "HTTP/1.1 100 Continue\r\n");
    asking.send("four").unwrap();
    assert!(asking.read_to_end().unwrap().contains("200 OK"));
    assert_eq!(hear(&mut first), "four");
    let large = format!("POST / HTTP/1.1\r\n{HOST}x: {}\r\n\r\n", "x".repeat(20_000));
    assert_eq!(parts(&house.ask(&large)).0, 431);
}

#[test]
fn who_is_there_is_told_in_the_order_in_which_they_came() {
    let house = House::start(&["--token", "secret"]);
    let _peers = ["zulu1", "[master]", "alpha"].map(|id| house.join_with("mydb", id, "secret"));
    let (status, body) = get(&house, "/mydb/clients?t=secret");
    let clients: Vec<Value> = serde_json::from_str(&body).unwrap();
    let ids: Vec<_> = clients.iter().map(|it| it["id"].as_str().unwrap()).collect();
    assert_eq!((status, ids), (200, vec!["zulu1", "[master]", "alpha"]));
    assert!(clients[0]["connected"].as_u64() > Some(1_700_000_000_000), "{body}");
    assert_eq!(get(&house, "/other/clients?t=secret"), (200, "[]".to_owned()));
    assert_eq!(get(&house, "/mydb/clients").0, 401);
    assert_eq!(get(&house, "/mydb/clients?t=wrong").0, 401);
}

#[test]
fn what_is_to_be_fetched_is_for_those_who_were_told_each_once() {
    let house = House::start(&[
        "--large-delivery",
        "get",
        "--max-payload",
        "1024",
        "--large-memory",
        "5000",
        "--large-disk",
        "5000",
    ]);
    let mut told = ["first", "second"].map(|id| house.join("mydb", id));
    let sender = house.join("mydb", "sender");
    let mut third = house.join("mydb", "third");
    for peer in &mut told {
        while hear(peer) != "connect:third" {}
    }
    let at = "/mydb/send?id=sender";
    // Counted as AceBase counts: two for what is beyond the first 65536 characters.
    let short = format!("to:first;{}", "ü".repeat(1024));
    assert_eq!(post(&house, at, &short).0, 200);
    assert_eq!(hear(&mut told[0]).chars().count(), 1024);
    let fetch =
        |id: &str, message: &str| get(&house, &format!("/mydb/receive?id={id}&msg={message}"));
    let message = |peer: &mut WebSocket| hear(peer).strip_prefix("get:").unwrap().to_owned();
    // The second and later ones do not fit into memory any more; the fourth nowhere.
    let texts = ["a", "b", "c"].map(|it| it.repeat(4500));
    let mut ids = Vec::new();
    for (text, status) in texts.iter().zip([200, 200, 503]) {
        assert_eq!(post(&house, at, text).0, status);
        if status == 200 {
            let [first, second] = told.each_mut().map(&message);
            assert_eq!(first, second);
            assert_eq!(message(&mut third), first);
            let is_digit = |it: u8| it.is_ascii_digit() || it.is_ascii_lowercase();
            assert!(first.len() >= 24 && first.bytes().all(is_digit), "{first}");
            ids.push(first);
        }
    }
    for (id, text) in ids.iter().zip(&texts) {
        assert_eq!(fetch("sender", id).0, 404);
        assert_eq!(fetch("nobody", id).0, 401);
        assert_eq!(fetch("first", "0"), (404, "Not Found".to_owned()));
        assert_eq!(fetch("first", id), (200, text.clone()));
        assert_eq!(fetch("first", id).0, 404);
        assert_eq!(fetch("second", id), (200, text.clone()));
    }
    assert_eq!(house.stats()["large"]["waiting"], 2);
    // The last who could fetch them has gone, so their room is free.
    third.close();
    let mut watcher = house.guest();
    eventually("what nobody fetches is forgotten", || {
        let stats = watcher.ask("stats", &json!([]));
        (stats["large"] == json!({ "waiting": 0, "memory": 0, "disk": 0 })).then_some(())
    });
    assert_eq!(post(&house, at, &texts[2]).0, 200);
    drop(sender);
}

#[test]
fn what_comes_after_a_large_message_does_not_overtake_it_on_its_way_to_a_file() {
    let house = House::start(&[
        "--large-delivery",
        "get",
        "--large-memory",
        "0",
        "--max-post",
        "100000000",
    ]);
    let mut ear = house.join("mydb", "listener");
    let mut mouth = house.join("mydb", "talker");
    assert_eq!(hear(&mut ear), "connect:talker");
    let read = || -> usize {
        let page = administer(&house, "GET /metrics");
        let bytes = page.lines().find_map(|it| it.strip_prefix("relay_wire_bytes_in_total "));
        bytes.unwrap().parse().unwrap()
    };
    let (text, before) = ("x".repeat(60_000_000), read());
    let mut client = Netcat::tcp(house.door);
    let head = format!(
        "POST /mydb/send?id=talker HTTP/1.1\r\n{HOST}connection: close\r\ncontent-length: {}\r\n\r\n",
        text.len()
    );
    client.send([&head, &*text].concat()).unwrap();
    eventually("the last byte is in", || (read() - before >= text.len()).then_some(()));
    mouth.say("after");
    let id = hear(&mut ear).strip_prefix("get:").expect("what was posted first").to_owned();
    // Whether it is in its file by now or not.
    let fetched = get(&house, &format!("/mydb/receive?id=listener&msg={id}"));
    assert!(fetched == (200, text));
    assert_eq!(hear(&mut ear), "after");
    assert_eq!(parts(&client.read_to_end().unwrap()), (200, "ok".to_owned()));
}

#[test]
fn metrics_and_health_have_a_door_of_their_own() {
    let house = House::start(&[]);
    let _peer = house.join("my\\\"db", "first");
    let ask = |target: &str| parts(&administer(&house, &format!("GET {target}")));
    assert_eq!(ask("/healthz"), (200, "ok\n".to_owned()));
    let (status, page) = ask("/metrics");
    assert_eq!(status, 200);
    for line in
        ["relay_peers 1", "relay_db_peers{db=\"my\\\\\\\"db\"} 1", "# TYPE relay_peers gauge"]
    {
        assert!(page.lines().any(|it| it == line), "{line} is not in\n{page}");
    }
    // Its welcome has left.
    let count = page.lines().find_map(|it| it.strip_prefix("relay_routing_seconds_count "));
    assert!(count.is_some_and(|it| it != "0"), "{page}");
    assert!(page.contains("relay_routing_seconds_bucket{le=\"+Inf\"}"), "{page}");
    assert_eq!(get(&house, "/metrics").0, 404);
    assert_eq!(ask("/").0, 404);
    let refused = administer(&house, "POST /metrics");
    assert!(refused.contains("\r\nallow: GET, HEAD\r\n"), "{refused}");
}

#[test]
fn those_who_post_slowly_take_only_the_room_of_what_has_come() {
    let house = House::start(&["--post-total", "2000000", "--max-post", "1000000"]);
    let _peer = house.join("mydb", "first");
    let slow: Vec<_> = (0..8)
        .map(|_| {
            let mut client = Netcat::tcp(house.door);
            let head = format!(
                "POST /mydb/send?id=first HTTP/1.1\r\n{HOST}content-length: 1000000\r\n\r\n12345"
            );
            client.send(head).unwrap();
            client.settle();
            client
        })
        .collect();
    assert_eq!(post(&house, "/mydb/send?id=first", &"x".repeat(900_000)).0, 200);
    drop(slow);
}

#[test]
fn a_reload_changes_all_or_nothing() {
    let home = tempfile::TempDir::with_prefix_in("relay-", "/tmp").unwrap();
    let file = home.path().join("relay.toml");
    let write = |text: &str| std::fs::write(&file, text).unwrap();
    write("max_payload = 2048\n[tokens]\nmydb = \"one\"\n");
    let house = House::start(&["--config", file.to_str().unwrap()]);
    let mut guest = house.guest();
    assert_eq!(get(&house, "/mydb/clients?t=one").0, 200);
    write("token = [\"two\", \"three\"]\nqueue.bytes = 0\n");
    guest.refuse("bad-config", "reload", &json!([]));
    let at = file.display();
    for (text, why) in [
        (
            "tokn = \"two\"\n",
            "line 1: unknown key `tokn`; keys are flags, as in `queue-bytes` or `queue.bytes`",
        ),
        (
            "# Bytes.\nqueue.bytes = \"many\"\n",
            "line 2: `queue-bytes` can't be `many`: invalid digit found in string",
        ),
        (
            "[large]\ndelivery = \"fast\"\n",
            "line 2: `large-delivery` can't be `fast`: wanted inline or get",
        ),
        (
            "log = \"info\"\nlog.bodies = true\n",
            "line 2: this is not TOML: cannot extend value of type string with a dotted key; \
             beside `a = …` write `a-b = …` for `a.b = …`",
        ),
    ] {
        write(text);
        let said = guest.refuse("bad-config", "reload", &json!([]));
        assert_eq!(said["message"], format!("`{at}`, {why}"), "nothing but that");
    }
    assert_eq!(get(&house, "/mydb/clients?t=one").0, 200);
    write("token = [\"two\", \"three\"]\nadmin = \"127.0.0.1:1\"\n");
    assert_eq!(guest.ask("reload", &json!([])), json!({ "restart": ["admin"] }));
    for (token, status) in [("one", 401), ("two", 200), ("three", 200)] {
        assert_eq!(get(&house, &format!("/mydb/clients?t={token}")).0, status);
    }
}
