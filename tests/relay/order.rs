//! Nothing is lost, doubled or in another order, whatever peers do.

use std::{collections::BTreeSet, thread, time::Duration};

use serde_json::json;
use tokio::time::Instant;

use super::house::{House, hear};
use crate::harness::{Heard, WebSocket, eventually};

/// How many send, how many only listen, and how many messages each sends.
const SENDERS: usize = 6;
const LISTENERS: usize = 4;
const MESSAGES: usize = 300;

/// A message that a test sends: from whom, the how manieth, and to whom if it is not for all.
#[derive(Clone, Debug, PartialEq)]
struct Said {
    from: usize,
    number: usize,
    to: Option<usize>,
}

/// Numbers that look random and are the same each time.
struct Chance(u64);

impl Chance {
    fn below(&mut self, most: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % most
    }
}

fn id(peer: usize) -> String {
    format!("peer{peer:03}")
}

impl Said {
    /// As it is sent, with so much behind it.
    fn text(&self, length: usize) -> String {
        let Self { from, number, to } = self;
        let begin = to.map(|to| format!("to:{};", id(to))).unwrap_or_default();
        format!("{begin}{from} {number} {} {}", to.map_or(-1, |it| it as i64), "x".repeat(length))
    }

    /// As it came; `None` for what no test has sent.
    fn read(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let mut next = || words.next()?.parse::<i64>().ok();
        let (from, number, to) = (next()?, next()?, next()?);
        let index = |it: i64| usize::try_from(it).ok();
        Some(Self { from: index(from)?, number: index(number)?, to: index(to) })
    }
}

/// A peer, and what it has heard.
struct Peer {
    socket: WebSocket,
    heard: Vec<Said>,
    ended: BTreeSet<usize>,
}

impl Peer {
    fn new(socket: WebSocket) -> Self {
        Self { socket, heard: Vec::new(), ended: BTreeSet::new() }
    }

    /// Reads one message; whether it is a `pong`.
    fn hear(&mut self) -> bool {
        let text = hear(&mut self.socket);
        match Said::read(&text) {
            Some(said) if said.number == MESSAGES => assert!(self.ended.insert(said.from)),
            Some(said) => self.heard.push(said),
            None => assert!(text == "pong" || text.contains("connect:"), "{text}"),
        }
        text == "pong"
    }

    /// Reads until all have said that they say nothing more; what came.
    fn listen(mut self) -> Vec<Said> {
        while self.ended.len() < SENDERS {
            self.hear();
        }
        self.heard
    }

    /// Sends its messages to all or to one, of random lengths, some by POST; what it said.
    fn talk(&mut self, from: usize, house: &House, peers: usize) -> Vec<Said> {
        let mut chance = Chance(from as u64 + 1);
        let mut said = Vec::new();
        for number in 0..MESSAGES {
            let to = (chance.below(3) == 0).then(|| chance.below(peers));
            let it = Said { from, number, to };
            let length = [0, 10, 200, 4000][chance.below(4)];
            match chance.below(20) {
                0 => self.post(house, from, &it.text(length + 20_000)),
                _ => self.socket.say(&it.text(length)),
            }
            said.push(it);
        }
        // It hears its own end behind all that it has said to itself.
        for to in [None, Some(from)] {
            self.socket.say(&Said { from, number: MESSAGES, to }.text(0));
        }
        said
    }

    fn post(&mut self, house: &House, from: usize, body: &str) {
        // That is another connection: what was said on this one is read before.
        self.socket.say("ping");
        while !self.hear() {}
        Self::post_now(house, from, body);
    }

    fn post_now(house: &House, from: usize, body: &str) {
        let answer = house.ask(&format!(
            "POST /mydb/send?id={} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
             content-length: {}\r\n\r\n{body}",
            id(from),
            body.len()
        ));
        assert!(answer.ends_with("\r\nok"), "{answer}");
    }
}

#[test]
fn each_gets_what_is_for_it_once_and_in_order() {
    let house = House::start(&["--queue-age", "1h", "--queue-bytes", "1000000000"]);
    let peers = SENDERS + LISTENERS;
    // All are there before anybody talks.
    let sockets: Vec<_> = (0..peers).map(|it| Peer::new(house.join("mydb", &id(it)))).collect();
    let mut said = Vec::new();
    let mut heard = Vec::new();
    thread::scope(|scope| {
        let threads: Vec<_> = (0..)
            .zip(sockets)
            .map(|(index, mut peer)| {
                let house = &house;
                scope.spawn(move || {
                    let is_sender = index < SENDERS;
                    let said = if is_sender { peer.talk(index, house, peers) } else { Vec::new() };
                    (said, peer.listen())
                })
            })
            .collect();
        for thread in threads {
            let (its, came) = thread.join().unwrap();
            said.push(its);
            heard.push(came);
        }
    });
    for (listener, heard) in heard.iter().enumerate() {
        for (from, said) in said.iter().enumerate().take(SENDERS) {
            check(from, said, listener, heard);
        }
    }
    // One order for all: those who only listen have heard all that was said to all.
    let to_all = |heard: &[Said]| -> Vec<Said> {
        heard.iter().filter(|it| it.to.is_none()).cloned().collect()
    };
    let first = to_all(&heard[SENDERS]);
    assert!(heard[SENDERS..].iter().all(|it| to_all(it) == first));
    // And those who talk the same but for their own.
    for (own, heard) in heard.iter().enumerate().take(SENDERS) {
        let others: Vec<_> = first.iter().filter(|it| it.from != own).cloned().collect();
        assert_eq!(to_all(heard), others);
    }
}

/// `listener` has heard of `from` exactly what was for it, in that order.
fn check(from: usize, said: &[Said], listener: usize, heard: &[Said]) {
    let is_for_it = |it: &&Said| match it.to {
        None => from != listener,
        Some(to) => to == listener,
    };
    let expected: Vec<_> = said.iter().filter(is_for_it).map(|it| it.number).collect();
    let came = heard.iter().filter(|it| it.from == from).map(|it| it.number);
    assert_eq!(came.collect::<Vec<_>>(), expected, "from {from} to {listener}");
}

#[test]
fn who_is_killed_or_stalls_has_heard_a_beginning_without_a_gap_and_holds_up_nobody() {
    let house = House::start(&["--queue-bytes", "300000"]);
    let mut ear = house.join("mydb", "listener");
    let mut stalled = house.join_narrow("mydb", "stalled");
    let killed = house.join("mydb", "killed");
    let mut mouth = house.join("mydb", "talker");
    let count = 20_000;
    let listening = thread::spawn(move || {
        let mut next = 0;
        while next < count {
            if let Some(said) = Said::read(&hear(&mut ear)) {
                assert_eq!(said.number, next);
                next += 1;
            }
        }
        ear
    });
    let mut killed = Some(killed);
    for number in 0..count {
        mouth.say(&Said { from: 0, number, to: None }.text(200));
        if number == count / 2 {
            drop(killed.take());
        }
    }
    listening.join().unwrap();
    // Far more than fits: it was given up, and what it can still read has no gap.
    let mut watcher = house.guest();
    eventually("who does not read is gone", || {
        let peers = watcher.ask("peers", &json!(["mydb"]));
        let is_there = |id: &str| peers.as_array().unwrap().iter().any(|it| it["id"] == id);
        (!is_there("stalled") && !is_there("killed")).then_some(())
    });
    let mut next = 0;
    loop {
        match stalled.hear() {
            Heard::Text(text) => match Said::read(&text) {
                Some(said) => {
                    assert_eq!(said.number, next);
                    next += 1;
                }
                None => assert!(text.contains("connect:"), "{text}"),
            },
            Heard::Close(code) => {
                assert_eq!(code, 1013);
                break;
            }
            Heard::End => break,
        }
    }
    assert!(next < count, "all of it was read by who was to be given up");
}

#[test]
fn who_sends_too_fast_waits_loses_nothing_and_is_not_taken_for_dead() {
    let house = House::start(&["--limit-msgs", "2", "--dup-probe", "10ms"]);
    let mut ear = house.join("mydb", "listener");
    let mut master = house.join("mydb", "[master]");
    assert_eq!(hear(&mut ear), "connect:[master]");
    for number in 0..6 {
        master.say(&Said { from: 0, number, to: None }.text(0));
    }
    // From here on it is made to wait, for more than a second.
    for number in 0..3 {
        assert_eq!(Said::read(&hear(&mut ear)).unwrap().number, number);
    }
    let target = super::house::target("mydb", "[master]", "");
    assert_eq!(house.refusal(&target, super::house::HOST).0, 409);
    for number in 3..6 {
        assert_eq!(Said::read(&hear(&mut ear)).unwrap().number, number);
    }
    // Who is sent away while it waits goes at once.
    for number in 0..1000 {
        master.say(&Said { from: 0, number, to: None }.text(0));
    }
    house.guest().ask("kick", &json!(["mydb", "[master]"]));
    assert_eq!(master.hear(), Heard::Close(4403));
}

#[test]
fn who_sends_too_fast_waits_whichever_way_it_comes() {
    let house = House::start(&["--limit-msgs", "4"]);
    let _sender = house.join("mydb", &id(0));
    // Of eight at four a second the last waits for a second at least; the first four come at once.
    let waits = |eight: &mut dyn FnMut()| {
        let begun = Instant::now();
        eight();
        assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
    };
    waits(&mut || (0..8).for_each(|_| Peer::post_now(&house, 0, "x")));
    let mut guest = house.guest();
    waits(&mut || {
        (0..8).for_each(|_| drop(guest.ask("broadcast", &json!(["mydb", "x"]))));
    });
    // What is posted counts for who has said something else as well.
    let mut other = house.join("mydb", &id(1));
    waits(&mut || {
        (0..4).for_each(|_| Peer::post_now(&house, 1, "x"));
        (0..4).for_each(|_| other.say("x"));
        other.say("ping");
        while hear(&mut other) != "pong" {}
    });
}

#[test]
fn who_leaves_too_much_unread_goes_whoever_has_sent_it() {
    let text = "x".repeat(400_000);
    for way in ["guest", "post"] {
        let house = House::start(&["--queue-total", "1000000", "--queue-bytes", "1000000000"]);
        let _stalled = house.join_narrow("mydb", &id(0));
        let _sender = house.join_narrow("mydb", &id(1));
        let mut guest = house.guest();
        for _ in 0..20 {
            match way {
                "guest" => drop(guest.ask("send", &json!(["mydb", id(0), text]))),
                _ => Peer::post_now(&house, 1, &format!("to:{};{text}", id(0))),
            }
        }
        let gone = || {
            let peers = guest.ask("peers", &json!(["mydb"]));
            (peers.as_array().unwrap().len() == 1).then_some(())
        };
        eventually("who does not read is gone", gone);
    }
}
