//! Taking everything elsewhere: exports, imports, and the save file of a leilo-backend.

use std::{fs, path::Path, process::Command};

use serde_json::json;

use super::{StateServer, run};
use crate::harness::{Dae, Netcat, binary, finish};

/// Runs `state COMMAND… --data DIR`; whether it went well, and what it said on both ways.
fn offline(data: &Path, command: &[&str]) -> (bool, String, String) {
    let output = run(&[command, &["--data", data.to_str().unwrap()]].concat());
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.success(), text(output.stdout), text(output.stderr))
}

/// A server that keeps some of everything.
fn furnished() -> (StateServer, String) {
    let server = StateServer::start(&[]);
    let mut root = server.root();
    root.ask("createUser", &json!(["ann", "a secret of ann"]));
    root.ask("update", &json!([["board"], {"notes": [1, 2.5, "é\n", null], "empty": {}}]));
    for n in 0..10 {
        root.ask("update", &json!([["large", n.to_string()], "x".repeat(30_000)]));
    }
    root.ask("updatePerms", &json!([["board"], "ann", {"lvl": 4, "!": true}]));
    root.ask("setQuota", &json!([["users", "ann"], {"bytes": 1000, "nodes": 3}]));
    root.ask("create", &json!([["board"], "late", 1]));
    root.ask("gc", &json!([["board", "late"], [{"on": "event", "name": "tidy"}]]));
    let mut ann = server.logged_in("ann", "a secret of ann");
    let token = ann.ask("createToken", &json!([]))["token"].as_str().unwrap().to_owned();
    (server, token)
}

fn is_furnished(root: &mut Netcat, mut ann: Netcat) {
    assert_eq!(ann.ask("get", &json!([["board", "notes"]])), json!([1, 2.5, "é\n", null]));
    assert_eq!(ann.ask("getPerms", &json!([["board"]]))["level"], 4);
    ann.refuse("quota", "update", &json!([["users", "ann"], {"a": 1, "b": 2, "c": 3}]));
    assert_eq!(root.ask("keys", &json!([["large"]])).as_array().unwrap().len(), 10);
    root.ask("emit", &json!(["root", "tidy", null]));
    root.refuse("not-found", "get", &json!([["board", "late"]]));
}

#[test]
fn what_a_manager_has_under_dae_home_is_found_by_hand() {
    let dae = Dae::start();
    let state = binary("state");
    dae.install("State", &json!({ "program": state }));
    dae.succeed(["stop", "State"]);
    let check = |place: &Path| {
        let mut command = Command::new(&state);
        command.arg("check").env("DAE_HOME", place).env("HOME", "/nonexistent");
        let output = finish(command);
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    };
    let said = check(dae.home());
    assert!(said.contains("all is well"), "{said}");
    let said = check(Path::new("/nonexistent/other"));
    assert!(said.contains("`/nonexistent/other/data/daemons/State/journal`"), "{said}");
}

#[test]
fn everything_goes_from_one_directory_to_another() {
    let (mut server, token) = furnished();
    let password = server.root_password();
    server.kill();
    let (went_well, lines, said) = offline(&server.data, &["export"]);
    assert!(went_well, "{said}");
    assert!(lines.lines().count() > 15 && lines.ends_with("}\n"));
    let file = server.data.join("lines");
    fs::write(&file, &lines).unwrap();

    // Into a directory that has accounts it does not go, and that one stays as it is.
    let (went_well, _, said) = offline(&server.data, &["import", file.to_str().unwrap()]);
    assert!(!went_well && said.contains("there is something at [] already"), "{said}");
    let home = tempfile::TempDir::with_prefix_in("state-", "/tmp").unwrap();
    let data = home.path().join("data");
    let (went_well, said, wrong) = offline(&data, &["import", file.to_str().unwrap()]);
    assert!(went_well && said.contains("ROOT: root"), "{said}{wrong}");
    let other = StateServer::at(home, data, &[]);
    let mut root = other.logged_in("root", &password);
    is_furnished(&mut root, other.by_token(&token));
    drop(other.logged_in("ann", "a secret of ann"));

    server.resume();
    is_furnished(&mut server.root(), server.by_token(&token));
}

#[test]
fn a_part_of_the_tree_goes_where_nothing_is() {
    let (mut server, token) = furnished();
    server.kill();
    let (_, lines, _) = offline(&server.data, &["export", r#"["board"]"#]);
    assert!(!lines.contains("argon2id"), "of a part no secrets");
    let file = server.data.join("lines");
    fs::write(&file, &lines).unwrap();
    server.resume();
    server.root().ask("delete", &json!([["board"]]));
    server.kill();
    let (went_well, said, wrong) = offline(&server.data, &["import", file.to_str().unwrap()]);
    assert!(went_well && said.contains("journal.before-"), "{said}{wrong}");
    server.resume();
    let mut ann = server.by_token(&token);
    assert_eq!(ann.ask("get", &json!([["board", "notes", 2]])), "é\n");
    assert_eq!(ann.ask("getPerms", &json!([["board"]]))["level"], 4);
    assert_eq!(server.root().ask("keys", &json!([["large"]])).as_array().unwrap().len(), 10);
    server.kill();
    let (went_well, _, said) = offline(&server.data, &["export", r#"["absent"]"#]);
    assert!(!went_well && said.contains(r#"there is nothing at ["absent"]"#), "{said}");
}

#[test]
fn what_is_cut_or_wrong_is_refused_with_its_line_and_nothing_is_changed() {
    let (mut server, token) = furnished();
    server.root().ask("delete", &json!([["large"]]));
    server.kill();
    let (_, lines, _) = offline(&server.data, &["export", r#"["board"]"#]);
    let file = server.data.join("lines");
    let journal = server.data.join("journal");
    let before = fs::read_dir(&journal).unwrap().count();
    let lines = lines.replace("\"board\"", "\"elsewhere\"");
    let half = &lines[..lines.len() / 2];
    let without_end = &lines[..lines.trim_end().rfind('\n').unwrap() + 1];
    for (text, why) in [
        ("", "ends after line 0"),
        ("nonsense\n", "line 1 is not as"),
        (half, "ends after line"),
        (without_end, "ends after line"),
        (&lines.replace("\"state\":1", "\"state\":2"), "this is form 2"),
        (&lines.replace("\"ann\"", "\"nobody\""), "there is no user `nobody`"),
        (&lines.replace("\"notes\"", "\"*\""), "line 2 is not as"),
        (&lines.replace("{\"update\"", "{\"merge\""), "line 2 is not as"),
    ] {
        fs::write(&file, text).unwrap();
        let (went_well, _, said) = offline(&server.data, &["import", file.to_str().unwrap()]);
        assert!(!went_well && said.contains(why), "{why}: {said}");
        assert!(!server.data.join("journal.imported").exists());
        assert_eq!(fs::read_dir(&journal).unwrap().count(), before);
    }
    fs::write(&file, &lines).unwrap();
    let (went_well, said, wrong) = offline(&server.data, &["import", file.to_str().unwrap()]);
    assert!(went_well, "{said}{wrong}");
    server.resume();
    let mut ann = server.by_token(&token);
    assert_eq!(ann.ask("get", &json!([["elsewhere", "notes", 0]])), 1);
    assert_eq!(ann.ask("get", &json!([["board", "notes", 0]])), 1);
}

#[test]
fn a_leilo_backend_goes_on_here_with_its_users_and_their_passwords() {
    let hash = "sha1$37dea33b$1$0ca2d75849f2731a8248054702a5f4e7d00abc22";
    let saved = json!({
        "serverVersion": "1.0.0",
        "__usr": {"leilo": 0, "sunny": 1, "connection#4": 3},
        "passwordHashes": {"leilo": {"passwordHash": hash}, "sunny": {"passwordHash": hash}},
        "users": {"sunny": {"scripts": {}}},
        "doc": {"n": 1},
        "__permissions": {
            "users": {"sunny": {"__permissions": {"sunny": {"lvl": 3}}}},
            "doc": {"__permissions": {"sunny": 4, "connection#4": 2}},
        },
    });
    let home = tempfile::TempDir::with_prefix_in("state-", "/tmp").unwrap();
    let (file, data) = (home.path().join("state.json"), home.path().join("data"));
    fs::write(&file, saved.to_string()).unwrap();
    let import = ["import", "--leilo", file.to_str().unwrap()];
    let (went_well, said, wrong) = offline(&data, &import);
    assert!(went_well && said.contains("ROOT: leilo; left out: 1 users"), "{said}{wrong}");
    let (went_well, _, said) = offline(&data, &import);
    assert!(!went_well && said.contains("already"), "{said}");

    let mut server = StateServer::at(home, data, &[]);
    assert!(!server.data.join("root-password").exists());
    server.connect().refuse("bad-credentials", "auth", &json!(["sunny", "wrong"]));
    let mut sunny = server.logged_in("sunny", "pass");
    assert_eq!(sunny.ask("get", &json!([["doc"]])), json!({"n": 1}));
    sunny.ask("updatePerms", &json!([["doc"], "*", {"lvl": 2}]));
    sunny.ask("update", &json!([["users", "sunny", "mine"], 1]));
    sunny.refuse("denied", "listUsers", &json!([]));
    // The old hash is gone after the first login, and the password is not.
    server.kill();
    let (_, lines, _) = offline(&server.data, &["export"]);
    let of = |user: &str| {
        let is_it = |it: &&str| it.contains("{\"account\"") && it.contains(user);
        lines.lines().find(is_it).unwrap().to_owned()
    };
    assert!(of("\"sunny\"").contains("$argon2id$") && of("\"leilo\"").contains("sha1$"));
    server.resume();
    server.logged_in("sunny", "pass");
}
