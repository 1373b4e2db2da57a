use std::{fs, os::unix::fs::PermissionsExt};

use journal::{AppendError, Check, Expected, Failure, Journal, OpenError, Record, Store, check};

use crate::lab::{Lab, SMALL, fill, line_up, read, run, texts, write_snapshot};

#[test]
fn a_second_process_is_refused() {
    let lab = Lab::new();
    let journal = lab.open();
    let second = Store::open(&lab.path(), SMALL).unwrap_err();
    assert!(matches!(second, OpenError::Held { .. }));
    assert!(second.to_string().starts_with("another process holds the journal `"));
    assert!(matches!(check(&lab.path()), Err(OpenError::Held { .. })));
    drop(journal);
    lab.open();
}

#[test]
fn nobody_else_can_read_it() {
    let lab = Lab::new();
    let journal = lab.open();
    fill(&journal, 1);
    write_snapshot(&journal, 1, b"");
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&lab.path()), 0o700);
    for file in lab.files("") {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

#[test]
fn what_is_missing_is_named() {
    let lab = Lab::new();
    fill(&lab.open(), 60);
    let segments = lab.files(".log");
    assert!(segments.len() > 3);
    for (missing, segment) in segments.iter().enumerate() {
        let away = lab.beside("away");
        fs::rename(segment, &away).unwrap();
        let Err(OpenError::Damaged(damage)) = Store::open(&lab.path(), SMALL) else {
            panic!("it opened without {}", segment.display());
        };
        let named: u64 = segment.file_stem().unwrap().to_str().unwrap().parse().unwrap();
        assert_eq!(damage.check, Check::Whole { first: named });
        assert_eq!(damage.file, segments[if missing == 0 { 1 } else { missing - 1 }]);
        fs::rename(&away, segment).unwrap();
    }
    assert_eq!(read(&lab.open(), 1), texts(1, 60));
}

#[test]
fn a_file_of_another_journal_is_refused() {
    let [one, other] = [Lab::new(), Lab::new()];
    for lab in [&one, &other] {
        fill(&lab.open(), 20);
    }
    fs::copy(&other.files(".log")[1], &one.files(".log")[1]).unwrap();
    let damage = check(&one.path()).unwrap().damage;
    assert_eq!(damage[0].check, Check::Owner);
}

#[test]
fn a_log_that_ends_before_its_snapshot_is_refused() {
    let lab = Lab::new();
    let journal = lab.open();
    fill(&journal, 3);
    write_snapshot(&journal, 3, b"");
    drop(journal);
    let segment = lab.files(".log").remove(0);
    fs::OpenOptions::new().write(true).open(segment).unwrap().set_len(40).unwrap();
    let damage = check(&lab.path()).unwrap().damage;
    assert_eq!(damage[0].check, Check::Whole { first: 1 });
}

#[test]
fn check_tells_everything_and_changes_nothing() {
    let lab = Lab::new();
    fill(&lab.open(), 60);
    let report = check(&lab.path()).unwrap();
    assert_eq!((report.first, report.last, report.damage.len()), (1, 60, 0));
    assert_eq!(report.segments, lab.files(".log").len());

    let broken = &lab.files(".log")[1..3];
    for file in broken {
        let mut bytes = fs::read(file).unwrap();
        bytes[100] ^= 1;
        fs::write(file, bytes).unwrap();
    }
    let before: Vec<_> = lab.files(".log").iter().map(|it| fs::read(it).unwrap()).collect();
    let found: Vec<_> = check(&lab.path()).unwrap().damage.into_iter().map(|it| it.file).collect();
    assert_eq!(found, broken);
    assert!(matches!(Store::open(&lab.path(), SMALL), Err(OpenError::Damaged(_))));
    let after: Vec<_> = lab.files(".log").iter().map(|it| fs::read(it).unwrap()).collect();
    assert_eq!(after, before);
}

#[test]
fn a_closed_journal_has_written_all_and_takes_nothing() {
    let lab = Lab::new();
    let journal = lab.open();
    let last = line_up(&journal, 100);
    journal.close();
    run(journal.progress().reached(last)).unwrap();
    let refused = journal.append(Record::new(b"x"), Expected::Any);
    assert!(matches!(refused, Err(AppendError::ReadOnly(Failure::Closed))));
    assert!(matches!(run(journal.mend()), Err(Failure::Closed)));
    assert_eq!(read(&journal, 1), texts(1, 100), "it can still be read");
}
