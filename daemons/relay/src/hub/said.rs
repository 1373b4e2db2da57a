//! What peers say to all is handed out in pieces, and nobody can tell but by those.

use std::{cell::RefCell, rc::Rc};

use websocket::{Bundle, Frame};

use super::*;
use crate::Parcel;

/// What a peer was sent, in order.
#[derive(Clone, Default)]
struct Log(Rc<RefCell<Vec<Frame>>>);

impl Mailbox for Log {
    fn put(&self, parcel: &Parcel<'_>) -> bool {
        self.0.borrow_mut().push(parcel.frame());
        true
    }

    fn takes_bundles(&self) -> bool {
        true
    }

    fn put_bundle(&self, bundle: &Frame) -> bool {
        self.0.borrow_mut().push(bundle.clone());
        true
    }

    fn dismiss(&self, _: Dismissal) {}

    fn queued_bytes(&self) -> usize {
        0
    }
}

fn hub() -> Hub<Log> {
    Hub::new(Bounds { peers: 9, peers_per_db: 9, dbs: 9, history: 1 << 20, greeted: vec![] })
}

fn enter(hub: &mut Hub<Log>, id: &str) -> (u64, Log) {
    let (db, id, log) = (DbName::read("db").unwrap(), PeerId::read(id).unwrap(), Log::default());
    (hub.enter(&db, &id, log.clone(), None, Duration::ZERO).unwrap(), log)
}

fn bundle(texts: &[&str]) -> Frame {
    let mut bundle = Bundle::default();
    texts.iter().for_each(|it| bundle.add(it));
    bundle.into_frame()
}

#[test]
fn what_is_said_comes_before_all_that_happens_after_it() {
    let mut hub = hub();
    let ((anna, of_anna), (bert, of_bert)) = (enter(&mut hub, "anna1"), enter(&mut hub, "bert1"));
    let (_, heard) = enter(&mut hub, "heard");
    for (number, text) in [(anna, "1"), (anna, "2"), (bert, "3"), (anna, "4")] {
        hub.take("db", number, text);
    }
    hub.take("db", bert, "to:heard;5");
    hub.take("db", anna, "6");
    let (chris, of_chris) = enter(&mut hub, "chris");
    hub.take("db", anna, "7");
    hub.leave("db", chris);
    hub.take("db", bert, "8");
    hub.leave("db", bert);
    hub.take("db", anna, "9");
    let text = Frame::text;
    let mut all = vec![
        bundle(&["1", "2"]),
        bundle(&["3"]),
        bundle(&["4"]),
        text("5"),
        bundle(&["6"]),
        text("connect:chris"),
        bundle(&["7"]),
        text("disconnect:chris"),
        bundle(&["8"]),
        text("disconnect:bert1"),
    ];
    assert_eq!(*heard.0.borrow(), all);
    hub.hand_out("db");
    all.push(bundle(&["9"]));
    assert_eq!(*heard.0.borrow(), all);
    assert_eq!(*of_chris.0.borrow(), [bundle(&["7"])]);
    assert_eq!(of_anna.0.borrow()[2..4], [bundle(&["3"]), text("connect:chris")]);
    assert_eq!(of_bert.0.borrow().last(), Some(&text("disconnect:chris")));
}

#[test]
fn what_is_said_is_counted_for_each_who_took_it() {
    let mut hub = hub();
    let ((anna, _), _, _) =
        (enter(&mut hub, "anna1"), enter(&mut hub, "bert1"), enter(&mut hub, "chris"));
    hub.take("db", anna, "four");
    hub.take("db", anna, "to:all;two");
    hub.hand_out("db");
    hub.hand_out("db");
    let broadcasts = |of: &[crate::Flow; 4]| of[Kind::Broadcast as usize];
    assert_eq!(broadcasts(&hub.counters.accepted), crate::Flow { messages: 2, bytes: 7 });
    assert_eq!(broadcasts(&hub.counters.delivered), crate::Flow { messages: 4, bytes: 14 });
    let received: Vec<_> = hub.db("db").unwrap().peers().iter().map(|it| it.received).collect();
    assert_eq!(received, [0, 2, 2]);
}

#[test]
fn what_is_said_at_once_has_a_bound() {
    let mut hub = hub();
    let ((anna, _), (_, heard)) = (enter(&mut hub, "anna1"), enter(&mut hub, "bert1"));
    let long = "x".repeat(16 << 10);
    for _ in 0..10 {
        hub.take("db", anna, &long);
    }
    assert_eq!(heard.0.borrow().len(), 2);
}
