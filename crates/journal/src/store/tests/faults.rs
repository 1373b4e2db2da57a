//! Every call fails, once or for a while: nothing acknowledged is lost, nothing lost comes back.

use std::{io::Write, ops::Range, sync::Arc};

use super::{
    Fate, Files, SMALL, Sim, Store, bytes, open, read, run,
    sim::{Faults, Op, crash},
    state, work,
};
use crate::{
    AppendError, Check, Expected, Failure, Journal, Keep, Record,
    keys::Keys,
    store::{
        disk::Disk,
        head::HEAD,
        queue::{Job, Queue},
        record::HEADER,
        tail::Tail,
    },
};

/// What a daemon does: appends, waits, mends when it has to; tells what was acknowledged.
fn work_on(store: &Store, groups: u64, acknowledged: &mut Vec<Vec<u8>>) {
    for group in 0..groups {
        let mut waiting = Vec::new();
        for place in 0..=(group * 3 % 4) {
            let record = [bytes(group * 10 + place), group.to_le_bytes().to_vec()].concat();
            match store.append(Record::new(&record), Expected::Any) {
                Ok(receipt) => waiting.push((receipt, record)),
                Err(AppendError::ReadOnly(_)) => {}
                Err(error) => panic!("{error:?}"),
            }
        }
        for (receipt, record) in waiting {
            if run(store.progress().reached(receipt)).is_ok() {
                acknowledged.push(record);
                assert_eq!(receipt.revision, acknowledged.len() as u64);
            }
        }
        if group % 5 == 4 {
            // Both may fail, and then nothing has changed.
            let durable = store.progress().durable();
            let snapshot = store.write_snapshot(durable).and_then(|mut it| {
                it.write_all(&state(durable)).ok();
                it.finish()
            });
            drop((snapshot, store.trim(Keep::NOTHING)));
        }
        if store.progress().failure().is_some() {
            drop(run(store.mend()));
        }
    }
}

/// Works while `calls` fail, then mends and works on; then the power goes.
fn survive(calls: Range<usize>, is_full: bool) {
    let sim = Sim::failing(Faults { calls: calls.clone(), is_full });
    // A journal that can't be made is none.
    let store = loop {
        if let Ok(store) = open(&sim) {
            break store;
        }
    };
    let mut acknowledged = Vec::new();
    for groups in [12, 4] {
        work_on(&store, groups, &mut acknowledged);
        mend(&store);
        sim.look(|| assert_kept(&store, &acknowledged));
    }
    for fate in [Fate::Lost, Fate::Kept] {
        let again = open(&Sim::with(sim.crash(|| fate))).unwrap();
        assert_kept(&again, &acknowledged);
    }
}

/// Tries until it succeeds, as a daemon does now and then.
fn mend(store: &Store) {
    let is_mended = |_: &_| store.progress().failure().is_none() || run(store.mend()).is_ok();
    assert!((0..1000).any(|it| is_mended(&it)), "{:?}", run(store.mend()));
}

/// Everything that was acknowledged is there, as far as it was not trimmed, and nothing else.
fn assert_kept(store: &Store, acknowledged: &[Vec<u8>]) {
    let (first, all) = read(store);
    let wanted = &acknowledged[first as usize - 1..];
    assert!(all == wanted, "{} records from {first} on, not {}", all.len(), wanted.len());
    let snapshot = store.snapshot().unwrap().map_or(0, |it| it.revision);
    assert!(first <= snapshot + 1);
}

fn calls() -> usize {
    let sim = Sim::default();
    work(&sim, 16);
    sim.calls()
}

#[test]
fn any_call_may_fail() {
    for call in 0..calls() {
        survive(call..call + 1, false);
    }
}

#[test]
fn any_calls_may_fail_for_a_while() {
    for call in 0..calls() {
        survive(call..call + 7, false);
    }
}

#[test]
fn a_disk_that_was_full_is_mended_without_a_restart() {
    for call in 0..calls() {
        for length in [1, 5, 40] {
            survive(call..call + length, true);
        }
    }
}

#[test]
fn a_disk_that_is_still_full_is_asked_before_all_is_read() {
    let sim = Sim::failing(Faults { calls: 0..0, is_full: true });
    let store = open(&sim).unwrap();
    work_on(&store, 3, &mut Vec::new());
    sim.fail(1..1000);
    let large = store.append(Record::new(&[0; 4000]), Expected::Any).unwrap();
    assert!(run(store.progress().reached(large)).is_err());
    for _ in 0..3 {
        let before = sim.calls();
        assert!(matches!(run(store.mend()), Err(Failure::Disk(error)) if error.is_full()));
        assert_eq!(sim.calls(), before + 1, "one question, and no more");
    }
    sim.fail(0..0);
    mend(&store);
}

#[test]
fn what_was_synced_and_is_gone_is_not_mended() {
    let sim = Sim::default();
    let store = open(&sim).unwrap();
    work_on(&store, 1, &mut Vec::new());
    // The first file is the segment. The kernel's copy is whole, the disk's is not.
    sim.note(Op::Truncate(0, 40));
    sim.note(Op::Sync(0));
    sim.fail_next();
    let receipt = store.append(Record::new(b"x"), Expected::Any).unwrap();
    assert!(run(store.progress().reached(receipt)).is_err());
    assert!(matches!(run(store.mend()), Err(Failure::Damaged(_))));
    assert!(matches!(
        store.append(Record::new(b"x"), Expected::Any),
        Err(AppendError::ReadOnly(_))
    ));
}

#[test]
fn what_only_the_kernel_has_is_not_there_at_the_next_start() {
    let sim = Sim::default();
    let store = open(&sim).unwrap();
    let mut acknowledged = Vec::new();
    work_on(&store, 1, &mut acknowledged);
    // It is written, and neither synced nor cut off.
    sim.fail(2..4);
    let lost = store.append(Record::new(b"lost"), Expected::Any).unwrap();
    assert!(run(store.progress().reached(lost)).is_err());
    drop(store);

    let store = open(&sim).unwrap();
    assert_kept(&store, &acknowledged);
    work_on(&store, 1, &mut acknowledged);
    assert_kept(&open(&Sim::with(sim.crash(|| Fate::Lost))).unwrap(), &acknowledged);
}

/// A journal that needs a new segment for its next group only because it has ended once.
fn nearly_full(sim: &Sim) -> (Store, Vec<Vec<u8>>) {
    let record = vec![b'x'; SMALL.segment_bytes as usize - HEAD - HEADER - 16];
    let store = open(sim).unwrap();
    let receipt = store.append(Record::new(&record), Expected::Any).unwrap();
    run(store.progress().reached(receipt)).unwrap();
    drop(store);
    (open(sim).unwrap(), vec![record])
}

/// Loses a group by the call with this number, which is one of a new segment.
fn fail_to_roll(sim: &Sim, store: &Store, call: usize) {
    sim.fail_after(call);
    let receipt = store.append(Record::new(b"lost"), Expected::Any).unwrap();
    assert!(run(store.progress().reached(receipt)).is_err());
}

#[test]
fn a_segment_that_was_begun_when_the_disk_failed_is_written_to_or_gone() {
    // Until the one before has its seal.
    for call in 1..=9 {
        let sim = Sim::default();
        let (store, mut acknowledged) = nearly_full(&sim);
        fail_to_roll(&sim, &store, call);
        mend(&store);
        work_on(&store, 2, &mut acknowledged);
        for fate in [Fate::Lost, Fate::Kept] {
            assert_kept(&open(&Sim::with(sim.crash(|| fate))).unwrap(), &acknowledged);
        }
    }
}

#[test]
fn damage_that_a_failed_seal_has_done_is_found() {
    let sim = Sim::default();
    let (store, _) = nearly_full(&sim);
    fail_to_roll(&sim, &store, 8);
    // On the disk alone, in the first segment.
    sim.note(Op::Truncate(0, 40));
    sim.note(Op::Sync(0));
    assert!(matches!(run(store.mend()), Err(Failure::Damaged(_))));
}

#[test]
fn a_spoiled_head_is_not_mended() {
    let sim = Sim::default();
    let store = open(&sim).unwrap();
    work_on(&store, 1, &mut Vec::new());
    sim.note(Op::Write(0, 0, vec![7; 8]));
    sim.note(Op::Sync(0));
    sim.fail_next();
    let receipt = store.append(Record::new(b"x"), Expected::Any).unwrap();
    assert!(run(store.progress().reached(receipt)).is_err());
    let Err(Failure::Damaged(damage)) = run(store.mend()) else { panic!("it is mended") };
    assert_eq!((damage.offset, &damage.check), (0, &Check::Head));
}

#[test]
fn nothing_is_trimmed_on_the_word_of_a_snapshot_whose_name_may_go() {
    let mut states = 0;
    for call in 1..30 {
        let sim = Sim::default();
        let store = open(&sim).unwrap();
        let mut acknowledged = Vec::new();
        work_on(&store, 4, &mut acknowledged);
        let mut snapshot = store.write_snapshot(acknowledged.len() as u64).unwrap();
        snapshot.write_all(&state(acknowledged.len() as u64)).unwrap();
        sim.fail_after(call);
        if snapshot.finish().is_ok() {
            break;
        }
        let before = sim.ops().len();
        // Whatever is left of the call that was to fail does not.
        sim.look(|| store.trim(Keep::NOTHING).ok());
        let ops = sim.ops();
        // Names are kept or lost each for itself.
        for (calls, lost) in (before..=ops.len()).flat_map(|it| (0..4).map(move |lost| (it, lost)))
        {
            let mut at = 0..;
            let fate = || if at.next() == Some(lost) { Fate::Lost } else { Fate::Kept };
            let files = crash(&Files::new(), &ops[..calls], fate);
            assert_kept(&open(&Sim::with(files)).unwrap(), &acknowledged);
            states += 1;
        }
    }
    assert!(states > 0);
}

#[test]
fn a_lost_group_does_not_come_back_behind_the_next() {
    let sim = Sim::default();
    let disk: Arc<dyn Disk> = Arc::new(sim.clone());
    let mut tail = Tail::create(disk, 7, 1, SMALL).unwrap();
    let queue = Queue::new(7, 1, Keys::default(), SMALL);
    let group = |texts: &[&[u8]]| {
        for text in texts {
            queue.append(Record::new(text), Expected::Any).unwrap();
        }
        let Job::Write(group) = queue.take(Vec::new()) else { panic!("nothing is in line") };
        group
    };
    let lost = group(&[b"one", b"two"]);
    // It is written and not synced, and can't be cut off.
    sim.fail_after(2);
    tail.write(&lost).unwrap_err();
    sim.fail_next();
    tail.cut().unwrap_err();
    queue.fail(Failure::Closed);
    queue.mended();
    tail.mend(0).unwrap();
    // As long as the first one that was lost: the second lies right behind it.
    tail.write(&group(&[b"new"])).unwrap();

    let store = open(&Sim::with(sim.crash(|| Fate::Kept))).unwrap();
    assert_eq!(read(&store), (1, vec![b"new".to_vec()]));
}

#[test]
fn mending_what_is_not_broken_changes_nothing() {
    let sim = Sim::default();
    let store = open(&sim).unwrap();
    let mut acknowledged = Vec::new();
    work_on(&store, 3, &mut acknowledged);
    assert_eq!(run(store.mend()).unwrap(), acknowledged.len() as u64);
    work_on(&store, 3, &mut acknowledged);
    assert_kept(&store, &acknowledged);
}

#[test]
fn who_follows_gets_nothing_of_a_lost_group() {
    let sim = Sim::default();
    let store = open(&sim).unwrap();
    let mut acknowledged = Vec::new();
    work_on(&store, 1, &mut acknowledged);
    let mut follow = store.follow(1).unwrap();
    let first: Vec<_> = run(follow.next()).unwrap().iter().map(|it| it.revision).collect();
    assert_eq!(first, [1]);
    // It is written, and its sync fails.
    sim.fail_after(2);
    let lost = store.append(Record::new(b"lost, and longer"), Expected::Any).unwrap();
    assert!(run(store.progress().reached(lost)).is_err());
    mend(&store);
    let next = store.append(Record::new(b"next"), Expected::Any).unwrap();
    run(store.progress().reached(next)).unwrap();
    let batch = run(follow.next()).unwrap();
    let found: Vec<_> = batch.iter().map(|it| (it.revision, it.bytes)).collect();
    assert_eq!(found, [(2, &b"next"[..])]);
}
