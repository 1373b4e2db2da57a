use std::{fs, io::Write, time::Duration};

use journal::{Journal, Keep, OpenError, SnapshotError};

use crate::lab::{Lab, both, fill, read, read_snapshot, texts, write_snapshot};

#[test]
fn a_snapshot_is_read_as_it_was_written() {
    both(|journal| {
        assert!(read_snapshot(&*journal).is_none());
        fill(&*journal, 3);
        for (revision, length) in [(0, 0), (1, 1), (2, 256 << 10), (3, 1_000_000)] {
            let bytes: Vec<u8> = (0..length).map(|it| it as u8).collect();
            write_snapshot(&*journal, revision, &bytes);
            assert_eq!(read_snapshot(&*journal), Some((revision, bytes)));
        }
    });
}

#[test]
fn a_snapshot_stands_for_what_is_durable_and_never_for_less_than_before() {
    both(|journal| {
        fill(&*journal, 5);
        write_snapshot(&*journal, 3, b"");
        for revision in [2, 6] {
            let refused = journal.write_snapshot(revision).unwrap_err();
            assert!(matches!(refused, SnapshotError::Revision { allowed } if allowed == (3..=5)));
        }
    });
}

#[test]
fn one_that_is_not_finished_leaves_the_one_before() {
    let lab = Lab::new();
    let journal = lab.open();
    fill(&journal, 5);
    write_snapshot(&journal, 3, b"three");
    let mut unfinished = journal.write_snapshot(5).unwrap();
    unfinished.write_all(b"fi").unwrap();
    assert!(matches!(journal.write_snapshot(5), Err(SnapshotError::Busy)));
    drop(unfinished);
    assert_eq!(read_snapshot(&journal), Some((3, b"three".to_vec())));
    write_snapshot(&journal, 5, b"five");
    assert_eq!(lab.files(".snapshot").len(), 1);
    assert!(lab.files(".temp").is_empty());
}

#[test]
fn start_is_the_snapshot_and_what_came_after_it() {
    let lab = Lab::new();
    let journal = lab.open();
    fill(&journal, 40);
    write_snapshot(&journal, 30, b"thirty");
    journal.trim(Keep::NOTHING).unwrap();
    drop(journal);

    let journal = lab.open();
    assert_eq!(read_snapshot(&journal), Some((30, b"thirty".to_vec())));
    assert_eq!(read(&journal, 31), texts(31, 40));
    assert_eq!(fill(&journal, 1).revision, 41);
}

#[test]
fn what_is_kept_is_bounded_by_bytes_and_by_age() {
    let day = Duration::from_secs(86_400);
    for (bytes, age, is_trimmed) in
        [(1 << 20, day, false), (1 << 20, Duration::ZERO, true), (0, day, true)]
    {
        let lab = Lab::new();
        let journal = lab.open();
        fill(&journal, 40);
        write_snapshot(&journal, 40, b"");
        assert_eq!(journal.trim(Keep { bytes, age }).unwrap() > 1, is_trimmed);
    }
}

#[test]
fn nothing_is_trimmed_that_no_snapshot_tells() {
    both(|journal| {
        fill(&*journal, 40);
        assert_eq!(journal.trim(Keep::NOTHING).unwrap(), 1);
        write_snapshot(&*journal, 0, b"");
        assert_eq!(journal.trim(Keep::NOTHING).unwrap(), 1);
    });
}

#[test]
fn a_backup_is_a_journal_of_its_own() {
    let lab = Lab::new();
    let journal = lab.open();
    fill(&journal, 40);
    write_snapshot(&journal, 20, b"twenty");
    let copy = lab.beside("copy");
    let backup = journal.backup(&copy).unwrap();
    assert_eq!(backup.revision, 40);
    assert!(matches!(journal.backup(&copy), Err(SnapshotError::Disk(_))), "it is there already");
    fill(&journal, 5);

    let copied = journal::Store::open(&copy, crate::lab::SMALL).unwrap();
    assert_eq!(read_snapshot(&copied), Some((20, b"twenty".to_vec())));
    assert_eq!(read(&copied, 1), texts(1, 40));
    assert_eq!(fill(&copied, 1).revision, 41);
}

#[test]
fn every_changed_byte_of_a_snapshot_is_noticed() {
    let lab = Lab::new();
    let journal = lab.open();
    journal.append(journal::Record::new(b"").with_key("ann"), journal::Expected::Any).unwrap();
    fill(&journal, 1);
    write_snapshot(&journal, 2, b"some state");
    drop(journal);
    let file = lab.files(".snapshot").remove(0);
    let whole = fs::read(&file).unwrap();
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        fs::write(&file, bytes).unwrap();
        assert!(!journal::check(&lab.path()).unwrap().damage.is_empty(), "byte {at}");
        match journal::Store::open(&lab.path(), crate::lab::SMALL) {
            Err(OpenError::Damaged(damage)) => assert_eq!(damage.file, file),
            Err(error) => panic!("byte {at}: {error:?}"),
            // Its bytes are checked as they are read.
            Ok(journal) => {
                let read = std::io::read_to_string(journal.snapshot().unwrap().unwrap());
                assert!(read.is_err(), "byte {at}");
            }
        }
        fs::write(&file, &whole[..at]).unwrap();
        let cut = journal::Store::open(&lab.path(), crate::lab::SMALL);
        assert!(matches!(cut, Err(OpenError::Damaged(_))), "cut at {at}");
    }
}
