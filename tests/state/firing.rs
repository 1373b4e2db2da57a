//! What deletes itself, when much is due at once.

use serde_json::json;

use super::StateServer;
use crate::harness::eventually;

/// More than fire in one commit.
const MANY: u64 = 600;

#[test]
fn much_that_is_due_is_done_in_few_commits_and_nobody_waits_for_it() {
    let server = StateServer::start(&[]);
    let mut root = server.root();
    root.ask("createUser", &json!(["ann", "secret"]));
    root.ask("update", &json!([["tmp"], {}]));
    root.ask("updatePerms", &json!([["tmp"], "ann", {"lvl": 4}]));
    let mut ann = server.logged_in("ann", "secret");
    let names: Vec<String> = (0..MANY).map(|it| it.to_string()).collect();
    for names in names.chunks(300) {
        let ops = names.iter().flat_map(|name| {
            let wish = json!([{"on": "event", "name": "tidy", "src": "root"}]);
            [json!(["create", ["tmp"], name, 1]), json!(["gc", ["tmp", name], wish])]
        });
        ann.ask("batch", &json!([ops.collect::<Vec<_>>()]));
    }
    // The last of them is taken back, so it is not there any more when the others fire.
    ann.ask("ungc", &json!([MANY]));
    let before = root.ask("stats", &json!([]))["rev"].as_u64().unwrap();
    root.ask("emit", &json!(["root", "tidy", null]));
    let stats = eventually("all is done", || {
        let stats = root.ask("stats", &json!([]));
        (stats["gc"]["fired"] == MANY - 1).then_some(stats)
    });
    assert_eq!(root.ask("keys", &json!([["tmp"]])), json!([(MANY - 1).to_string()]));
    let commits = stats["rev"].as_u64().unwrap() - before;
    assert!(commits < 10, "{commits} commits");
}

#[test]
fn what_waited_for_the_end_of_an_account_is_done_after_it() {
    let mut server = StateServer::start(&[]);
    let mut root = server.root();
    for user in ["ann", "bob"] {
        root.ask("createUser", &json!([user, "secret"]));
    }
    let wish = json!([{"on": "userDeleted", "user": "bob"}]);
    for name in ["a", "b"] {
        root.ask("update", &json!([[name], 1]));
        root.ask("gc", &json!([[name], wish]));
    }
    root.ask("deleteUser", &json!(["bob"]));
    eventually("both are gone", || {
        let stats = root.ask("stats", &json!([]));
        (stats["gc"] == json!({"fired": 2, "dropped": 0})).then_some(())
    });
    assert_eq!(root.ask("get", &json!([[]])), json!({"users": {"ann": {}, "root": {}}}));
    server.kill();
    server.resume();
    assert_eq!(server.root().ask("keys", &json!([[]])), json!(["users"]));
}
