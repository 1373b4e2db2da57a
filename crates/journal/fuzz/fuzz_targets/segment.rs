//! A segment with anything written over it: it is refused, or what is read is what was appended.

#![no_main]

use std::{fs, path::PathBuf, sync::LazyLock, time::Duration};

use journal::{Expected, Journal, OpenError, Options, Record, Store, check};
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

const OPTIONS: Options = Options {
    segment_bytes: 4096,
    record_bytes: 4096,
    queue_bytes: 4096,
    commit_delay: Duration::ZERO,
};

const RECORDS: u64 = 12;

/// A journal of a few groups, closed cleanly: where it is, its one segment, and what that has.
static WHOLE: LazyLock<(TempDir, PathBuf, Vec<u8>)> = LazyLock::new(|| {
    let home = tempfile::tempdir().expect("there is room");
    let journal = Store::open(home.path(), OPTIONS).expect("it is new");
    for revision in 1..=RECORDS {
        let receipt = journal.append(Record::new(&bytes(revision)), Expected::Any);
        let receipt = receipt.expect("it is taken");
        wait(journal.progress().reached(receipt)).expect("the disk is good");
    }
    drop(journal);
    let segment = home.path().join(format!("{:020}.log", 1));
    let whole = fs::read(&segment).expect("it is there");
    (home, segment, whole)
});

fuzz_target!(|input: &[u8]| {
    let Some((place, junk)) = input.split_first_chunk() else { return };
    let (home, segment, whole) = &*WHOLE;
    // What is behind the mark was never written to.
    let end = whole.iter().rposition(|it| *it != 0).expect("it has records") + 1;
    let at = usize::from(u16::from_le_bytes(*place)) % end;
    let mut file = whole.clone();
    let to = file.len().min(at + junk.len());
    file[at..to].copy_from_slice(&junk[..to - at]);
    fs::write(segment, &file).expect("there is room");

    let report = check(home.path()).expect("it can be read");
    match Store::open(home.path(), OPTIONS) {
        Err(OpenError::Damaged(damage)) => assert_eq!(report.damage, [damage]),
        Err(error) => panic!("{error}"),
        Ok(journal) => {
            let last = journal.last().revision;
            assert_eq!(last, report.last);
            let mark = end.next_multiple_of(8) - 32;
            assert!(last == RECORDS || to > mark, "{last}: acknowledged records are gone");
            read(&journal, last);
        }
    }
});

fn read(journal: &Store, last: u64) {
    let mut follow = journal.follow(1).expect("nothing is trimmed");
    while follow.position() <= last {
        for entry in wait(follow.next()).expect("it can be read").iter() {
            assert_eq!(entry.bytes, bytes(entry.revision));
        }
    }
}

fn bytes(revision: u64) -> Vec<u8> {
    vec![revision as u8; revision as usize * 11 % 70]
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.expect("it needs nothing").block_on(future)
}
