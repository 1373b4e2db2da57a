//! What guests of Common TCP see: the session of its page, and every command.

use serde_json::json;

use super::house::{House, hear};
use crate::harness::{Daemon, Heard, Netcat, binary, eventually, play, play_page, workspace};

#[test]
fn the_session_of_its_page_goes_as_written() {
    let house = House::start(&[]);
    play_page("daemons/relay/README.md", || house.guest(), str::to_owned);
}

#[test]
fn every_command_answers_as_written() {
    let page = "tests/transcripts/relay.txt";
    let text = std::fs::read_to_string(workspace().join(page)).unwrap();
    let house = House::start(&["--dbs", "mydb,other", "--max-post", "1000"]);
    play(page, (1..).zip(text.lines()), || house.guest(), str::to_owned);
}

#[test]
fn guests_and_clients_are_peers_of_each_other() {
    let house = House::start(&[]);
    let mut client = house.join("mydb_data", "client");
    let (mut guest, mut tap) = (house.guest(), house.guest());
    tap.ask("receive", &json!(["mydb_data", { "presence": true }]));
    guest.ask("join", &json!(["mydb_data", "guest"]));
    assert_eq!(hear(&mut client), "connect:guest");
    assert_eq!(hear(&mut client), "{\"type\":\"hello\",\"from\":\"guest\"}");
    guest.ask("receive", &json!(["mydb_data"]));
    client.say("to:guest;{\"x\":1}");
    let line = guest.read_line().unwrap();
    let event = "event [\"message\",{\"db\":\"mydb_data\",\"from\":\"client\",\"to\":\"guest\",\"text\":\"{\\\"x\\\":1}\",\"n\":1},1]\n";
    assert_eq!(line, event);
    assert_eq!(
        guest.ask("send", &json!(["mydb_data", "client", { "y": [1, 2.5] }])),
        json!({ "delivered": 1 })
    );
    assert_eq!(hear(&mut client), "{\"y\":[1,2.5]}");
    guest.ask("broadcast", &json!(["mydb_data", "all"]));
    assert_eq!(hear(&mut client), "all");
    let peers = guest.ask("peers", &json!(["mydb_data"]));
    let kinds: Vec<_> =
        peers.as_array().unwrap().iter().map(|it| (&it["id"], &it["kind"])).collect();
    assert_eq!(kinds, [(&json!("client"), &json!("ws")), (&json!("guest"), &json!("ctcp"))]);
    drop(guest);
    assert_eq!(hear(&mut client), "disconnect:guest");
    let seen: Vec<_> = (0..5).map(|_| tap.read_line().unwrap()).collect();
    for (line, part) in
        seen.iter().zip(["\"connect\"", "\"n\":1}", "\"n\":2}", "\"to\":null", "\"disconnect\""])
    {
        assert!(line.contains(part), "{part}: {seen:?}");
    }
}

#[test]
fn an_id_is_taken_from_a_client_by_a_guest_and_back() {
    let house = House::start(&[]);
    let mut client = house.join("mydb", "thesame");
    let mut guest = house.guest();
    guest.ask("join", &json!(["mydb", "thesame"]));
    assert_eq!(client.hear(), Heard::Close(4409));
    guest.ask("receive", &json!(["mydb"]));
    let _again = house.join("mydb", "thesame");
    assert_eq!(guest.read_line().unwrap(), "end [{\"reason\":\"replaced\"}]\n");
    // It is nobody now, and may be somebody again.
    guest.ask("join", &json!(["mydb", "another"]));
    // A master that is a guest lives as long as its connection.
    guest.ask("join", &json!(["other", "[master]"]));
    house.guest().refuse("conflict", "join", &json!(["other", "[master]"]));
}

#[test]
fn who_listens_learns_what_it_missed() {
    let house = House::start(&[]);
    let (mut sender, mut tap) = (house.guest(), house.guest());
    tap.ask("receive", &json!(["mydb"]));
    let large = "x".repeat(900_000);
    for text in ["one", "two", &large, &large, &large, &large, &large, "last"] {
        sender.ask("broadcast", &json!(["mydb", text]));
    }
    let mut late = house.guest();
    assert_eq!(
        late.ask("receive", &json!(["mydb", { "after": 1 }])),
        json!({ "db": "mydb", "n": 8 })
    );
    assert_eq!(late.read_line().unwrap(), "event [\"gap\",{\"missed\":2},1]\n");
    let numbers: Vec<_> = (0..5)
        .map(|_| late.read_line().unwrap())
        .map(|line| line.split("\"n\":").nth(1).unwrap().split('}').next().unwrap().to_owned())
        .collect();
    assert_eq!(numbers, ["4", "5", "6", "7", "8"]);
}

#[test]
fn who_is_no_peer_may_not_look_nor_send() {
    let house = House::start(&[]);
    let mut stranger = house.daemon.connect();
    for (name, args) in [
        ("dbs", json!([])),
        ("peers", json!(["mydb"])),
        ("send", json!(["mydb", "client", "x"])),
        ("broadcast", json!(["mydb", "x"])),
        ("join", json!(["mydb"])),
        ("receive", json!(["mydb"])),
        ("kick", json!(["mydb", "client"])),
        ("stats", json!([])),
        ("drain", json!([])),
        ("reload", json!([])),
    ] {
        stranger.refuse("auth-required", name, &args);
    }
}

#[test]
fn who_says_a_wrong_token_is_in_the_log() {
    let home = tempfile::TempDir::with_prefix_in("relay-", "/tmp").unwrap();
    let file = home.path().join("token");
    std::fs::write(&file, "right").unwrap();
    let environment = [("DAE_TOKEN_FILE", file.to_str().unwrap())];
    let relay = Daemon::start(&binary("relay"), &["--listen", "127.0.0.1:0"], &environment);
    relay.connect().refuse("denied", "auth", &json!(["guess"]));
    let said = relay.said();
    assert!(said.contains("turned away: a wrong token guest=1 address=127.0.0.1"), "{said}");
    assert!(!said.contains("guess"), "{said}");
}

#[test]
fn at_its_end_everybody_gets_what_was_sent_and_nobody_hears_of_the_others() {
    let mut house = House::start(&[]);
    let mut ears = ["first", "second"].map(|it| house.join("mydb", it));
    let mut mouth = house.join("mydb", "talker");
    let text = "x".repeat(10_000);
    for _ in 0..100 {
        mouth.say(&text);
    }
    mouth.say("ping");
    while hear(&mut mouth) != "pong" {}
    house.guest().ask("drain", &json!([]));
    for ear in &mut ears {
        let heard: Vec<_> = std::iter::repeat_with(|| ear.hear())
            .take_while(|it| *it != Heard::Close(1012))
            .filter(|it| !matches!(it, Heard::Text(text) if text.starts_with("connect:")))
            .collect();
        assert_eq!(heard, vec![Heard::Text(text.clone()); 100]);
    }
    drop((ears, mouth));
    assert_eq!(house.daemon.ended().0.code(), Some(0));
}

#[test]
fn what_waits_for_a_guest_is_told() {
    let house = House::start(&[]);
    let (mut guest, mut sender) = (house.guest(), house.guest());
    guest.ask("join", &json!(["mydb", "guest"]));
    guest.ask("receive", &json!(["mydb"]));
    let text = "x".repeat(500_000);
    for _ in 0..20 {
        sender.ask("send", &json!(["mydb", "guest", text]));
    }
    // Far more than its connection holds.
    let waits = |sender: &mut Netcat| {
        let peers = sender.ask("peers", &json!(["mydb"]));
        let stats = sender.ask("stats", &json!([]));
        [&peers[0]["queue_bytes"], &stats["queue_bytes"]].map(|it| it.as_u64().unwrap())
    };
    let [its, all] = waits(&mut sender);
    assert!(its > 5_000_000 && its == all, "{its} {all}");
    for _ in 0..20 {
        assert!(guest.read_line().unwrap().contains(&text));
    }
    eventually("nothing waits", || (waits(&mut sender) == [0, 0]).then_some(()));
}

#[test]
fn what_waits_for_all_guests_together_has_a_bound() {
    const MOST: u64 = 12_000_000;
    let house = House::start(&["--waiting-bytes", &MOST.to_string()]);
    let mut sender = house.guest();
    let mut guests = ["first", "second", "third"].map(|id| {
        let mut guest = house.guest();
        guest.ask("join", &json!(["mydb", id]));
        guest.ask("receive", &json!(["mydb"]));
        guest
    });
    let text = "x".repeat(900_000);
    for _ in 0..6 {
        sender.ask("broadcast", &json!(["mydb", text]));
    }
    eventually("who leaves too much unread is gone", || {
        let stats = sender.ask("stats", &json!([]));
        (stats["queue_bytes"].as_u64()? <= MOST && stats["peers"] == 2).then_some(())
    });
    let whole = guests.each_mut().map(|it| {
        let lines = (0..6).map(|_| it.read_line().unwrap_or_default());
        lines.filter(|line| line.contains(&text)).count() == 6
    });
    assert_eq!(whole.iter().filter(|it| **it).count(), 2, "{whole:?}");
}

#[test]
fn a_database_has_one_name_however_it_is_written_in_a_url() {
    for dbs in ["*", "my*", "my db"] {
        let house = House::start(&["--dbs", dbs]);
        let mut client = house.join("my%20db", "client");
        let mut guest = house.guest();
        guest.ask("broadcast", &json!(["my db", "x"]));
        assert_eq!(hear(&mut client), "x", "{dbs}");
    }
}

#[test]
fn who_has_cancelled_keeps_no_database() {
    let house = House::start(&["--max-dbs", "3"]);
    let mut guest = house.guest();
    for number in 0..20 {
        let db = json!([format!("db{number}")]);
        guest.ask("receive", &db);
        guest.ask("cancel", &json!([]));
        assert_eq!(guest.read_line().unwrap(), "end [{\"reason\":\"cancelled\"}]\n");
    }
    house.join("another", "client");
}

#[test]
fn a_guest_learns_what_came_while_it_did_not_listen() {
    let house = House::start(&[]);
    let (mut guest, mut sender) = (house.guest(), house.guest());
    guest.ask("join", &json!(["mydb", "guest"]));
    for text in ["one", "two"] {
        let delivered = sender.ask("send", &json!(["mydb", "guest", text]));
        assert_eq!(delivered, json!({ "delivered": 0 }));
    }
    guest.ask("receive", &json!(["mydb"]));
    assert_eq!(guest.read_line().unwrap(), "event [\"gap\",{\"missed\":2},1]\n");
    // A number of which nobody knows any more what came after it.
    let mut late = house.guest();
    late.ask("receive", &json!(["mydb", { "after": 100 }]));
    assert_eq!(late.read_line().unwrap(), "event [\"gap\",{\"missed\":null},1]\n");
}

#[test]
fn all_that_is_known_of_a_database_comes_at_once() {
    let house = House::start(&[]);
    let (mut sender, mut tap) = (house.guest(), house.guest());
    tap.ask("receive", &json!(["mydb"]));
    for _ in 0..1100 {
        sender.ask("broadcast", &json!(["mydb", "x"]));
    }
    let mut late = house.guest();
    late.ask("receive", &json!(["mydb", { "after": 0 }]));
    assert_eq!(late.read_line().unwrap(), "event [\"gap\",{\"missed\":76},1]\n");
    for n in 77..=1100 {
        assert!(late.read_line().unwrap().contains(&format!("\"n\":{n}}}")));
    }
}
