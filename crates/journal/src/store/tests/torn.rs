//! A segment cut and spoiled at every byte: the last group may be torn, what is before it may not.

use super::{
    Told, bytes, check, key, open,
    sim::{Files, Sim},
};
use crate::{
    Check, OpenError, Revision,
    store::{
        head::head,
        name::name,
        record::{Frame, Kind, LAST, is_zero},
        segment::{EXTENSION, SEGMENT},
    },
};

const ID: u64 = 0x1234_5678_9abc_def0;

/// The first revision of each group; the last one begins with what nobody was told of.
const GROUPS: [Revision; 4] = [1, 3, 4, 7];

const NEWEST: Revision = 9;

/// A segment of a process that died when its last group was on its way, and where each record
/// begins.
fn segment() -> (Vec<u8>, Vec<usize>) {
    let mut file = head(SEGMENT, ID, 1).to_vec();
    let mut places = Vec::new();
    for revision in 1..=NEWEST {
        places.push(file.len());
        let group = *GROUPS.iter().rfind(|it| **it <= revision).unwrap();
        let (key, bytes) = (key(revision), &*bytes(revision));
        Frame { kind: Kind::Record, revision, group, key, bytes }.encode(ID, &mut file);
    }
    places.push(file.len());
    // Room that was allocated.
    file.resize(file.len() + 300, 0);
    (file, places)
}

fn only(file: Vec<u8>) -> Files {
    Files::from([(name(1, EXTENSION), file)])
}

fn damage(file: Vec<u8>) -> crate::Damage {
    match open(&Sim::with(only(file))) {
        Err(OpenError::Damaged(damage)) => damage,
        other => panic!("it is not refused: {other:?}"),
    }
}

#[test]
fn the_last_group_may_be_torn_at_every_byte() {
    let (whole, places) = segment();
    let told = Told { acknowledged: 6, snapshot: 0 };
    let (start, end) = (places[6], places[9]);
    for at in start..=end {
        check(only(whole[..at].to_vec()), told);
        for junk in [0, 0xff, 0x5a] {
            for range in [at..end, start..at, at..whole.len(), at..end.min(at + 1)] {
                let mut file = whole.clone();
                file[range].fill(junk);
                check(only(file), told);
            }
        }
    }
}

#[test]
fn what_was_durable_is_refused_when_any_byte_is_changed() {
    let (whole, places) = segment();
    for at in 0..places[6] {
        let mut file = whole.clone();
        file[at] ^= 0x10;
        let damage = damage(file);
        // The record in which it is, since all before it can be read.
        let record = places.iter().rposition(|it| *it <= at);
        let offset = record.map_or(0, |it| places[it]);
        assert_eq!(damage.offset, offset as u64, "byte {at}");
        match record {
            None => assert_eq!(damage.check, Check::Head),
            Some(it) => assert_eq!(damage.check, Check::Intact { revision: it as u64 + 1 }),
        }
    }
}

#[test]
fn records_that_are_gone_are_refused_when_later_ones_are_there() {
    let (whole, places) = segment();
    for record in 0..6 {
        let mut file = whole.clone();
        file[places[record]..places[record + 1]].fill(0);
        assert_eq!(damage(file).check, Check::Intact { revision: record as u64 + 1 });

        let mut file = whole.clone();
        file.drain(places[record]..places[record + 1]);
        let revision = record as u64 + 1;
        assert_eq!(damage(file).check, Check::Order { expected: revision, found: revision + 1 });
    }
}

#[test]
fn after_a_clean_end_nothing_may_be_torn() {
    let sim = Sim::with(only(segment().0));
    drop(open(&sim).unwrap());
    let files = sim.crash(|| super::Fate::Lost);
    let (name, whole) = files.iter().next().unwrap();
    let end = segment().1[9];
    assert!(!is_zero(&whole[end..]), "no mark");
    for at in 0..end {
        let mut file = whole.clone();
        file[at] ^= 1;
        let refused = open(&Sim::with(Files::from([(name.clone(), file)])));
        assert!(matches!(refused, Err(OpenError::Damaged(_))), "byte {at}");
    }
}

#[test]
fn a_record_inside_a_record_is_none() {
    // Somebody stores what would be a later record, if he knew the journal's id.
    let mut forged = Vec::new();
    Frame { kind: Kind::Record, revision: 9, group: 9, key: "", bytes: b"x" }
        .encode(ID ^ 1, &mut forged);
    forged.splice(0..0, [0; 4]);
    let mut file = head(SEGMENT, ID, 1).to_vec();
    Frame { kind: Kind::Record, revision: 1, group: 1, key: "", bytes: &forged }
        .encode(ID, &mut file);
    file[32] ^= 1;
    let store = open(&Sim::with(only(file))).unwrap();
    assert_eq!(crate::Journal::last(&store).revision, 0);
}

#[test]
fn revisions_that_no_journal_reaches_are_refused() {
    for revision in [0, LAST + 1, Revision::MAX] {
        let mut file = head(SEGMENT, ID, revision).to_vec();
        Frame { kind: Kind::Record, revision, group: revision, key: "", bytes: b"x" }
            .encode(ID, &mut file);
        file.resize(file.len() + 100, 0);
        let sim = Sim::with(Files::from([(name(revision, EXTENSION), file)]));
        let Err(OpenError::Damaged(damage)) = open(&sim) else { panic!("{revision} is there") };
        assert_eq!(damage.check, Check::Head);
    }
}
