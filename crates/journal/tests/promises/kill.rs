use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Read},
    path::Path,
};

use journal::{Journal, Options, Store, check};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    lab::{Lab, run},
    witness::{self, MARK},
};

/// How often, unless `JOURNAL_KILLS` says otherwise.
const ROUNDS: usize = 20;

/// How many lines are read before the kill, at most; another number each round.
const MOST: usize = 400;

#[test]
fn a_killed_writer_loses_nothing_that_it_was_told() {
    let rounds = std::env::var("JOURNAL_KILLS").map_or(ROUNDS, |it| it.parse().unwrap());
    let lab = Lab::new();
    let mut told = HashMap::new();
    for round in 0..rounds {
        write_and_kill(&lab.path(), (round + 1) * 0x9E37 % MOST, &mut told);
        let report = check(&lab.path()).unwrap();
        assert_eq!(report.damage, [], "round {round}");
        is_all_there(&lab.path(), &told, round);
        // What is trimmed can't be asked for again.
        told.retain(|revision, _| *revision >= report.first);
    }
}

/// Lets several threads write until `lines` records were acknowledged, then kills them; notes all
/// that were.
fn write_and_kill(directory: &Path, lines: usize, told: &mut HashMap<u64, String>) {
    let mut witness = witness::start(directory);
    let mut output = BufReader::new(witness.stdout.take().unwrap());
    let mut all = String::new();
    while all.matches(MARK).count() < lines {
        assert!(output.read_line(&mut all).unwrap() > 0, "it ended by itself");
    }
    kill(Pid::from_raw(witness.id() as i32), Signal::SIGKILL).unwrap();
    output.read_to_string(&mut all).unwrap();
    witness.wait().unwrap();
    told.extend(all.lines().filter_map(|line| line.strip_prefix(MARK)).map(|line| {
        let (revision, record) = line.split_once(' ').unwrap();
        (revision.parse().unwrap(), format!("{record} "))
    }));
}

fn is_all_there(directory: &Path, told: &HashMap<u64, String>, round: usize) {
    let journal = Store::open(directory, Options::default()).unwrap();
    let snapshot = journal.snapshot().unwrap().map_or(0, |mut it| {
        let mut bytes = Vec::new();
        it.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, it.revision.to_le_bytes().repeat(1000));
        it.revision
    });
    let first = first_kept(&journal, snapshot);
    let mut follow = journal.follow(first).unwrap();
    let mut found = HashMap::new();
    while follow.position() <= journal.last().revision {
        for entry in run(follow.next()).unwrap().iter() {
            let text = str::from_utf8(entry.bytes).unwrap().to_owned();
            let length = text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 37 % 700;
            assert_eq!(text.rsplit(' ').next().unwrap().len(), length, "half a record");
            found.insert(entry.revision, text);
        }
    }
    for (revision, record) in told.iter().filter(|(revision, _)| **revision >= first) {
        let text = found.get(revision);
        let is_there = text.is_some_and(|it| it.starts_with(record));
        assert!(is_there, "round {round}: {revision} is {text:?}, not {record}");
    }
}

/// The first record that is kept; everything after the snapshot is.
fn first_kept(journal: &Store, snapshot: u64) -> u64 {
    match journal.follow(1) {
        Ok(_) => 1,
        Err(journal::FollowError::Trimmed { first }) => {
            assert!(first <= snapshot + 1);
            first
        }
        Err(error) => panic!("{error:?}"),
    }
}
