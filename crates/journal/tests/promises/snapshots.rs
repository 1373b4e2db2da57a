use std::{
    fs,
    io::{Read, Write},
    path::PathBuf,
    time::Duration,
};

use journal::{BackupError, Check, Journal, Keep, Look, OpenError, SnapshotError, Store, check};

use crate::lab::{Lab, SMALL, both, fill, read, read_snapshot, texts, write_snapshot};

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
    assert!(
        matches!(journal.backup(&copy), Err(BackupError::Exists { .. })),
        "it is there already"
    );
    fill(&journal, 5);

    let copied = Store::open(&copy, SMALL).unwrap();
    assert_eq!(read_snapshot(&copied), Some((20, b"twenty".to_vec())));
    assert_eq!(read(&copied, 1), texts(1, 40));
    assert_eq!(fill(&copied, 1).revision, 41);
}

/// A journal and a backup of it.
fn backed_up(lab: &Lab) -> (Store, PathBuf) {
    let journal = lab.open();
    fill(&journal, 40);
    write_snapshot(&journal, 20, b"twenty");
    let copy = lab.beside("copy");
    journal.backup(&copy).unwrap();
    (journal, copy)
}

#[test]
fn a_backup_that_is_not_all_that_was_copied_is_known() {
    let lab = Lab::new();
    let (_journal, copy) = backed_up(&lab);
    assert_eq!(Look::at_backup(&copy).unwrap().report().damage, []);
    assert_eq!(Look::at_backup(&copy).unwrap().report().torn, None);
    for file in fs::read_dir(&copy).unwrap().map(|it| it.unwrap().path()) {
        let whole = fs::read(&file).unwrap();
        for length in [whole.len() - 1, whole.len() / 2, 0] {
            fs::write(&file, &whole[..length]).unwrap();
            let found = Look::at_backup(&copy).unwrap();
            assert!(!found.report().damage.is_empty(), "{length} of {}", file.display());
        }
        fs::remove_file(&file).unwrap();
        let found = Look::at_backup(&copy).unwrap();
        assert!(!found.report().damage.is_empty(), "without {}", file.display());
        fs::write(&file, whole).unwrap();
    }
    // What is written to is a journal, and no backup any more.
    fill(&Store::open(&copy, SMALL).unwrap(), 1);
    assert!(!Look::at_backup(&copy).unwrap().report().damage.is_empty());
    assert_eq!(check(&copy).unwrap().damage, []);
}

#[test]
fn no_byte_of_a_backup_may_be_another() {
    let lab = Lab::new();
    let (_journal, copy) = backed_up(&lab);
    let mut files: Vec<_> = fs::read_dir(&copy).unwrap().map(|it| it.unwrap().path()).collect();
    files.sort();
    let newest = files.iter().rfind(|it| it.extension().unwrap() == "log").cloned();
    for file in files {
        let whole = fs::read(&file).unwrap();
        // A full segment ends with a seal, which need not be there when the next one is.
        let is_full = file.extension().unwrap() == "log" && Some(&file) != newest.as_ref();
        for at in 0..whole.len() - if is_full { 32 } else { 0 } {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            fs::write(&file, bytes).unwrap();
            let found = Look::at_backup(&copy).unwrap();
            assert!(!found.report().damage.is_empty(), "byte {at} of {}", file.display());
        }
        fs::write(&file, whole).unwrap();
    }
}

#[test]
fn a_backup_that_fails_leaves_nothing() {
    let lab = Lab::new();
    let journal = lab.open();
    fill(&journal, 3);
    let file = fs::OpenOptions::new().write(true).open(lab.files(".log").remove(0)).unwrap();
    // The last record is gone, and with it nothing that is behind.
    file.set_len(140).unwrap();
    let refused = journal.backup(&lab.beside("copy")).unwrap_err();
    let BackupError::Damaged(damage) = refused else { panic!("{refused:?}") };
    assert!(matches!(damage.check, Check::Whole { .. }), "{damage}");
    let left = fs::read_dir(lab.path().parent().unwrap()).unwrap().count();
    assert_eq!(left, 1, "there is the journal and nothing else");
}

#[test]
fn what_a_killed_backup_has_left_is_replaced() {
    let lab = Lab::new();
    let left = lab.beside(".copy.partial");
    fs::create_dir(&left).unwrap();
    fs::write(left.join("00000000000000000009.log"), "half").unwrap();
    let (_journal, copy) = backed_up(&lab);
    assert!(!left.exists());
    assert_eq!(Look::at_backup(&copy).unwrap().report().damage, []);
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
        assert!(!check(&lab.path()).unwrap().damage.is_empty(), "byte {at}");
        match Store::open(&lab.path(), SMALL) {
            Err(OpenError::Damaged(damage)) => assert_eq!(damage.file, file),
            Err(error) => panic!("byte {at}: {error:?}"),
            // Its bytes are checked as they are read.
            Ok(journal) => {
                let mut snapshot = journal.snapshot().unwrap().unwrap();
                for _ in 0..2 {
                    let mut read = Vec::new();
                    assert!(snapshot.read_to_end(&mut read).is_err(), "byte {at}");
                    assert_eq!(read, b"", "none of it was checked");
                }
            }
        }
        fs::write(&file, &whole[..at]).unwrap();
        let cut = Store::open(&lab.path(), SMALL);
        assert!(matches!(cut, Err(OpenError::Damaged(_))), "cut at {at}");
    }
}
