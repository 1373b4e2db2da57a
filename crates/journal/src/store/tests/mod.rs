//! The store on a disk that fails and loses its power wherever a test wants it.

mod crash;
mod faults;
mod sim;
mod torn;

use std::{
    future::Future,
    io::{Read, Write},
    sync::Arc,
    time::Duration,
};

use self::sim::{Fate, Files, Op, Sim};
use super::{Options, Store};
use crate::{Expected, Journal, Keep, OpenError, Receipt, Record, Revision, follow::Source};

const SMALL: Options = Options {
    segment_bytes: 2048,
    record_bytes: 4096,
    queue_bytes: 1 << 20,
    commit_delay: Duration::ZERO,
};

/// Waits for what must come.
fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let patient = async { tokio::time::timeout(Duration::from_secs(60), future).await };
    runtime.block_on(patient).expect("it came in time")
}

fn open(sim: &Sim) -> Result<Store, OpenError> {
    Store::on(Arc::new(sim.clone()), SMALL)
}

/// The record `revision`: of any length, now and then longer than a sector.
fn bytes(revision: Revision) -> Vec<u8> {
    let length =
        revision.wrapping_mul(0x9E37_79B9) % if revision.is_multiple_of(5) { 1500 } else { 90 };
    (0..length).map(|it| (it * 31 + revision) as u8).collect()
}

fn key(revision: Revision) -> &'static str {
    ["", "ann", "bob"][revision as usize % 3]
}

/// What a snapshot at `revision` has.
fn state(revision: Revision) -> Vec<u8> {
    format!("state {revision}").repeat(revision as usize).into_bytes()
}

fn append(store: &Store, revision: Revision) -> Receipt {
    let bytes = bytes(revision);
    let record = Record::new(&bytes).with_key(key(revision));
    store.append(record, Expected::Last(revision - 1)).unwrap()
}

/// Groups of all sizes, snapshots, trimming, over several segments; all of it is noted on the disk.
fn work(sim: &Sim, groups: u64) {
    let store = open(sim).unwrap();
    for group in 1..=groups {
        for _ in 0..=(group * 7 % 5) {
            append(&store, store.last().revision + 1);
        }
        let last = store.last();
        run(store.progress().reached(last)).unwrap();
        sim.note(Op::Acknowledged(last.revision));
        if group.is_multiple_of(6) {
            let mut snapshot = store.write_snapshot(last.revision).unwrap();
            snapshot.write_all(&state(last.revision)).unwrap();
            snapshot.finish().unwrap();
            sim.note(Op::Snapshot(last.revision));
        }
        if group.is_multiple_of(9) {
            store.trim(Keep::NOTHING).unwrap();
        }
    }
}

/// All records that are kept: the first one's revision, and their bytes.
fn read(store: &Store) -> (Revision, Vec<Vec<u8>>) {
    let first = store.shelf.first().unwrap();
    let (reader, last) = (store.shelf.reader(), store.progress().durable());
    let mut all = Vec::new();
    while first + (all.len() as u64) <= last {
        let batch = reader.read(first + all.len() as u64, last).unwrap();
        for entry in batch.iter() {
            assert_eq!(entry.revision, first + all.len() as u64);
            all.push(entry.bytes.to_vec());
        }
    }
    (first, all)
}

/// What was told outside before the power went.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    acknowledged: Revision,
    snapshot: Revision,
}

impl Told {
    fn by(ops: &[Op]) -> Self {
        let mut told = Self::default();
        for op in ops {
            match op {
                Op::Acknowledged(revision) => told.acknowledged = *revision,
                Op::Snapshot(revision) => told.snapshot = *revision,
                _ => {}
            }
        }
        told
    }
}

/// Everything that was told is there, nothing is there by half, and it goes on from there.
fn check(files: Files, told: Told) {
    let sim = Sim::with(files);
    let store = open(&sim).unwrap();
    let last = store.last().revision;
    assert!(last >= told.acknowledged, "{last} of {told:?}");

    let snapshot = store.snapshot().unwrap().map_or(0, |mut it| {
        let mut found = Vec::new();
        it.read_to_end(&mut found).unwrap();
        assert_eq!(found, state(it.revision));
        it.revision
    });
    assert!(snapshot >= told.snapshot, "{snapshot} of {told:?}");

    let (first, all) = read(&store);
    assert!(first <= snapshot + 1, "{first} is behind {snapshot}");
    for (revision, found) in (first..).zip(&all) {
        assert_eq!(*found, bytes(revision), "{revision}");
    }
    for name in 0..3 {
        let of_key = (1..=last).rev().find(|it| key(*it) == key(name)).unwrap_or(0);
        let keys = store.queue.durable_keys();
        let found = keys.iter().find(|(it, _)| *it == key(name));
        assert_eq!(found.map_or(0, |(_, it)| it), if key(name).is_empty() { 0 } else { of_key });
    }

    let next = append(&store, last + 1);
    run(store.progress().reached(next)).unwrap();
    let again = sim.crash(|| Fate::Lost);
    let store = open(&Sim::with(again)).unwrap();
    assert_eq!(store.last().revision, last + 1);
    assert_eq!(read(&store).1.last(), Some(&bytes(last + 1)));
}
