use std::{
    fs, io::Write, os::unix::fs::MetadataExt, path::Path, sync::mpsc, thread, time::Duration,
};

use serde_json::json;
use tokio::time::Instant;

use super::{
    writer::{KEEP, LIMIT_BYTES, open_current},
    *,
};
use crate::logs::rotation::Listing;

/// One patience for all: only a test that fails waits for so long.
const PATIENCE: Duration = Duration::from_secs(20);

fn what(name: &str) -> What {
    let members = Map::from_iter([("to".to_owned(), json!("up"))]);
    What { kind: Kind::Transition, name: Some(name.to_owned()), by: None, members }
}

fn read(dir: &Path, since_ms: u64) -> Vec<u64> {
    let mut reader = Reader::open(dir, since_ms);
    std::iter::from_fn(|| reader.next_event().unwrap()).map(|it| it.seq).collect()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o777
}

#[test]
fn a_number_that_nothing_can_follow_stops_no_history() {
    let home = tempfile::tempdir().unwrap();
    let last = r#"{"v":1,"seq":18446744073709551615,"time":"1970-01-01T00:00:00Z","kind":"note"}"#;
    fs::write(home.path().join("current"), format!("{last}\n")).unwrap();
    Writer::open(home.path()).unwrap().append(what("Sample"), 7).unwrap();
    assert_eq!(read(home.path(), 0), [u64::MAX, u64::MAX]);
}

#[test]
fn an_event_is_a_line_of_json_for_its_owner_only() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("state/events");
    let mut writer = Writer::open(&dir).unwrap();
    let event = writer.append(what("Sample"), 7).unwrap();
    let by = Some(json!({"uid": 1000}));
    let command = What { kind: Kind::Command, name: None, by, members: Map::new() };
    writer.append(command, 8).unwrap();
    assert_eq!(
        fs::read_to_string(dir.join("current")).unwrap(),
        concat!(
            r#"{"v":1,"seq":1,"time":"1970-01-01T00:00:00.007Z","kind":"transition","name":"Sample","to":"up"}"#,
            "\n",
            r#"{"v":1,"seq":2,"time":"1970-01-01T00:00:00.008Z","kind":"command","by":{"uid":1000}}"#,
            "\n"
        )
    );
    assert_eq!(Reader::open(&dir, 0).next_event().unwrap(), Some(event));
    assert_eq!((mode(&dir), mode(&dir.join("current"))), (0o700, 0o600));
}

#[test]
fn numbers_go_on_over_a_restart_and_a_torn_line() {
    let dir = tempfile::tempdir().unwrap();
    Writer::open(dir.path()).unwrap().append(what("A"), 1).unwrap();
    let mut file = open_current(dir.path()).unwrap();
    file.write_all(br#"{"v":1,"seq":2,"ti"#).unwrap();
    assert_eq!(read(dir.path(), 0), [1]);
    for time_ms in [2, 3] {
        Writer::open(dir.path()).unwrap().append(what("A"), time_ms).unwrap();
    }
    assert_eq!(read(dir.path(), 0), [1, 2, 3]);
    assert_eq!(read(dir.path(), 3), [3]);
}

#[test]
fn files_are_rotated_and_the_oldest_removed() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Writer::open(dir.path()).unwrap();
    for time_ms in 1..=14 {
        writer.len = LIMIT_BYTES;
        writer.append(what("A"), time_ms).unwrap();
    }
    assert_eq!(Listing::read(dir.path()).unwrap().rotated(&[NAMES]).len(), KEEP);
    assert_eq!(read(dir.path(), 0), (4..=14).collect::<Vec<_>>());
    assert_eq!(read(dir.path(), 12), [12, 13, 14]);
    writer.rotate(20).unwrap();
    assert_eq!(Writer::open(dir.path()).unwrap().append(what("A"), 1).unwrap().seq, 15);
}

#[test]
fn an_empty_or_missing_directory_has_no_events() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(read(dir.path(), 0), [0; 0]);
    assert_eq!(read(&dir.path().join("events"), 0), [0; 0]);
}

#[test]
fn a_follower_sees_every_event_once_over_rotations() {
    const EVENTS: u64 = 1000;
    const AHEAD: u64 = 4;
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("events");
    let mut follow = Follow::open(&dir, 0).unwrap();
    let (seen, next) = mpsc::channel();
    let writer = thread::spawn(move || {
        let mut writer = Writer::open(&dir).unwrap();
        for time_ms in 1..=EVENTS {
            writer.append(what("A"), time_ms).unwrap();
            writer.rotate(time_ms).unwrap();
            if time_ms > AHEAD {
                next.recv().unwrap();
            }
        }
    });
    let mut last = 0;
    while last < EVENTS {
        for seq in take(&mut follow) {
            assert_eq!(seq, last + 1);
            last = seq;
            seen.send(()).ok();
        }
    }
    writer.join().unwrap();
}

fn take(follow: &mut Follow) -> Vec<u64> {
    let end = Instant::now() + PATIENCE;
    loop {
        let batch = follow.next_batch(Some(PATIENCE)).unwrap();
        if !batch.is_empty() {
            return batch.iter().map(|it| it.seq).collect();
        }
        assert!(Instant::now() < end, "no event came");
    }
}
