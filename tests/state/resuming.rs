//! Coming back with `since`: to the server as it was, to one that was restored, and to one that was
//! imported. Nobody's mirror may be wrong without his being told.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::{StateServer, run};
use crate::harness::Netcat;

/// What a client keeps of the server: what it has heard, up to which revision, and of which
/// history.
#[derive(Clone, Debug)]
struct Follower {
    mirror: Value,
    rev: u64,
    history: Value,
}

impl Follower {
    /// Comes back; whether it was told everything anew.
    fn resume(&mut self, server: &StateServer, is_plain: bool) -> bool {
        let mut root = server.root();
        let mut opts = json!({ "since": self.rev });
        if !is_plain && !self.history.is_null() {
            opts["history"] = self.history.clone();
        }
        let told = root.ask("subscribe", &json!([["doc", "**"], opts]));
        self.history = told["history"].clone();
        // What it is told comes before the reply to a change of its own.
        let mut is_synced = self.hear(&mut root, "update [[\"doc\",\"end\"],true]\n");
        is_synced |= self.hear(&mut root, "update [[\"doc\",\"end\"],false]\n");
        assert_eq!(self.mirror, root.ask("get", &json!([["doc"]])), "a mirror is what there is");
        is_synced
    }

    /// Asks, and takes what comes before the reply; whether that was everything anew.
    fn hear(&mut self, root: &mut Netcat, request: &str) -> bool {
        root.send(request).unwrap();
        let mut is_synced = false;
        loop {
            let line = root.read_line().unwrap();
            let Some(args) = line.strip_prefix("event ") else {
                assert!(line.starts_with("update "), "{line}");
                return is_synced;
            };
            let change: Value = serde_json::from_str(args).unwrap();
            self.apply(&change[1]);
            is_synced |= change[1]["sync"] == true;
        }
    }

    fn apply(&mut self, change: &Value) {
        self.rev = change["rev"].as_u64().unwrap();
        assert_eq!(change["name"], "update");
        match &change["path"].as_array().unwrap()[1..] {
            [] => self.mirror = change["value"].clone(),
            [name] => self.mirror[name.as_str().unwrap()] = change["value"].clone(),
            deeper => panic!("{deeper:?}"),
        }
    }
}

/// A server, its backup, and a client that has followed it a while longer.
fn followed() -> (StateServer, PathBuf, Follower) {
    let server = StateServer::start(&[]);
    let mut root = server.root();
    root.ask("update", &json!([["doc"], { "kept": 1, "n": 0 }]));
    let made = root.ask("backup", &json!(["one"]));
    let mut follower = Follower { mirror: json!({}), rev: 0, history: Value::Null };
    assert!(follower.resume(&server, false), "there is nothing before 1 to come back to");
    for name in ["lost", "gone", "n"] {
        root.ask("update", &json!([["doc", name], "in the old history"]));
    }
    assert!(!follower.resume(&server, false), "what is known is not told again");
    (server, made["file"].as_str().unwrap().into(), follower)
}

/// Begins anew from the backup; the first revision is as it was then.
fn restore(server: &mut StateServer, backup: &std::path::Path) {
    server.kill();
    let data = server.data.to_str().unwrap();
    let output = run(&["restore", backup.to_str().unwrap(), "--data", data]);
    assert!(output.status.success(), "{output:?}");
    server.resume();
}

/// Makes other commits until `rev` is passed.
fn pass(root: &mut Netcat, rev: u64) {
    for n in 0.. {
        let made = root.ask("update", &json!([["doc", "n"], n]));
        if made["rev"].as_u64().unwrap() > rev + 2 {
            break;
        }
    }
}

#[test]
fn after_a_restore_nobody_goes_on_with_what_was_lost() {
    for is_plain in [true, false] {
        let (mut server, backup, follower) = followed();
        restore(&mut server, &backup);
        // Before it has come as far again, at the very revision, and past it.
        assert!(follower.clone().resume(&server, is_plain));
        pass(&mut server.root(), follower.rev);
        let mut late = follower.clone();
        assert!(late.resume(&server, is_plain));
        assert!(late.mirror.get("lost").is_none());
        assert!(follower.clone().resume(&server, is_plain), "however late");
        // The change log is made of the journal at a start: it must know it as well.
        server.kill();
        server.resume();
        assert!(follower.clone().resume(&server, is_plain));
    }
}

#[test]
fn who_has_seen_nothing_of_what_was_lost_goes_on() {
    let (mut server, backup, _) = followed();
    restore(&mut server, &backup);
    let rev = server.root().ask("get", &json!([["doc"], { "rev": true }]))["rev"].clone();
    let mirror = server.root().ask("get", &json!([["doc"]]));
    let mut follower = Follower { mirror, rev: rev.as_u64().unwrap(), history: Value::Null };
    assert!(!follower.resume(&server, true), "a backup has all that was before it");
    pass(&mut server.root(), follower.rev);
    assert!(!follower.resume(&server, false), "nor anybody who says which history he knows");
    server.kill();
    server.resume();
    assert!(!follower.resume(&server, false), "nor after a restart");
    follower.history = json!("0123456789abcdef");
    assert!(follower.resume(&server, false), "of another history nothing is known");
}

#[test]
fn two_restores_of_one_backup_are_two_histories() {
    let (mut server, backup, mut follower) = followed();
    restore(&mut server, &backup);
    assert!(follower.resume(&server, false));
    pass(&mut server.root(), follower.rev);
    assert!(!follower.resume(&server, false));
    let first = follower.history.clone();
    restore(&mut server, &backup);
    pass(&mut server.root(), follower.rev);
    assert!(follower.resume(&server, false));
    assert_ne!(follower.history, first);
}

#[test]
fn a_backup_knows_which_histories_it_has() {
    let (mut server, backup, follower) = followed();
    restore(&mut server, &backup);
    let mut second = follower.clone();
    second.resume(&server, false);
    pass(&mut server.root(), follower.rev);
    let mut root = server.root();
    root.ask("saveServerState", &json!([]));
    let made = root.ask("backup", &json!(["two"]));
    assert!(!second.resume(&server, false));
    pass(&mut root, second.rev);
    assert!(!second.resume(&server, false));
    restore(&mut server, std::path::Path::new(made["file"].as_str().unwrap()));
    pass(&mut server.root(), second.rev);
    assert!(follower.clone().resume(&server, true), "lost at the first restore");
    assert!(second.resume(&server, false), "lost at the second");
}

#[test]
fn what_was_imported_is_another_history() {
    let (mut server, _, follower) = followed();
    server.kill();
    let data = server.data.to_str().unwrap().to_owned();
    let export = run(&["export", "--data", &data]);
    let home = tempfile::TempDir::with_prefix_in("state-", "/tmp").unwrap();
    let (file, fresh) = (home.path().join("lines"), home.path().join("data"));
    std::fs::write(&file, export.stdout).unwrap();
    let password = server.root_password();
    let output = run(&["import", file.to_str().unwrap(), "--data", fresh.to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
    std::fs::write(fresh.join("root-password"), password).unwrap();
    let other = StateServer::at(home, fresh, &[]);
    pass(&mut other.root(), follower.rev);
    assert!(follower.clone().resume(&other, true));
}
