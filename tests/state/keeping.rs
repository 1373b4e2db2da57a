//! What the keeper of the server does: backups, checks, restoring, counters; and the snapshots that
//! nobody asks for.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::json;
use tempfile::TempDir;

use super::{StateServer, refused, run};
use crate::harness::{SmallDisk, eventually};

/// Runs `state COMMAND… --data DIR`; whether it went well, and all that it said.
fn offline(data: &Path, command: &[&str]) -> (bool, String) {
    let data = ["--data", data.to_str().unwrap()];
    let output = run(&[command, &data].concat());
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

#[test]
fn a_backup_made_while_serving_is_restored() {
    let mut server = StateServer::start(&[]);
    let mut root = server.root();
    let rev = root.ask("update", &json!([["a"], "saved"]))["rev"].clone();
    let made = root.ask("backup", &json!(["one"]));
    assert_eq!(made["rev"], rev);
    let file = made["file"].as_str().unwrap().to_owned();
    let sum = Command::new("sh").args(["-c", "cat \"$0\"/* | sha256sum", &file]).output().unwrap();
    let sum = String::from_utf8(sum.stdout).unwrap();
    assert_eq!(sum.split(' ').next(), made["sha256"].as_str());
    for name in ["", "../one", ".one", "a/b"] {
        root.refuse("bad-argument", "backup", &json!([name]));
    }
    root.refuse("exists", "backup", &json!(["one"]));
    root.ask("update", &json!([["a"], "not saved"]));
    let (went_well, said) = offline(&server.data, &["restore", &file]);
    assert!(!went_well && said.contains("another process holds the directory"), "{said}");

    server.kill();
    let (went_well, said) = offline(&server.data, &["check"]);
    assert!(went_well && said.contains("all is well"), "{said}");
    let (went_well, said) = offline(&server.data, &["restore", &file]);
    assert!(went_well && said.contains(&format!("restored to revision {rev}")), "{said}");
    assert!(said.contains("journal.before-"), "{said}");
    server.resume();
    assert_eq!(server.root().ask("get", &json!([["a"]])), "saved");
}

#[test]
fn what_is_damaged_is_told_by_a_check_and_never_restored() {
    let mut server = StateServer::start(&[]);
    let mut root = server.root();
    for n in 0..20 {
        root.ask("update", &json!([["a"], format!("value {n}")]));
    }
    let made = root.ask("backup", &json!(["one"]));
    server.kill();
    let file = Path::new(made["file"].as_str().unwrap());
    for folder in [&server.data.join("journal"), file] {
        let files = fs::read_dir(folder).unwrap().map(|it| it.unwrap().path());
        for path in files {
            let mut bytes = fs::read(&path).unwrap();
            let Some(at) = bytes.windows(7).position(|it| it == b"value 3") else { continue };
            bytes[at] ^= 1;
            fs::write(&path, &bytes).unwrap();
        }
    }
    let (went_well, said) = offline(&server.data, &["check"]);
    assert!(!went_well && said.contains("does not match its checksum"), "{said}");
    let (went_well, said) = offline(&server.data, &["restore", file.to_str().unwrap()]);
    assert!(!went_well && said.contains("does not match its checksum"), "{said}");
    assert!(server.data.join("journal").is_dir(), "what was there is left alone");
}

/// A server with something in it that has ended, and its backup.
fn backed_up() -> (StateServer, PathBuf) {
    let mut server = StateServer::start(&[]);
    let mut root = server.root();
    root.ask("update", &json!([["a"], "saved"]));
    let made = root.ask("backup", &json!(["one"]));
    server.kill();
    (server, made["file"].as_str().unwrap().into())
}

#[test]
fn what_is_no_whole_backup_is_not_restored() {
    let (mut server, file) = backed_up();
    let empty = server.data.join("empty");
    fs::create_dir(&empty).unwrap();
    for wrong in [&*empty, &server.data.join("absent"), file.parent().unwrap()] {
        let (went_well, said) = offline(&server.data, &["restore", wrong.to_str().unwrap()]);
        assert!(!went_well, "{said}");
        let is_told = said.contains("there is no journal in") || said.contains("is not all");
        assert!(is_told, "{said}");
    }
    // Copied by half.
    fs::remove_file(file.join("backup.end")).unwrap();
    let (went_well, said) = offline(&server.data, &["restore", file.to_str().unwrap()]);
    assert!(!went_well && said.contains("is not all that was copied"), "{said}");
    server.resume();
    assert_eq!(server.root().ask("get", &json!([["a"]])), "saved");
}

#[test]
fn a_restore_that_was_stopped_between_its_steps_leaves_nothing_to_begin_with() {
    let (mut server, file) = backed_up();
    let [journal, before] = ["journal", "journal.before-1"].map(|it| server.data.join(it));
    fs::rename(&journal, &before).unwrap();
    for said in [refused(&server.data), offline(&server.data, &["check"]).1] {
        assert!(said.contains("restore again"), "{said}");
    }
    assert!(!journal.exists());
    let (went_well, said) = offline(&server.data, &["restore", file.to_str().unwrap()]);
    assert!(went_well, "{said}");
    server.resume();
    assert_eq!(server.root().ask("get", &json!([["a"]])), "saved");
}

#[test]
fn a_journal_that_is_gone_is_not_made_anew() {
    let (server, _) = backed_up();
    let journal = server.data.join("journal");
    for file in fs::read_dir(&journal).unwrap().map(|it| it.unwrap().path()) {
        if file.extension().is_some_and(|it| it == "log") {
            fs::remove_file(file).unwrap();
        }
    }
    let (went_well, said) = offline(&server.data, &["check"]);
    assert!(!went_well && said.contains("there is no journal in"), "{said}");
    let said = refused(&server.data);
    assert!(said.contains("are gone") && said.contains("state restore"), "{said}");
}

#[test]
fn a_check_makes_nothing_and_needs_to_write_nothing() {
    let home = TempDir::with_prefix_in("state-", "/tmp").unwrap();
    let mistyped = home.path().join("mistyped");
    let (went_well, said) = offline(&mistyped, &["check"]);
    assert!(!went_well && said.contains("there is no journal in"), "{said}");
    assert!(!mistyped.exists());

    let (server, file) = backed_up();
    let mounted = home.path().join("mounted");
    fs::create_dir(&mounted).unwrap();
    let Some(disk) = SmallDisk::on(&mounted, "16m") else { return };
    let copied = Command::new("cp").arg("-r").arg(&file).arg(mounted.join("journal")).status();
    assert!(copied.unwrap().success());
    disk.make_read_only();
    let (went_well, said) = offline(&mounted, &["check"]);
    assert!(went_well && said.contains("all is well"), "{said}");
    let backup = mounted.join("journal");
    let (went_well, said) = offline(&server.data, &["restore", backup.to_str().unwrap()]);
    assert!(went_well, "{said}");
}

#[test]
fn snapshots_are_made_by_themselves() {
    let args = ["--snapshot-bytes", "100000", "--segment-bytes", "65536"];
    let mut server = StateServer::start(&args);
    let mut root = server.root();
    for n in 0..60 {
        root.ask("update", &json!([["a", n.to_string()], "x".repeat(5000)]));
    }
    eventually("a snapshot", || {
        let mut files = fs::read_dir(server.data.join("journal")).unwrap().map(|it| it.unwrap());
        files.any(|it| it.path().extension().is_some_and(|it| it == "snapshot")).then_some(())
    });
    root.ask("update", &json!([["after"], true]));
    server.kill();
    let (went_well, said) = offline(&server.data, &["check"]);
    assert!(went_well && said.contains("a snapshot of revision"), "{said}");
    server.resume();
    let mut root = server.root();
    assert_eq!(root.ask("keys", &json!([["a"]])).as_array().unwrap().len(), 60);
    assert_eq!(root.ask("get", &json!([["after"]])), true);
}

#[test]
fn what_happened_is_counted() {
    let server = StateServer::start(&[]);
    let mut root = server.root();
    root.refuse("not-found", "delete", &json!([["absent"]]));
    root.ask("create", &json!([[], "tmp", 1]));
    root.ask("gc", &json!([["tmp"], [{"on": "event", "name": "tidy"}]]));
    root.ask("emit", &json!(["root", "tidy", null]));
    server.connect().refuse("bad-credentials", "auth", &json!(["root", "wrong"]));

    let stats = root.ask("stats", &json!([]));
    assert_eq!(stats["refused"], json!({"not-found": 1}));
    assert_eq!(stats["gc"], json!({"fired": 1, "dropped": 0}));
    assert_eq!(stats["loginFailures"], 1);
    assert_eq!((&stats["sessions"], &stats["readOnly"]), (&json!(1), &json!(false)));
    assert!(stats["groups"]["us"]["p99"].as_u64() >= stats["groups"]["us"]["p50"].as_u64());
    assert_eq!(stats["groups"]["records"]["p50"], 1);
}

#[test]
fn who_changed_what_is_in_the_log_if_that_is_wanted_and_what_was_written_is_not() {
    let server = StateServer::start(&["--audit"]);
    let mut root = server.root();
    root.ask("createUser", &json!(["ann", "a secret of ann"]));
    let rev = root.ask("update", &json!([["doc"], {"hidden": "a value"}]))["rev"].clone();
    root.ask("updatePerms", &json!([["doc"], "ann", {"lvl": 2}]));
    let mut ann = server.logged_in("ann", "a secret of ann");
    ann.refuse("denied", "update", &json!([["doc", "a \" b"], 1]));
    root.refuse("not-found", "batch", &json!([[["delete", ["absent"]]], {"req": "r"}]));
    root.ask("create", &json!([["doc"], "late", 1]));
    root.ask("gc", &json!([["doc", "late"], [{"on": "event", "name": "tidy"}]]));
    root.ask("emit", &json!(["root", "tidy", null]));

    let said = server.daemon().said();
    let lines: Vec<&str> =
        said.lines().filter_map(|it| it.split_once(" audit: ")).map(|it| it.1).collect();
    let has = |line: &str| assert!(lines.contains(&line), "{line}: {lines:#?}");
    has(&format!("user=root command=\"update\" path=[\"doc\"] code=\"ok\" rev={rev}"));
    has("user=ann command=\"update\" path=[\"doc\", \"a \\\" b\"] code=\"denied\"");
    has("user=root command=\"delete\" path=[\"absent\"] code=\"not-found\"");
    assert!(
        lines.iter().any(|it| it.starts_with("user=root command=\"account\" of=ann code=\"ok\""))
    );
    assert!(lines.iter().any(|it| it.contains("command=\"delete\" path=[\"doc\", \"late\"]")));
    assert!(!said.contains("a value") && !said.contains("secret"), "{said}");

    let server = StateServer::start(&[]);
    server.root().ask("update", &json!([["doc"], 1]));
    assert!(!server.daemon().said().contains(" audit: "));
}
