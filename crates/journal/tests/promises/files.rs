use std::{
    fs,
    io::{Write, stderr},
    os::unix::fs::{FileExt, PermissionsExt},
};

use journal::{
    AppendError, Check, Expected, Failure, FollowError, Journal, Look, OpenError, Options, Record,
    Store, check,
};

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
fn one_whose_files_are_gone_is_not_made_anew() {
    let lab = Lab::new();
    fill(&lab.open(), 3);
    for segment in lab.files(".log") {
        fs::remove_file(segment).unwrap();
    }
    assert_eq!(check(&lab.path()).unwrap().segments, 0);
    let refused = Store::open(&lab.path(), SMALL).unwrap_err();
    assert!(matches!(refused, OpenError::Gone { .. }), "{refused}");
    assert!(lab.files(".log").is_empty());
}

#[test]
fn one_that_was_never_made_is_made() {
    let lab = Lab::new();
    // As far as a first start may have come when it was killed.
    fs::create_dir(lab.path()).unwrap();
    for name in ["lock", "segment.temp"] {
        fs::write(lab.path().join(name), "").unwrap();
    }
    fill(&lab.open(), 1);
}

#[test]
fn a_file_that_is_longer_than_all_memory_is_refused() {
    let lab = Lab::new();
    fill(&lab.open(), 3);
    let file = fs::OpenOptions::new().write(true).open(lab.files(".log").remove(0)).unwrap();
    // Some file systems have no files of that length, and then no such trouble.
    if file.set_len(1 << 43).is_err() {
        return stderr().write_all(b"skipped: no file is that long here\n").unwrap();
    }
    let Err(OpenError::Disk(error)) = check(&lab.path()) else { panic!("it was read") };
    assert_eq!(error.act, "take memory for");
}

#[test]
fn a_look_makes_and_changes_nothing() {
    let lab = Lab::new();
    assert!(check(&lab.path()).is_err());
    assert!(!lab.path().exists());
    fill(&lab.open(), 3);
    fs::remove_file(lab.path().join("lock")).unwrap();
    let before = lab.files("");
    let look = Look::at(&lab.path()).unwrap();
    assert_eq!(look.report().last, 3);
    let mut follow = look.follow(1);
    let mut found = Vec::new();
    while let Ok(batch) = run(follow.next()) {
        found.extend(batch.iter().map(|it| it.revision));
    }
    assert_eq!(found, [1, 2, 3]);
    assert_eq!(lab.files(""), before);
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

#[test]
fn who_waits_for_what_comes_is_told_when_nothing_will() {
    let lab = Lab::new();
    let journal = lab.open();
    fill(&journal, 3);
    let (mut follow, mut progress) = (journal.follow(1).unwrap(), journal.progress());
    journal.close();
    while follow.position() <= 3 {
        run(follow.next()).unwrap();
    }
    assert!(matches!(run(follow.next()), Err(FollowError::Closed)));
    // That it was closed is news itself.
    run(progress.changed()).unwrap();
    assert!(matches!(run(progress.changed()), Err(Failure::Closed)));
    let mut late = journal.progress();
    assert!(matches!(run(late.changed()), Err(Failure::Closed)));
}

#[test]
fn damage_is_told_to_who_follows_as_what_it_is() {
    let lab = Lab::new();
    let journal = Store::open(&lab.path(), Options { segment_bytes: 1 << 20, ..SMALL }).unwrap();
    fill(&journal, 9);
    let file = fs::OpenOptions::new().write(true).open(lab.files(".log").remove(0)).unwrap();
    // In the key and bytes of the fifth.
    let room = 28 + texts(1, 1)[0].1.len().next_multiple_of(8) + 4;
    file.write_all_at(b"!", 32 + 4 * room.next_multiple_of(8) as u64 + 30).unwrap();
    let mut follow = journal.follow(1).unwrap();
    let found = loop {
        match run(follow.next()) {
            Ok(batch) => assert!(batch.iter().all(|it| it.revision < 5)),
            Err(error) => break error,
        }
    };
    let FollowError::Damaged(damage) = found else { panic!("{found:?}") };
    assert_eq!(damage.check, Check::Intact { revision: 5 });
}

#[tokio::test]
async fn all_who_ask_for_mending_are_answered() {
    let lab = Lab::new();
    let journal = lab.open();
    let (first, second) = (journal.mend(), journal.mend());
    assert_eq!((second.await.unwrap(), first.await.unwrap()), (0, 0));
}
