//! What goes over a WebSocket, byte by byte.

use std::thread;

use serde_json::json;

use super::house::{HOST, House, hear, target};
use crate::harness::{Heard, Netcat, WebSocket, eventually};

/// What one peer sends, and what it and the others then hear; `!` is a close with that code.
struct Vector {
    sent: Vec<u8>,
    myself: &'static [&'static str],
    other: &'static [&'static str],
    master: &'static [&'static str],
}

/// Frames that begin with these bytes: text, binary and what continues either; whole or not.
const TEXT: u8 = 0x81;
const TEXT_BEGINS: u8 = 1;
const GOES_ON: u8 = 0;
const ENDS: u8 = 0x80;
const BINARY: u8 = 0x82;
const PING: u8 = 0x89;

fn vectors() -> Vec<Vector> {
    let text = |text: &str| WebSocket::frame(TEXT, text.as_bytes());
    let to = |sent, myself, other, master| Vector { sent, myself, other, master };
    let fragments = [
        WebSocket::frame(TEXT_BEGINS, b"to:[mas"),
        WebSocket::frame(PING, b"between"),
        WebSocket::frame(GOES_ON, b"ter];a ;b"),
        WebSocket::frame(ENDS, "ä".as_bytes()),
    ];
    vec![
        to(text("ping"), &["pong"], &[], &[]),
        to(text("ping "), &[], &["ping "], &["ping "]),
        to(text("to:otherpeer;x"), &[], &["x"], &[]),
        to(text("to:[master];{\"a\":[1,\"ü\"]}"), &[], &[], &["{\"a\":[1,\"ü\"]}"]),
        to(text("to:myself;ping"), &["ping"], &[], &[]),
        to(text("to:nobody;x"), &[], &[], &[]),
        to(text("to:all;x;y"), &[], &["x;y"], &["x;y"]),
        to(text("to:;"), &[], &[""], &[""]),
        to(text("to:otherpeer"), &[], &[], &[]),
        to(text(""), &[], &[""], &[""]),
        to(text(" {\"b\" : 1.0} "), &[], &[" {\"b\" : 1.0} "], &[" {\"b\" : 1.0} "]),
        to(text("pong"), &[], &["pong"], &["pong"]),
        to(text("connect:x"), &[], &["connect:x"], &["connect:x"]),
        to(fragments.concat(), &[], &[], &["a ;bä"]),
        to(WebSocket::frame(BINARY, b"ping"), &[], &[], &[]),
        to([text("1"), text("ping"), text("2")].concat(), &["pong"], &["1", "2"], &["1", "2"]),
    ]
}

#[test]
fn each_text_does_what_it_says_however_it_is_cut() {
    let house = House::start(&[]);
    let mut myself = house.join("mydb", "myself");
    let mut other = house.join("mydb", "otherpeer");
    let mut master = house.join("mydb", "[master]");
    // Of another database: it hears nothing, whatever is said.
    let mut stranger = house.join("yourdb", "otherpeer");
    assert_eq!(hear(&mut myself), "connect:otherpeer");
    assert_eq!(hear(&mut myself), "connect:[master]");
    assert_eq!(hear(&mut other), "connect:[master]");
    for Vector { sent, myself: mine, other: others, master: masters } in vectors() {
        for cut in 0..sent.len() {
            let (begin, end) = sent.split_at(cut);
            myself.say_raw(begin);
            // Meanwhile the relay may read the first part.
            stranger.say("ping");
            assert_eq!(hear(&mut stranger), "pong");
            myself.say_raw(end);
            // Nothing else comes before what is sent last.
            for text in ["to:myself;end", "to:otherpeer;end", "to:[master];end"] {
                myself.say(text);
            }
            let told = |peer: &mut WebSocket| -> Vec<String> {
                std::iter::repeat_with(|| hear(peer)).take_while(|it| it != "end").collect()
            };
            assert_eq!(told(&mut myself), mine, "{sent:?} {cut}");
            assert_eq!(told(&mut other), others, "{sent:?} {cut}");
            assert_eq!(told(&mut master), masters, "{sent:?} {cut}");
        }
    }
    stranger.say("ping");
    assert_eq!(hear(&mut stranger), "pong");
    let stats = house.stats();
    assert!(stats["dropped"]["unknown"].as_u64() >= Some(1), "{stats}");
    assert!(stats["dropped"]["malformed"].as_u64() >= Some(1), "{stats}");
    assert!(stats["dropped"]["binary"].as_u64() >= Some(1), "{stats}");
}

#[test]
fn the_handshake_is_answered_byte_for_byte() {
    let house = House::start(&["--max-payload", "2048"]);
    let mut client = Netcat::tcp(house.door);
    let request = format!(
        "GET {} HTTP/1.1\r\n{HOST}Upgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\
         Sec-WebSocket-Protocol: first, second\r\n\r\n",
        target("mydb", "[master]", "undefined")
    );
    client.send(request).unwrap();
    let mut head = Vec::new();
    while head.last().is_none_or(|it| it != "\r\n") {
        head.push(client.read_line().unwrap().to_ascii_lowercase());
    }
    assert_eq!(head[0], "http/1.1 101 switching protocols\r\n");
    assert!(head.contains(&"sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n".to_owned()));
    assert!(head.contains(&"sec-websocket-protocol: first\r\n".to_owned()), "{head:?}");
    assert!(!head.iter().any(|it| it.starts_with("sec-websocket-extensions")), "{head:?}");
    // One frame of a server: whole, text, 27 bytes, no mask. Then the close that answers ours.
    client.send(WebSocket::frame(0x88, &1000_u16.to_be_bytes())).unwrap();
    let rest = client.read_to_end_bytes().unwrap();
    assert_eq!(rest, b"\x81\x1Bwelcome:{\"maxPayload\":2048}\x88\x02\x03\xE8");
}

#[test]
fn what_may_not_be_sent_ends_the_connection_with_its_code() {
    let house = House::start(&["--max-payload", "1024"]);
    let mut other = house.join("mydb", "otherpeer");
    let longest = "x".repeat(1024);
    let too_long = "x".repeat(1025);
    let half = "x".repeat(513);
    let (begins, ends) =
        (WebSocket::frame(TEXT_BEGINS, half.as_bytes()), WebSocket::frame(ENDS, half.as_bytes()));
    for (sent, code) in [
        (WebSocket::frame(TEXT, too_long.as_bytes()), 1009),
        ([begins, ends].concat(), 1009),
        (WebSocket::frame(TEXT, b"\xFF"), 1007),
        (WebSocket::frame(ENDS, b"x"), 1002),
        (WebSocket::frame(0xC1, b"x"), 1002),
    ] {
        let mut peer = house.join("mydb", "somepeer");
        assert_eq!(hear(&mut other), "connect:somepeer");
        peer.say(&longest);
        assert_eq!(hear(&mut other), longest);
        peer.say_raw(&sent);
        // Nothing that follows is read.
        peer.say_raw(&WebSocket::frame(TEXT, b"behind"));
        assert_eq!(peer.hear(), Heard::Close(code), "{sent:?}");
        assert_eq!(hear(&mut other), "disconnect:somepeer");
    }
    for fault in [
        "a message of 1025 bytes, 1024 at most",
        "a message of 1026 bytes, 1024 at most",
        "a text that is not UTF-8",
        "a frame that RFC 6455 forbids",
    ] {
        let line = format!("closed: what it sent may not be db=mydb id=somepeer fault={fault}");
        eventually(&line, || house.daemon.said().contains(&line).then_some(()));
    }
}

#[test]
fn of_all_who_are_at_a_message_the_first_goes_if_that_is_too_much() {
    let house = House::start(&["--unfinished-total", "10000"]);
    let mut watcher = house.join("mydb", "watcher");
    let half = "x".repeat(8000);
    let mut peers = ["peer-1", "peer-2"].map(|id| house.join("mydb", id));
    for peer in &mut peers {
        assert!(hear(&mut watcher).starts_with("connect:"));
        peer.say_raw(&WebSocket::frame(TEXT_BEGINS, half.as_bytes()));
    }
    // Whichever of them was read first.
    let gone = hear(&mut watcher);
    let [mut first, mut second] = peers;
    if gone == "disconnect:peer-2" {
        std::mem::swap(&mut first, &mut second);
    }
    assert!(gone.starts_with("disconnect:"), "{gone}");
    let end = std::iter::repeat_with(|| first.hear()).find(|it| !matches!(it, Heard::Text(_)));
    assert_eq!(end, Some(Heard::Close(1013)));
    second.say_raw(&WebSocket::frame(ENDS, half.as_bytes()));
    assert_eq!(hear(&mut watcher).len(), 16_000);
}

#[test]
fn who_comes_and_goes_is_told_to_its_own_database_in_order() {
    let house = House::start(&[]);
    let mut first = house.join("mydb_data", "first");
    let mut stranger = house.join("mydb", "first");
    let mut second = house.join("mydb_data", "second");
    assert_eq!(hear(&mut first), "connect:second");
    assert_eq!(hear(&mut first), "{\"type\":\"hello\",\"from\":\"second\"}");
    second.say("last words");
    second.close();
    assert_eq!(hear(&mut first), "last words");
    assert_eq!(hear(&mut first), "disconnect:second");
    let third = house.join("mydb", "third");
    assert_eq!(hear(&mut stranger), "connect:third");
    drop(third);
    assert_eq!(hear(&mut stranger), "disconnect:third");
}

#[test]
fn without_its_help_nobody_says_hello_for_a_newcomer() {
    let house = House::start(&["--assist-hello", "false"]);
    let mut first = house.join("mydb_data", "first");
    let mut second = house.join("mydb_data", "second");
    second.say("x");
    assert_eq!([hear(&mut first), hear(&mut first)], ["connect:second", "x"]);
}

#[test]
fn the_newcomer_takes_an_id_and_the_others_see_the_change() {
    let house = House::start(&[]);
    let mut watcher = house.join("mydb", "watcher");
    let mut old = house.join("mydb", "thesame");
    assert_eq!(hear(&mut watcher), "connect:thesame");
    let mut new = house.join("mydb", "thesame");
    assert_eq!(hear(&mut watcher), "disconnect:thesame");
    assert_eq!(hear(&mut watcher), "connect:thesame");
    assert_eq!(old.hear(), Heard::Close(4409));
    watcher.say("to:thesame;x");
    assert_eq!(hear(&mut new), "x");
}

#[test]
fn a_living_master_stays_and_a_dead_one_is_replaced() {
    let house = House::start(&["--dup-probe", "300ms"]);
    let mut worker = house.join("mydb", "worker");
    let mut master = house.join("mydb", "[master]");
    assert_eq!(hear(&mut worker), "connect:[master]");
    // It lives as long as somebody reads, who answers pings.
    let (tell, told) = std::sync::mpsc::channel();
    let living = std::thread::spawn(move || {
        let heard = hear(&mut master);
        tell.send(heard).unwrap();
        master
    });
    let (status, answer) = house.refusal(&target("mydb", "%5Bmaster%5D", ""), HOST);
    assert_eq!(status, 409, "{answer}");
    worker.say("to:[master];end");
    assert_eq!(told.recv().unwrap(), "end");
    // From here on nobody reads for it.
    let dead = living.join().unwrap();
    let mut next = house.join("mydb", "[master]");
    assert_eq!(hear(&mut worker), "disconnect:[master]");
    assert_eq!(hear(&mut worker), "connect:[master]");
    worker.say("to:[master];x");
    assert_eq!(hear(&mut next), "x");
    drop(dead);
}

#[test]
fn of_many_masters_at_once_one_comes_in_and_the_others_are_told_before() {
    let house = House::start(&["--dup-probe", "2s"]);
    // While it is asked whether it lives, the others come.
    let _dead = house.join("mydb", "[master]");
    let at = target("mydb", "[master]", "");
    let statuses = thread::scope(|scope| {
        let come = || match WebSocket::at(house.door, &at, HOST) {
            // Who is in shows that it lives until it is sent away.
            Ok(mut master) => {
                while let Heard::Text(_) = master.hear() {}
                101
            }
            Err((status, _)) => status,
        };
        let coming: Vec<_> = (0..8).map(|_| scope.spawn(come)).collect();
        eventually("all but one are refused", || {
            (coming.iter().filter(|it| it.is_finished()).count() == 7).then_some(())
        });
        // First goes the dead one, then who has come in its place.
        let mut guest = house.guest();
        eventually("the one comes in, and goes", || {
            guest.call("kick", &json!(["mydb", "[master]"]));
            coming.iter().all(|it| it.is_finished()).then_some(())
        });
        coming.into_iter().map(|it| it.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(statuses.iter().filter(|it| **it == 409).count(), 7, "{statuses:?}");
}

#[test]
fn a_master_that_does_not_come_after_all_keeps_nobody_out() {
    let house = House::start(&[]);
    // It would be let in, but asks for no WebSocket.
    let at = target("mydb", "[master]", "");
    for _ in 0..2 {
        let answer = house.ask(&format!("GET {at} HTTP/1.1\r\n{HOST}connection: close\r\n\r\n"));
        assert!(answer.starts_with("HTTP/1.1 426 "), "{answer}");
    }
    house.join("mydb", "[master]").close();
    let mut guest = house.guest();
    guest.ask("join", &json!(["mydb", "[master]"]));
    guest.ask("leave", &json!(["mydb"]));
    guest.ask("join", &json!(["mydb", "[master]"]));
}

#[test]
fn two_that_want_the_same_id_do_not_take_it_from_each_other_for_ever() {
    let house = House::start(&[]);
    let mut holders = vec![house.join("mydb", "thesame")];
    for _ in 0..3 {
        holders.push(house.join("mydb", "thesame"));
    }
    let mut last = holders.pop().unwrap();
    let living = std::thread::spawn(move || last.hear());
    let (status, answer) = house.refusal(&target("mydb", "thesame", ""), HOST);
    assert_eq!(status, 409, "{answer}");
    house.guest().ask("kick", &json!(["mydb", "thesame"]));
    assert_eq!(living.join().unwrap(), Heard::Close(4403));
}
