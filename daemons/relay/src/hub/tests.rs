//! Whatever peers do, each hears what it must, once and in order: against the rules written once
//! more, slowly.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc, time::Duration};

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::{Content, Dismissal, Parcel};

/// A mailbox that shows what came, and takes as much as it has room for.
#[derive(Clone, Debug)]
struct Ear(Rc<RefCell<Heard>>);

#[derive(Debug)]
struct Heard {
    texts: Vec<String>,
    room: usize,
    dismissed: Option<Dismissal>,
}

impl Ear {
    fn new(room: usize) -> Self {
        Self(Rc::new(RefCell::new(Heard { texts: Vec::new(), room, dismissed: None })))
    }
}

impl Mailbox for Ear {
    fn put(&self, parcel: &Parcel<'_>) -> bool {
        let mut heard = self.0.borrow_mut();
        let has_room = heard.texts.len() < heard.room && heard.dismissed.is_none();
        if has_room {
            heard.texts.push(match parcel.content {
                Content::Message { from, text, .. } => format!("{from}: {text}"),
                Content::Connected(id) => format!("connect:{id}"),
                Content::Disconnected(id) => format!("disconnect:{id}"),
                Content::Hello(id) => format!("hello:{id}"),
            });
        }
        has_room
    }

    fn takes_bundles(&self) -> bool {
        false
    }

    fn put_bundle(&self, _: &websocket::Frame) -> bool {
        false
    }

    fn dismiss(&self, why: Dismissal) {
        self.0.borrow_mut().dismissed = Some(why);
    }

    fn queued_bytes(&self) -> usize {
        self.0.borrow().texts.len()
    }
}

/// What happens, by the index of a database, of an id, or of somebody who has come before.
#[derive(Clone, Debug)]
enum Step {
    Enter { db: usize, id: usize, room: usize },
    Leave(usize),
    Kick { db: usize, id: usize },
    Say { who: usize, to: Option<usize>, text: u8 },
}

const DBS: [&str; 2] = ["one", "two_data"];
const IDS: [&str; 4] = ["alpha", "bravo", "[master]", "delta"];

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (db, id) = (0..DBS.len(), 0..IDS.len());
    let room = prop_oneof![4 => Just(usize::MAX), 1 => 0..20_usize];
    let step = prop_oneof![
        3 => (db.clone(), id.clone(), room).prop_map(|(db, id, room)| Step::Enter { db, id, room }),
        1 => (0..20_usize).prop_map(Step::Leave),
        1 => (db, id.clone()).prop_map(|(db, id)| Step::Kick { db, id }),
        8 => (0..20_usize, prop::option::of(0..IDS.len() + 1), any::<u8>())
            .prop_map(|(who, to, text)| Step::Say { who, to, text }),
    ];
    vec(step, 1..80)
}

/// Somebody who has come, and what it must have heard if it takes everything.
struct Known {
    db: usize,
    id: usize,
    number: u64,
    ear: Ear,
    must_hear: Vec<String>,
    is_there: bool,
}

/// The rules: who is there hears of everything in its database that is for it.
#[derive(Default)]
struct Model(Vec<Known>);

impl Model {
    fn tell(&mut self, db: usize, but: Option<u64>, text: &str) {
        let meant = self.0.iter_mut().filter(|it| it.is_there && it.db == db);
        for known in meant.filter(|it| Some(it.number) != but) {
            known.must_hear.push(text.to_owned());
        }
    }

    fn leave(&mut self, db: usize, id: usize) -> bool {
        let found = self.0.iter_mut().find(|it| it.is_there && it.db == db && it.id == id);
        let Some(known) = found else { return false };
        known.is_there = false;
        self.tell(db, None, &format!("disconnect:{}", IDS[id]));
        true
    }
}

fn run(steps: &[Step]) -> Result<(), TestCaseError> {
    let greeted = vec!["*_data".parse().expect("a pattern")];
    let bounds = Bounds { peers: 100, peers_per_db: 100, dbs: 2, history: 1 << 20, greeted };
    let (mut hub, mut model) = (Hub::new(bounds), Model::default());
    for (step, now) in steps.iter().zip((0..).map(Duration::from_secs)) {
        match *step {
            Step::Enter { db, id, room } => enter(&mut hub, &mut model, [db, id, room], now)?,
            Step::Leave(who) => {
                let Some(known) = model.0.get(who) else { continue };
                let (db, id, number, is_there) = (known.db, known.id, known.number, known.is_there);
                prop_assert_eq!(hub.leave(DBS[db], number), is_there);
                if is_there {
                    model.leave(db, id);
                }
            }
            Step::Kick { db, id } => {
                prop_assert_eq!(hub.kick(DBS[db], IDS[id]), model.leave(db, id));
            }
            Step::Say { who, to, text } => say(&mut hub, &mut model, who, to, text),
        }
    }
    check(&hub, &model)
}

fn enter(
    hub: &mut Hub<Ear>,
    model: &mut Model,
    [db, id, room]: [usize; 3],
    now: Duration,
) -> Result<(), TestCaseError> {
    let (name, peer) = (DbName::read(DBS[db]).unwrap(), PeerId::read(IDS[id]).unwrap());
    let asked = hub.incumbent(DBS[db], &peer, now).map(|it| it.number);
    let there = model.0.iter().find(|it| it.is_there && it.db == db && it.id == id);
    prop_assert_eq!(asked, there.map(|it| it.number));
    // A master that nobody has asked stays.
    if asked.is_some() && peer.is_master() {
        let unasked = hub.enter(&name, &peer, Ear::new(0), None, now);
        prop_assert_eq!(unasked, Err(NotEntered::Taken));
    }
    let ear = Ear::new(room);
    let number = hub.enter(&name, &peer, ear.clone(), asked, now).unwrap();
    model.leave(db, id);
    model.tell(db, None, &format!("connect:{}", IDS[id]));
    if DBS[db].ends_with("_data") {
        model.tell(db, None, &format!("hello:{}", IDS[id]));
    }
    model.0.push(Known { db, id, number, ear, must_hear: Vec::new(), is_there: true });
    Ok(())
}

fn say(hub: &mut Hub<Ear>, model: &mut Model, who: usize, to: Option<usize>, text: u8) {
    let Some(known) = model.0.get(who) else { return };
    let (db, id, number, is_there) = (known.db, known.id, known.number, known.is_there);
    // The last is nobody's.
    let to = to.map(|to| IDS.get(to).copied().unwrap_or("nobody"));
    let sent = to.map_or(format!("{text}"), |to| format!("to:{to};{text}"));
    assert!(!hub.take(DBS[db], number, &sent));
    let heard = format!("{}: {text}", IDS[id]);
    match to {
        _ if !is_there => {}
        None => model.tell(db, Some(number), &heard),
        Some(to) => {
            let is_meant = |it: &&mut Known| it.is_there && it.db == db && IDS[it.id] == to;
            model.0.iter_mut().filter(is_meant).for_each(|it| it.must_hear.push(heard.clone()));
        }
    }
}

fn check(hub: &Hub<Ear>, model: &Model) -> Result<(), TestCaseError> {
    for known in &model.0 {
        let heard = known.ear.0.borrow();
        let most = heard.room.min(known.must_hear.len());
        prop_assert_eq!(&heard.texts[..], &known.must_hear[..most]);
        prop_assert_eq!(heard.dismissed.is_some() && known.is_there, false);
    }
    let mut there = BTreeMap::<_, Vec<_>>::new();
    for known in model.0.iter().filter(|it| it.is_there) {
        there.entry(DBS[known.db]).or_default().push(IDS[known.id]);
    }
    let ids = |db: &Db<Ear>| db.peers().iter().map(|it| it.id.to_string()).collect::<Vec<_>>();
    let found: BTreeMap<_, _> = hub.dbs().map(|it| (it.name().as_str(), ids(it))).collect();
    prop_assert_eq!(found.len(), there.len());
    for (db, ids) in there {
        prop_assert_eq!(&found[db], &ids);
    }
    prop_assert_eq!(hub.peers(), model.0.iter().filter(|it| it.is_there).count());
    Ok(())
}

proptest! {
    #[test]
    fn each_hears_what_it_must_once_and_in_order(steps in steps()) {
        run(&steps)?;
    }
}

#[test]
fn those_go_who_leave_most_unread() {
    let bounds = Bounds { peers: 9, peers_per_db: 9, dbs: 9, history: 1 << 20, greeted: vec![] };
    let mut hub = Hub::new(bounds);
    let db = DbName::read("one").unwrap();
    let ears = ["alpha", "bravo", "[master]"].map(|id| {
        let ear = Ear::new(usize::MAX);
        hub.enter(&db, &PeerId::read(id).unwrap(), ear.clone(), None, Duration::ZERO).unwrap();
        ear
    });
    // They have heard 2, 1 and 0 times of somebody who came.
    assert_eq!((hub.relieve(3), hub.relieve(1)), (0, 1));
    let dismissed = ears.map(|it| it.0.borrow().dismissed);
    assert_eq!(dismissed, [Some(Dismissal::Slow), None, None]);
}

#[test]
fn an_id_of_which_there_is_one_is_kept_for_one_at_a_time() {
    let bounds = Bounds { peers: 9, peers_per_db: 9, dbs: 9, history: 1 << 20, greeted: vec![] };
    let mut hub = Hub::<Ear>::new(bounds);
    let [one, two] = ["one", "two"].map(|it| DbName::read(it).unwrap());
    let [master, plain] = ["[master]", "plain"].map(|it| PeerId::read(it).unwrap());
    let now = Duration::ZERO;
    assert_eq!(hub.reserve(&one, &master, now), Ok(true));
    assert_eq!(hub.reserve(&one, &master, now), Err(NotEntered::Taken));
    assert_eq!(hub.reserve(&two, &master, now), Ok(true));
    hub.release(&one, &master);
    assert_eq!(hub.reserve(&one, &master, now), Ok(true));
    // Of two with another id the later one replaces the other, until that has happened too often.
    assert_eq!([(); 2].map(|()| hub.reserve(&one, &plain, now)), [Ok(false); 2]);
    for asked in [None, Some(1), Some(2), Some(3)] {
        hub.enter(&one, &plain, Ear::new(9), asked, now).unwrap();
    }
    assert_eq!(hub.reserve(&one, &plain, now), Ok(true));
    assert_eq!(hub.reserve(&one, &plain, now), Err(NotEntered::Taken));
}

#[test]
fn the_oldest_of_the_last_messages_of_all_databases_go_first() {
    let bounds = Bounds { peers: 9, peers_per_db: 9, dbs: 9, history: 20_000, greeted: vec![] };
    let mut hub = Hub::<Ear>::new(bounds);
    let from = PeerId::read("alpha").unwrap();
    let names = ["one", "two", "three"].map(|it| DbName::read(it).unwrap());
    let taps = names.each_ref().map(|it| hub.tap(it, Ear::new(usize::MAX)).unwrap());
    let send = |hub: &mut Hub<Ear>, db: &str, bytes: usize| {
        let (from, text) = (From { number: None, id: &from }, "x".repeat(bytes));
        hub.send(Sent { db, from, to: None, text: &text, instead: None, is_large: false }, |_| {});
        assert!(hub.shelf.bytes() <= 20_000);
    };
    (0..4).for_each(|_| send(&mut hub, "one", 4000));
    assert_eq!((hub.missed("one", 0), hub.shelf.bytes() > 16_000), (0, true));
    // What is new elsewhere takes the room of what is old here; so does what is new here.
    send(&mut hub, "two", 4000);
    assert_eq!((hub.missed("one", 0), hub.missed("two", 0)), (1, 0));
    (0..3).for_each(|_| send(&mut hub, "three", 4000));
    assert_eq!(["one", "two", "three"].map(|it| hub.missed(it, 0)), [4, 0, 0]);
    send(&mut hub, "one", 4000);
    assert_eq!(["one", "two", "three"].map(|it| hub.missed(it, 0)), [4, 1, 0]);
    // One that is too long for all leaves nothing; with the last who listens all is forgotten.
    send(&mut hub, "one", 30_000);
    assert_eq!((hub.missed("one", 0), hub.shelf.bytes()), (6, 0));
    send(&mut hub, "one", 4000);
    names.iter().zip(taps).for_each(|(db, tap)| hub.untap(db.as_str(), tap));
    assert_eq!(hub.shelf.bytes(), 0);
}

#[test]
fn a_place_that_is_kept_is_nobody_else_s_until_it_is_given_up() {
    let bounds =
        |peers, peers_per_db, dbs| Bounds { peers, peers_per_db, dbs, history: 0, greeted: vec![] };
    let [db, other] = ["mydb", "other"].map(|it| DbName::read(it).unwrap());
    let id = PeerId::read("newcomer").unwrap();
    for (bounds, wanted) in [
        (bounds(1, 9, 9), [&db, &other]),
        (bounds(9, 1, 9), [&db, &db]),
        (bounds(9, 9, 1), [&db, &other]),
    ] {
        let mut hub = Hub::new(bounds.clone());
        hub.keep_place(wanted[0]).unwrap();
        assert!(hub.keep_place(wanted[1]).is_err(), "{bounds:?}");
        let entered = hub.enter(wanted[1], &id, Ear::new(9), None, Duration::ZERO);
        assert!(matches!(entered, Err(NotEntered::Full(_))), "{bounds:?}");
        hub.give_up_place(wanted[0]);
        assert!(hub.enter(wanted[1], &id, Ear::new(9), None, Duration::ZERO).is_ok());
    }
    // A database that comes counts once, for those who listen too.
    let mut hub = Hub::new(bounds(9, 9, 1));
    hub.keep_place(&db).unwrap();
    hub.keep_place(&db).unwrap();
    assert!(hub.tap(&db, Ear::new(9)).is_ok() && hub.tap(&other, Ear::new(9)).is_err());
}
