use journal::{
    AppendError, Expected, FollowError, Journal, KEY_BYTES, Keep, Lost, Memory, Options, Record,
    Store,
};

use crate::lab::{Lab, SMALL, append, both, fill, line_up, read, run, text, texts, write_snapshot};

#[test]
fn revisions_begin_at_one_and_have_no_gaps() {
    both(|journal| {
        assert_eq!(journal.last().revision, 0);
        fill(&*journal, 50);
        assert_eq!(read(&*journal, 0), texts(1, 50));
        assert_eq!(read(&*journal, 37), texts(37, 50));
    });
}

#[test]
fn an_append_may_expect_the_last_revision() {
    both(|journal| {
        append(&*journal, "1");
        let wrong = journal.append(Record::new(b"2"), Expected::Last(0));
        assert!(matches!(wrong, Err(AppendError::Unexpected { found: 1 })));
        assert_eq!(journal.append(Record::new(b"2"), Expected::Last(1)).unwrap().revision, 2);
    });
}

#[test]
fn an_append_may_expect_the_last_revision_of_its_key() {
    both(|journal| {
        let put = |key, expected| {
            let record = Record::new(b"x").with_key(key);
            journal.append(record, Expected::OfKey(expected)).map(|it| it.revision)
        };
        assert_eq!(put("ann", 0).unwrap(), 1);
        assert_eq!(put("bob", 0).unwrap(), 2);
        assert!(matches!(put("ann", 0), Err(AppendError::Unexpected { found: 1 })));
        assert_eq!(put("ann", 1).unwrap(), 3);
        assert!(matches!(put("bob", 3), Err(AppendError::Unexpected { found: 2 })));
    });
}

#[test]
fn keys_outlive_their_trimmed_records() {
    let lab = Lab::new();
    let journal = lab.open();
    journal.append(Record::new(b"x").with_key("ann"), Expected::Any).unwrap();
    fill(&journal, 40);
    write_snapshot(&journal, 41, b"");
    assert!(journal.trim(Keep::NOTHING).unwrap() > 1);
    drop(journal);

    let again = lab.open();
    let record = Record::new(b"y").with_key("ann");
    assert!(matches!(
        again.append(record, Expected::OfKey(0)),
        Err(AppendError::Unexpected { found: 1 })
    ));
    again.append(record, Expected::OfKey(1)).unwrap();
}

#[test]
fn who_waits_for_the_last_record_has_waited_for_all() {
    let lab = Lab::new();
    let journal = lab.open();
    let last = line_up(&journal, 1000);
    run(journal.progress().reached(last)).unwrap();
    assert_eq!(read(&journal, 1), texts(1, 1000));
}

#[test]
fn what_can_never_be_taken_is_refused_for_good() {
    let lab = Lab::new();
    let journal = Store::open(&lab.path(), Options { record_bytes: 10, ..SMALL }).unwrap();
    let put = |bytes: &[u8], key: &str| {
        journal.append(Record::new(bytes).with_key(key), Expected::Any).map(|it| it.revision)
    };
    assert!(matches!(put(&[0; 11], ""), Err(AppendError::TooLarge { limit: 10 })));
    assert!(matches!(put(b"", &"k".repeat(KEY_BYTES + 1)), Err(AppendError::TooLarge { .. })));
    assert_eq!(put(&[0; 10], &"k".repeat(KEY_BYTES)).unwrap(), 1);
}

#[test]
fn a_follower_gets_what_is_stored_and_then_what_comes() {
    both(|journal| {
        fill(&*journal, 30);
        let mut follow = journal.follow(5).unwrap();
        let writer = journal.clone();
        let thread = std::thread::spawn(move || fill(&*writer, 30));
        let mut found = Vec::new();
        while follow.position() <= 60 {
            let batch = run(follow.next()).unwrap();
            found.extend(
                batch.iter().map(|it| (it.revision, str::from_utf8(it.bytes).unwrap().to_owned())),
            );
        }
        thread.join().unwrap();
        assert_eq!(found, texts(5, 60));
    });
}

#[test]
fn a_follower_of_large_records_gets_them_whole() {
    let lab = Lab::new();
    let journal = lab.open();
    let large = "x".repeat(3 << 20);
    for text in ["small", &large, "small", &large] {
        append(&journal, text);
    }
    run(journal.progress().reached(journal.last())).unwrap();
    let found: Vec<_> = read(&journal, 1).into_iter().map(|(_, text)| text.len()).collect();
    assert_eq!(found, [5, 3 << 20, 5, 3 << 20]);
}

#[test]
fn a_follower_gets_nothing_that_is_not_durable() {
    let journal = Memory::new();
    journal.hold();
    let receipt = append(&journal, &text(1));
    let mut follow = journal.follow(1).unwrap();
    run(async {
        let mut progress = journal.progress();
        tokio::select! {
            biased;
            _ = follow.next() => panic!("it is not durable"),
            _ = progress.reached(receipt) => panic!("it is not durable"),
            () = std::future::ready(()) => {}
        }
    });
    journal.release();
    assert_eq!(read(&journal, 1), texts(1, 1));
}

#[test]
fn who_follows_what_is_trimmed_is_told_what_there_is() {
    both(|journal| {
        fill(&*journal, 60);
        let mut slow = journal.follow(1).unwrap();
        write_snapshot(&*journal, 50, b"state");
        let first = journal.trim(Keep::NOTHING).unwrap();
        assert!(first > 1 && first <= 51);
        let trimmed = |error| matches!(error, FollowError::Trimmed { first: it } if it == first);
        assert!(trimmed(journal.follow(first - 1).unwrap_err()));
        assert!(trimmed(run(slow.next()).unwrap_err()));
        assert_eq!(read(&*journal, first), texts(first, 60));
    });
}

#[test]
fn a_failed_journal_in_memory_loses_what_was_in_line() {
    let journal = Memory::new();
    append(&journal, &text(1));
    journal.hold();
    let lost = append(&journal, "lost");
    journal.fail();
    assert!(matches!(run(journal.progress().reached(lost)), Err(Lost::Failed { durable: 1, .. })));
    let refused = journal.append(Record::new(b""), Expected::Any);
    assert!(matches!(refused, Err(AppendError::ReadOnly(_))));

    assert_eq!(run(journal.mend()).unwrap(), 1);
    let again = append(&journal, &text(2));
    journal.release();
    run(journal.progress().reached(again)).unwrap();
    assert!(run(journal.progress().reached(lost)).is_err(), "another record has its revision");
    assert_eq!(read(&journal, 1), texts(1, 2));
}
