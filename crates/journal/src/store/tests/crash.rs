//! The power goes at every call, and takes with it any part of what was not synced.

use std::{
    collections::{BTreeSet, HashSet},
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
};

use proptest::prelude::*;

use super::{
    Told, check,
    sim::{Fate, Files, Op, Sim, crash},
    work,
};

#[test]
fn at_every_call_nothing_that_was_told_is_lost() {
    let sim = Sim::default();
    work(&sim, 24);
    let ops = sim.ops();
    assert!(ops.iter().filter(|it| matches!(it, Op::Rename(..))).count() > 6, "too few segments");
    let mut states = HashSet::new();
    for calls in 0..=ops.len() {
        states.extend(check_all(&ops[..calls]).iter().map(fingerprint));
    }
    assert!(states.len() > 400, "{} states of the disk after {}", states.len(), ops.len());
}

/// Tells one state from another, without keeping it.
fn fingerprint(files: &Files) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(files)
}

/// Every change that is not synced is kept or lost for itself. All states that come of it.
fn check_all(ops: &[Op]) -> BTreeSet<Files> {
    let told = Told::by(ops);
    let mut open = 0;
    let lost = crash(&Files::new(), ops, || {
        open += 1;
        Fate::Lost
    });
    let mut states = BTreeSet::from([lost, crash(&Files::new(), ops, || Fate::Kept)]);
    for one in 0..open {
        for (of_one, of_others) in [
            (Fate::Kept, Fate::Lost),
            (Fate::Lost, Fate::Kept),
            (Fate::Garbage, Fate::Kept),
            (Fate::Garbage, Fate::Lost),
        ] {
            let mut at = 0..;
            let fate = || if at.next() == Some(one) { of_one } else { of_others };
            states.insert(crash(&Files::new(), ops, fate));
        }
    }
    states.iter().for_each(|files| check(files.clone(), told));
    states
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn whatever_part_is_kept_nothing_that_was_told_is_lost(
        groups in 1u64..16, calls: prop::sample::Index, fates in prop::collection::vec(0..3, 1..40),
    ) {
        let sim = Sim::default();
        work(&sim, groups);
        let ops = sim.ops();
        let ops = &ops[..calls.index(ops.len() + 1)];
        let mut fates = fates.iter().cycle();
        let fate = || match fates.next() {
            Some(0) => Fate::Kept,
            Some(1) => Fate::Garbage,
            _ => Fate::Lost,
        };
        check(crash(&Files::new(), ops, fate), Told::by(ops));
    }
}
