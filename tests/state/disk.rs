//! What it does with a directory that is full, damaged or somebody else's.

use std::{fs, os::unix::fs::FileExt};

use serde_json::json;
use tempfile::TempDir;

use super::{StateServer, event, refused, run};
use crate::harness::{SmallDisk, eventually};

/// A server on a disk of its own of that size, where this user may make one.
fn on_disk(size: &str) -> Option<(SmallDisk, StateServer)> {
    let home = TempDir::with_prefix_in("state-", "/tmp").unwrap();
    let data = home.path().join("data");
    fs::create_dir(&data).unwrap();
    let disk = SmallDisk::on(&data, size)?;
    Some((disk, StateServer::at(home, data, &["--segment-bytes", "65536"])))
}

#[test]
fn a_full_disk_is_read_only_and_heals_without_a_restart() {
    let Some((disk, mut server)) = on_disk("1m") else { return };
    let token = server.root_token();
    let (mut root, mut watcher) = (server.by_token(&token), server.by_token(&token));
    watcher.ask("subscribe", &json!([["a", "**"]]));
    event(&mut watcher);
    let before = root.ask("update", &json!([["a"], "before"]))["rev"].clone();
    assert_eq!(event(&mut watcher).1["rev"], before);
    disk.fill();

    let large = "x".repeat(300_000);
    for _ in 0..5 {
        root.refuse("read-only", "update", &json!([["a"], large]));
        assert_eq!(root.ask("get", &json!([["a"]])), "before");
    }

    disk.make_room();
    let after = eventually("changes are taken again", || {
        let (name, args) = root.call("update", &json!([["a"], large]));
        (name == "update").then(|| args[0]["rev"].clone())
    });
    assert_eq!(after, before.as_u64().unwrap() + 1, "what was refused has no revision");
    let (_, change) = event(&mut watcher);
    assert_eq!((&change["rev"], &change["value"]), (&after, &json!(large)));
    server.kill();
    server.resume();
    assert_eq!(server.by_token(&token).ask("get", &json!([["a"]])), large);
    server.kill();
    drop(disk);
}

#[test]
fn a_disk_with_room_for_small_changes_only_does_not_fill_the_log() {
    let Some((disk, mut server)) = on_disk("512k") else { return };
    let mut root = server.root();
    let large = "x".repeat(1_000_000);
    for n in 0..20 {
        root.refuse("read-only", "update", &json!([["large"], large]));
        eventually("small changes are taken", || {
            (root.call("update", &json!([["small"], n])).0 == "update").then_some(())
        });
    }
    let said = server.daemon().said();
    // Perhaps once more, if all that took more than ten seconds.
    let count = |what: &str| said.matches(what).count();
    let (begun, over) = (count("nothing can be written"), count("changes are taken again"));
    assert!((1..=4).contains(&begun) && (1..=4).contains(&over), "{said}");
    server.kill();
    drop(disk);
}

#[test]
fn damage_under_a_journal_that_is_mended_ends_the_daemon() {
    let Some((disk, mut server)) = on_disk("1m") else { return };
    let mut root = server.root();
    root.ask("update", &json!([["a"], "before"]));
    let journal = server.data.join("journal");
    let files = fs::read_dir(&journal).unwrap().map(|it| it.unwrap().path());
    let segment = files.filter(|it| it.extension().is_some_and(|it| it == "log")).max().unwrap();
    let bytes = fs::read(&segment).unwrap();
    let at = bytes.windows(6).position(|it| it == b"before").unwrap();
    let file = fs::OpenOptions::new().write(true).open(&segment).unwrap();
    file.write_all_at(b"B", at as u64).unwrap();

    disk.fill();
    root.refuse("read-only", "update", &json!([["a"], "x".repeat(300_000)]));
    let (status, said) = server.ended();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("the journal can be used no more"), "{said}");
    assert!(said.contains("is damaged at offset"), "{said}");
    drop(disk);
}

#[test]
fn two_processes_on_one_directory_are_refused() {
    let server = StateServer::start(&[]);
    let said = refused(&server.data);
    assert!(said.contains("another process holds the directory"), "{said}");
    server.root().ask("update", &json!([["a"], 1]));
}

#[test]
fn what_the_disk_refuses_is_said_once() {
    let home = TempDir::with_prefix_in("state-", "/tmp").unwrap();
    fs::write(home.path().join("journal"), "no folder").unwrap();
    let said = refused(home.path());
    assert_eq!(said.matches("cannot open the journal").count(), 1, "{said}");
    let help = String::from_utf8(run(&["restore", "--help"]).stdout).unwrap();
    assert!(help.contains("<FOLDER>") && !help.contains("<FILE>  "), "{help}");
}

#[test]
fn a_damaged_journal_is_refused_and_left_as_it_is() {
    let mut server = StateServer::start(&[]);
    let mut root = server.root();
    for n in 0..20 {
        root.ask("update", &json!([["a"], format!("value {n}")]));
    }
    server.kill();
    let journal = server.data.join("journal");
    let segment = fs::read_dir(&journal)
        .unwrap()
        .map(|it| it.unwrap().path())
        .find(|it| it.metadata().unwrap().len() > 1000)
        .unwrap();
    let mut bytes = fs::read(&segment).unwrap();
    let at = bytes.windows(7).position(|it| it == b"value 3").unwrap();
    bytes[at] ^= 1;
    fs::write(&segment, &bytes).unwrap();

    let said = refused(&server.data);
    assert!(said.contains("is damaged at offset"), "{said}");
    assert!(said.contains("does not match its checksum"), "{said}");
    assert!(said.contains("`state restore FOLDER`"), "{said}");
    assert_eq!(fs::read(&segment).unwrap(), bytes);
}
