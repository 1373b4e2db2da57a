//! Every operation with good and bad arguments, and the decision table in all combinations.

use serde_json::json;

use super::*;
use crate::{
    account::{Quota, Secret},
    actor::SessionId,
    fixture::{World, actor, path, step, user},
    gc::Occasion,
    level::Rank,
    rule::{Action, RULES},
};

mod accounts;

/// The command that does `action` at `doc`, where `doc/n` exists.
fn command(action: Action) -> Option<serde_json::Value> {
    Some(match action {
        Action::Create => json!(["create", "doc", "new", 1]),
        Action::Update => json!(["update", "doc", {"n": 2}]),
        Action::Merge => json!(["merge", "doc", {"n": 2}]),
        Action::Delete => json!(["delete", "doc"]),
        Action::UpdatePerms => json!(["updatePerms", "doc", "bob", {"lvl": 4}]),
        Action::Gc => json!(["gc", "doc", [{"on": "disconnect"}]]),
        Action::Get | Action::Subscribe => return None,
    })
}

#[test]
fn every_action_needs_what_the_table_says() {
    for rule in RULES {
        for level in 1..=4 {
            for below in 1..=4 {
                let entries = [("doc", format!("bob:{level}")), ("doc/n", format!("bob:{below}"))];
                let entries: Vec<_> = entries.iter().map(|(at, it)| (*at, it.as_str())).collect();
                let world = World::with(json!({"doc": {"n": 1}}), &entries);
                let is_allowed = level >= u8::from(rule.level)
                    && rule.guard.is_none_or(|guard| below >= u8::from(guard));
                let found = match command(rule.action) {
                    Some(command) => world.code("bob", command),
                    None if world.get("bob", "doc") == "denied" => "denied",
                    None => "ok",
                };
                let expected = if is_allowed { "ok" } else { "denied" };
                assert_eq!(found, expected, "{:?} with {level} and {below} below", rule.action);
            }
        }
    }
}

/// Whoever changes whose entry to what: only an OWNER may, and then anything.
#[test]
fn permissions_are_changed_by_owners_alone() {
    for own in 1..=4 {
        for other in ["bob", "carol", "*"] {
            for before in 0..=4 {
                for after in 0..=4 {
                    let mut world = World::with(json!({"x": 1}), &[("x", &format!("bob:{own}!"))]);
                    if before > 0 && other != "bob" {
                        world.permit("x", &format!("{other}:{before}"));
                    }
                    let entry = (after > 0).then(|| json!({"lvl": after}));
                    let command = json!(["updatePerms", "x", other, entry]);
                    let expected = if own == 4 { "ok" } else { "denied" };
                    let found = world.code("bob", command.clone());
                    assert_eq!(found, expected, "{own} {other} {before} {after}");
                    if own == 4 {
                        world.must("bob", command);
                        let who = serde_json::from_value(json!(other)).unwrap();
                        let entries = world.state.root().at(&path("x")).unwrap().entries();
                        let found = entries.and_then(|it| it.get(&who)).map(|it| it.level.into());
                        assert_eq!(found, (after > 0).then_some(after));
                    }
                }
            }
        }
    }
}

#[test]
fn good_and_bad_arguments_of_what_changes_values() {
    let value = json!({"o": {"a": 1}, "l": [1, 2], "s": 1});
    let world = World::with(value, &[("", "bob:4")]);
    let cases = [
        (json!(["create", "o", "b", 1]), "ok"),
        (json!(["create", "o", "a", 1]), "exists"),
        (json!(["create", "l", 2, 1]), "ok"),
        (json!(["create", "l", 1, 1]), "exists"),
        (json!(["create", "l", 3, 1]), "not-container"),
        (json!(["create", "l", "x", 1]), "not-container"),
        (json!(["create", "s", "x", 1]), "not-container"),
        (json!(["create", "new/deep", "x", 1]), "ok"),
        (json!(["create", "new/deep", "x", 1, {"parents": false}]), "not-found"),
        (json!(["create", "o", "b", 1, {"ephemeral": true}]), "ok"),
        (json!(["create", "l", 2, 1, {"ephemeral": true}]), "not-container"),
        (json!(["update", "", {}]), "ok"),
        (json!(["update", "", 1]), "bad-argument"),
        (json!(["update", "", []]), "bad-argument"),
        (json!(["update", "o/a", 2]), "ok"),
        (json!(["update", "l/2", 2]), "ok"),
        (json!(["update", "l/3", 2]), "not-container"),
        (json!(["update", "l/00", 2]), "not-container"),
        (json!(["update", "s/x", 2]), "not-container"),
        (json!(["update", "n/x", 2, {"parents": false}]), "not-found"),
        (json!(["update", "n", 2, {"parents": false}]), "ok"),
        (json!(["merge", "o", {"a": null}]), "ok"),
        (json!(["merge", "o", 1]), "bad-argument"),
        (json!(["merge", "", {}]), "ok"),
        (json!(["delete", "o/a"]), "ok"),
        (json!(["delete", "o/x"]), "not-found"),
        (json!(["delete", "s/x"]), "not-found"),
        (json!(["delete", "l/2"]), "not-found"),
        (json!(["delete", ""]), "bad-argument"),
        (json!(["updatePerms", "o", "carol", null]), "ok"),
        (json!(["updatePerms", "x", "carol", {"lvl": 2}]), "not-found"),
        (json!(["updatePerms", "o", "nobody", {"lvl": 2}]), "no-such-user"),
        (json!(["updatePerms", "l/0", "*", {"lvl": 2}]), "not-container"),
        (json!(["gc", "o", []]), "bad-argument"),
        (json!(["gc", "", [{"on": "disconnect"}]]), "bad-argument"),
        (json!(["gc", "o", [{"on": "userDeleted", "user": "nobody"}]]), "no-such-user"),
        (json!(["gc", "o", [{"on": "after", "ms": 5}, {"on": "disconnect"}]]), "ok"),
        (json!(["gc", "o", vec![json!({"on": "disconnect"}); 17]]), "bad-argument"),
        (json!(["gc", "o", [{"on": "event", "name": "x".repeat(257)}]]), "bad-argument"),
        (json!(["emit", "carol", "x".repeat(257), 1]), "bad-argument"),
        (json!(["ungc", 1]), "not-found"),
        (json!(["emit", "carol", "hello", 1]), "ok"),
        (json!(["emit", "nobody", "hello", 1]), "no-such-user"),
        (json!(["update", "o", 1, {"req": "x".repeat(65)}]), "bad-argument"),
    ];
    for (command, expected) in cases {
        let said = command.to_string();
        assert_eq!(world.code("bob", command), expected, "{said}");
    }
}

#[test]
fn sizes_and_depths_have_limits() {
    let mut world = World::with(json!({}), &[("", "bob:4")]);
    world.limits.value_bytes = 100;
    assert_eq!(world.code("bob", json!(["emit", "bob", "m", "x".repeat(98)])), "ok");
    assert_eq!(world.code("bob", json!(["emit", "bob", "m", "x".repeat(99)])), "too-large");
    assert_eq!(world.code("bob", json!(["update", "a", "x".repeat(98)])), "ok");
    assert_eq!(world.code("bob", json!(["update", "a", "x".repeat(99)])), "too-large");
    let deep = |len| (0..len).fold(json!(1), |it, _| json!([it]));
    world.limits = Limits::default();
    assert_eq!(world.code("bob", json!(["update", "a/b", deep(62)])), "ok");
    assert_eq!(world.code("bob", json!(["update", "a/b", deep(63)])), "bad-argument");
    let at = ["a"; 64].join("/");
    assert_eq!(world.code("bob", json!(["create", at, "b", 1])), "bad-argument");
}

#[test]
fn quotas_hold_for_all_that_contains_a_change() {
    let mut world = World::with(json!({"users": {}, "big": {"a": 1}}), &[("", "bob:4")]);
    let quota = Some(Quota { bytes: 1000, nodes: 4 });
    world.does("boss", Operation::SetQuota { path: path("big"), quota }).unwrap();
    world.must("bob", json!(["update", "big/b/c", 1]));
    assert_eq!(world.code("bob", json!(["update", "big/b/d", 1])), "quota");
    assert_eq!(world.code("bob", json!(["update", "big/b/c", 2])), "ok");
    assert_eq!(world.code("bob", json!(["merge", "big", {"x": 1}])), "quota");
    assert_eq!(world.code("bob", json!(["update", "elsewhere/b/d", 1])), "ok");
    let less = Some(Quota { bytes: 1000, nodes: 2 });
    world.does("boss", Operation::SetQuota { path: path("big"), quota: less }).unwrap();
    assert_eq!(world.code("bob", json!(["update", "big/b", 1])), "ok", "less is never too much");
    world.limits.home.nodes = 2;
    world.account("zoe", Rank::User);
    assert_eq!(world.code("zoe", json!(["update", "users/zoe/a", 1])), "ok");
    assert_eq!(world.code("zoe", json!(["update", "users/zoe/a", [1]])), "quota");
    let setting = Operation::SetQuota { path: path("big"), quota };
    assert_eq!(world.would("bob", setting).unwrap_err().refusal, Refusal::NeedsRoot);
}

/// What is set as a whole fills what lies below it.
#[test]
fn quotas_hold_for_all_that_a_change_contains() {
    let mut world = World::with(json!({"a": {"b": {}}}), &[("", "bob:4")]);
    let quota = Some(Quota { bytes: 1000, nodes: 2 });
    world.does("boss", Operation::SetQuota { path: path("a/b"), quota }).unwrap();
    let full = json!({"b": {"x": 1, "y": 2}});
    assert_eq!(world.code("bob", json!(["update", "a", full])), "quota");
    assert_eq!(world.code("bob", json!(["merge", "", {"a": full}])), "quota");
    assert_eq!(world.code("bob", json!(["update", "a", {"b": {"x": 1}, "c": [1, 2, 3]}])), "ok");
    world.limits.home.nodes = 2;
    world.account("zoe", Rank::User);
    assert_eq!(world.code("boss", json!(["merge", "", {"users": {"zoe": {"x": [1]}}}])), "quota");
    assert_eq!(world.code("boss", json!(["merge", "", {"users": {"zoe": {"x": 1}}}])), "ok");
}

#[test]
fn entries_fill_a_quota_as_well() {
    let mut world = World::with(json!({"a": {}}), &[("", "bob:4")]);
    let quota = Some(Quota { bytes: 100, nodes: 10 });
    world.does("boss", Operation::SetQuota { path: path("a"), quota }).unwrap();
    world.must("bob", json!(["updatePerms", "a", "carol", {"lvl": 2}]));
    assert_eq!(world.code("bob", json!(["updatePerms", "a", "dave", {"lvl": 2}])), "quota");
    assert_eq!(world.code("bob", json!(["updatePerms", "a", "carol", {"lvl": 3}])), "ok");
}

#[test]
fn what_is_expected_must_be_so() {
    let mut world = World::with(json!({"o": {"a": 1, "h": 1}}), &[("", "bob:3"), ("o/h", "bob:1")]);
    let rev = world.must("bob", json!(["update", "o/a", 2])).rev;
    let code = |options| world.code("bob", json!(["update", "o/a", 3, options]));
    assert_eq!(code(json!({"ifRev": rev})), "ok");
    assert_eq!(code(json!({"ifRev": rev - 1})), "conflict");
    assert_eq!(code(json!({"ifRev": 0})), "conflict");
    assert_eq!(code(json!({"ifValue": 2.0})), "ok");
    assert_eq!(code(json!({"ifValue": null})), "conflict");
    let new = |options| world.code("bob", json!(["update", "o/new", 3, options]));
    assert_eq!(new(json!({"ifRev": 0})), "ok");
    assert_eq!(new(json!({"ifValue": null})), "conflict", "absent is not null");
    let create = |options| world.code("bob", json!(["create", "o", "n", 3, options]));
    assert_eq!(create(json!({"ifValue": {"a": 2}})), "ok", "what is hidden can't be guessed");
    assert_eq!(create(json!({"ifValue": {"a": 2, "h": 1}})), "conflict");
    let failure = world.would("bob", step(json!(["update", "o/a", 3, {"ifRev": 1}])));
    assert_eq!(failure.unwrap_err().refusal, Refusal::Conflict { rev });
}

#[test]
fn who_creates_something_owns_it() {
    let mut world = World::with(json!({"x": {}, "l": []}), &[("", "*:3")]);
    world.must("bob", json!(["create", "x", "n", {"v": 1}]));
    let levels =
        ["bob", "erin", "-"].map(|it| world.subject(it).level(world.state.root(), &path("x/n")));
    assert_eq!(levels, [Level::Owner, Level::Editor, Level::Editor]);
    world.must("boss", json!(["create", "x", "by-root", 1]));
    world.must("-", json!(["create", "x", "by-nobody", 1]));
    world.must("bob", json!(["create", "l", 0, 1]));
    for at in ["x/by-root", "x/by-nobody", "l/0"] {
        assert_eq!(world.state.root().at(&path(at)).unwrap().entries(), None, "{at}");
    }
}

#[test]
fn removing_by_merge_is_deleting() {
    let world =
        World::with(json!({"o": {"a": {"x": 1}, "b": 1}}), &[("o", "bob:3"), ("o/b", "bob:4")]);
    assert_eq!(world.code("bob", json!(["merge", "o", {"b": null}])), "ok");
    assert_eq!(world.code("bob", json!(["merge", "o", {"a": null}])), "denied");
    assert_eq!(world.code("bob", json!(["merge", "o", {"a": {"x": null}}])), "denied");
    assert_eq!(
        world.code("bob", json!(["merge", "o", {"none": null, "a": {"x": {"y": null}}}])),
        "ok"
    );
}

#[test]
fn a_batch_is_done_whole_or_not_at_all() {
    let mut world = World::with(json!({}), &[("", "bob:4")]);
    let before = world.state.clone();
    let failure = world.batch(
        "bob",
        json!([
            ["create", "", "a", {"n": 1}], ["update", "a/n", 2], ["create", "", "a", 1],
        ]),
    );
    assert_eq!(failure.unwrap_err(), Failure { refusal: Refusal::Exists, index: Some(2) });
    assert_eq!(world.state.revision(), before.revision());
    assert_eq!(world.value(), json!({}));
    let commit = world
        .batch(
            "bob",
            json!([
                ["create", "", "a", {"n": 1}], ["update", "a/n", 2],
                ["gc", "a", [{"on": "disconnect"}]], ["emit", "carol", "hi", 1],
            ]),
        )
        .unwrap();
    assert_eq!(commit.rev, before.revision() + 1);
    assert_eq!(commit.answers[2..], [Answer::Registered(1), Answer::Sent]);
    assert_eq!(world.value(), json!({"a": {"n": 2}}));
    assert_eq!(commit.messages.len(), 1);
}

#[test]
fn arguments_of_a_whole_batch_are_checked_first() {
    let mut world = World::with(json!({}), &[]);
    let failure = world.batch("bob", json!([["update", "a", 1], ["delete", ""]])).unwrap_err();
    assert_eq!((failure.refusal.code(), failure.index), ("bad-argument", Some(1)));
    let steps = vec![Operation::RevokeToken { id: "x".into() }.into()];
    let failure = world.ask(&actor("boss"), &Request::batch(steps, 0)).unwrap_err();
    assert_eq!(failure.refusal.code(), "bad-argument");
    world.limits.batch = 1;
    let failure = world.batch("boss", json!([["delete", "a"], ["delete", "a"]])).unwrap_err();
    assert_eq!((failure.refusal.code(), failure.index), ("quota", None));
}

#[test]
fn a_dry_run_changes_and_sends_nothing() {
    let world = World::with(json!({}), &[("", "bob:4")]);
    let steps = vec![step(json!(["update", "a", 1])), step(json!(["emit", "carol", "hi", 1]))];
    let request = Request { is_dry: true, ..Request::batch(steps, 0) };
    let commit = world.ask(&actor("bob"), &request).unwrap();
    assert!(commit.record.is_none() && commit.messages.is_empty());
    assert_eq!(commit.after.revision(), world.state.revision());
    assert_eq!(commit.rev, world.state.revision() + 1);
}

#[test]
fn what_is_sent_alone_is_no_commit() {
    let mut world = World::new();
    let commit = world.must("bob", json!(["emit", "carol", "hi", {"x": 1}]));
    assert!(commit.record.is_none());
    assert_eq!(commit.rev, world.state.revision());
    assert_eq!(commit.messages[0].src, Some(user("bob")));
}

#[test]
fn who_has_not_logged_in_may_do_little() {
    let mut world = World::with(json!({"pub": {}}), &[("pub", "*:4")]);
    for command in [json!(["create", "pub", "a", 1]), json!(["updatePerms", "pub", "*", null])] {
        assert_eq!(world.code("-", command), "ok");
    }
    for command in [
        json!(["create", "pub", "a", 1, {"ephemeral": true}]),
        json!(["gc", "pub", [{"on": "disconnect"}]]),
        json!(["emit", "bob", "x", 1]),
        json!(["ungc", 1]),
    ] {
        assert_eq!(world.code("-", command), "auth-required");
    }
    world.limits.allows_anonymous = false;
    assert_eq!(world.code("-", json!(["update", "pub", 1])), "auth-required");
    assert_eq!(world.code("ghost", json!(["update", "pub", 1])), "auth-required");
}

#[test]
fn what_is_registered_is_deleted_as_who_registered_it() {
    let mut world = World::with(json!({"a": 1, "b": 1}), &[("", "bob:4")]);
    let gc = |at: &str| json!(["gc", at, [{"on": "disconnect"}]]);
    world.must("bob", gc("a"));
    world.must("bob", gc("b"));
    assert_eq!(world.code("carol", json!(["ungc", 1])), "not-found");
    assert_eq!(world.code("bob", json!(["ungc", 1])), "ok");
    assert_eq!(
        world.would("bob", Operation::Fire { id: 1 }).unwrap_err().refusal,
        Refusal::NeedsRoot
    );
    let commit = world.does("", Operation::Fire { id: 1 }).unwrap();
    assert_eq!(commit.answers, [Answer::Done]);
    assert_eq!(commit.record.unwrap().acts[0].src, Some(user("bob")));
    world.must("boss", json!(["updatePerms", "", "bob", {"lvl": 3}]));
    assert_eq!(world.does("", Operation::Fire { id: 2 }).unwrap().answers, [Answer::Dropped]);
    assert_eq!(world.value(), json!({"b": 1}));
    assert_eq!(world.state.registrations().count(), 0);
    assert!(world.state.triggers.is_empty());
    assert_eq!(world.state.account(&user("bob")).unwrap().registrations, 0);
}

#[test]
fn a_user_has_so_many_registrations() {
    let mut world = World::with(json!({}), &[("", "bob:4")]);
    world.limits.registrations = 1;
    let gc = json!(["gc", "a", [{"on": "disconnect"}]]);
    let two = json!(["gc", "a", [{"on": "disconnect"}, {"on": "after", "ms": 1}]]);
    assert_eq!(world.code("bob", two), "quota", "each trigger counts");
    world.must("bob", gc.clone());
    assert_eq!(world.code("bob", gc.clone()), "quota");
    world.must("bob", json!(["ungc", 1]));
    assert_eq!(world.must("bob", gc).answers, [Answer::Registered(2)], "an id is never used again");
    world.limits.entries = 1;
    assert_eq!(world.code("bob", json!(["updatePerms", "", "carol", {"lvl": 2}])), "quota");
    assert_eq!(world.code("bob", json!(["updatePerms", "", "bob", {"lvl": 2}])), "ok");
}

#[test]
fn a_deleted_user_takes_along_what_waited_for_that() {
    let mut world = World::with(json!({"a": 1, "b": 1}), &[("", "bob:4"), ("", "carol:4")]);
    world.must("bob", json!(["gc", "a", [{"on": "userDeleted", "user": "carol"}]]));
    world.must("carol", json!(["gc", "b", [{"on": "userDeleted", "user": "carol"}]]));
    let delete = Operation::DeleteUser { user: user("carol"), keeps_home: false };
    let commit = world.does("boss", delete).unwrap();
    assert_eq!(commit.record.unwrap().acts.len(), 1, "however much waited");
    assert_eq!(world.state.due(&Occasion::Time(0)), [1], "hers went with her");
    assert_eq!(world.state.account(&user("bob")).unwrap().registrations, 1);
    assert_eq!(world.does("", Operation::Fire { id: 1 }).unwrap().answers, [Answer::Done]);
    assert_eq!(world.value(), json!({"b": 1}));
}

#[test]
fn an_ephemeral_node_is_its_creators_to_lose() {
    let mut world = World::with(json!({"x": {}, "y": {}}), &[("x", "bob:3"), ("y", "*:3!")]);
    world.must("bob", json!(["create", "x", "here", 1, {"ephemeral": true}]));
    let session = SessionId::from("bob");
    let fired = world.state.fired_by(&crate::trigger::Trigger::Disconnect(session));
    assert_eq!(fired, [1]);
    assert_eq!(world.does("", Operation::Fire { id: 1 }).unwrap().answers, [Answer::Done]);
    assert_eq!(world.value(), json!({"x": {}, "y": {}}));
    assert_eq!(world.code("bob", json!(["create", "y", "here", 1, {"ephemeral": true}])), "denied");
}

/// However a node goes, what was to end it goes along: it is no wish about what comes after it.
#[test]
fn what_was_ephemeral_goes_with_its_node() {
    let ways = [
        json!(["delete", "x/here"]),
        json!(["update", "x", {"other": 1}]),
        json!(["merge", "x", {"here": null}]),
        json!(["update", "", {"x": 1}]),
    ];
    for way in ways {
        let mut world = World::with(json!({"x": {}}), &[("", "bob:4")]);
        world.limits.registrations = 1;
        for _ in 0..3 {
            world.must("bob", json!(["create", "x", "here", 1, {"ephemeral": true}]));
            world.must("bob", way.clone());
            world.must("bob", json!(["update", "x", {}]));
        }
        assert_eq!(world.state.registrations().count(), 0, "{way}");
        world.must("bob", json!(["create", "x", "here", "for long"]));
        assert!(world.state.due(&Occasion::Disconnected("bob".into())).is_empty(), "{way}");
        assert!(world.state.ephemeral.is_empty());
    }
    let mut world = World::with(json!({"x": {}}), &[("", "bob:4")]);
    world.must("bob", json!(["create", "x", "here", 1, {"ephemeral": true}]));
    world.must("bob", json!(["update", "x", {"here": 2}]));
    assert_eq!(world.state.registrations().count(), 1, "it is there still");
}

#[test]
fn many_fire_in_one_commit_though_some_are_gone() {
    let mut world = World::with(json!({"a": {"b": 1}, "c": 1}), &[("", "bob:4")]);
    world.must("bob", json!(["gc", "a", [{"on": "disconnect"}]]));
    world.must("bob", json!(["delete", "a/b"]));
    world.must("bob", json!(["create", "a", "b", 1, {"ephemeral": true}]));
    world.must("bob", json!(["gc", "c", [{"on": "disconnect"}]]));
    world.must("bob", json!(["gc", "c", [{"on": "disconnect"}]]));
    let steps = (1..=5).map(|id| Operation::Fire { id }.into()).collect();
    let request = Request { is_batch: false, ..Request::batch(steps, 0) };
    world.limits.batch = 1;
    let commit = world.commit(&actor(""), &request).unwrap();
    use Answer::{Done, Dropped, Gone};
    assert_eq!(commit.answers, [Done, Gone, Done, Dropped, Gone]);
    assert_eq!(world.value(), json!({}));
}

#[test]
fn who_asks_for_nothing_is_somebody_all_the_same() {
    let mut world = World::with(json!({}), &[]);
    let empty = Request::batch(vec![], 0);
    assert!(world.ask(&actor("bob"), &empty).is_ok() && world.ask(&actor("-"), &empty).is_ok());
    world.limits.allows_anonymous = false;
    for who in ["-", "ghost"] {
        let failure = world.ask(&actor(who), &empty).unwrap_err();
        assert_eq!(failure.refusal, Refusal::AuthRequired);
    }
}

/// What somebody may not read can't be told from what is not there.
#[test]
fn reading_does_not_tell_hidden_from_absent() {
    let hidden = World::with(
        json!({"a": {"h": {"x": 1}}, "s": 1}),
        &[("a", "bob:2"), ("a/h", "*:1"), ("a/h", "bob:1"), ("s", "*:1")],
    );
    let absent = World::with(json!({"a": {}}), &[("a", "bob:2")]);
    for at in ["", "a", "a/h", "a/h/x", "a/h/y", "a/q", "s", "s/x", "q"] {
        assert_eq!(hidden.get("bob", at), absent.get("bob", at), "get {at}");
        let seen = |world: &World| {
            let subject = world.subject("bob");
            let keys = world.state.keys(&subject, &path(at), None, 10);
            let permissions = world.state.permissions(&subject, &path(at));
            (keys, permissions, world.state.may_watch(&subject, &path(at)))
        };
        assert_eq!(seen(&hidden), seen(&absent), "{at}");
        for command in [
            json!(["update", at, {}]),
            json!(["merge", at, {}]),
            json!(["create", at, "n", 1]),
            json!(["updatePerms", at, "*", {"lvl": 4}]),
            json!(["update", at, {}, {"ifRev": 0}]),
            json!(["gc", format!("{at}/n"), [{"on": "disconnect"}]]),
            json!(["delete", format!("{at}/n")]),
            json!(["update", at, {}, {"parents": false}]),
        ] {
            let said = command.to_string();
            assert_eq!(hidden.code("bob", command.clone()), absent.code("bob", command), "{said}");
        }
    }
}

#[test]
fn what_is_not_there_is_not_found_by_who_may_read_around_it() {
    let value = json!({"a": {"h": 1}, "s": 1});
    let world = World::with(value, &[("a", "bob:2"), ("a/h", "bob:1")]);
    let codes = ["a/x", "a/x/y", "a/h", "a/h/x"].map(|at| world.get("bob", at));
    assert_eq!(codes, ["not-found"; 4]);
    assert_eq!(["", "s", "s/x", "x"].map(|at| world.get("bob", at)), ["denied"; 4]);
    assert_eq!(world.get("boss", "s/x"), "not-found");
}

#[test]
fn keys_come_in_order_and_in_parts() {
    let world = World::with(
        json!({"o": {"b": 1, "a": 1, "h": 1, "c": 1}, "l": [1, 2, 3], "s": 1}),
        &[("", "bob:2"), ("o/h", "bob:1")],
    );
    let keys = |at: &str, after: Option<&str>, limit| {
        let after = after.map(|it| Segment::new(it).unwrap());
        let keys = world.state.keys(&world.subject("bob"), &path(at), after.as_ref(), limit);
        serde_json::to_value(keys.unwrap()).unwrap()
    };
    assert_eq!(keys("o", None, 10), json!(["a", "b", "c"]));
    assert_eq!(keys("o", Some("a"), 1), json!(["b"]));
    assert_eq!(keys("o", Some("aa"), 10), json!(["b", "c"]));
    assert_eq!(keys("l", Some("0"), 1), json!(["1"]));
    assert_eq!(keys("s", None, 10), json!([]));
}

#[test]
fn replaying_the_records_gives_the_same_state() {
    let mut world = World::with(json!({"a": 1}), &[("", "bob:4")]);
    world.must("bob", json!(["create", "", "e", {"x": [1, 2]}, {"ephemeral": true}]));
    world.must("bob", json!(["delete", "e/x/0"]));
    world.batch("bob", json!([["merge", "e", {"y": 1}], ["ungc", 1]])).unwrap();
    let mut replayed = State::default();
    world.records.iter().for_each(|it| replayed.apply(it).unwrap());
    assert_eq!(format!("{replayed:?}"), format!("{:?}", world.state));
}

#[test]
fn a_record_that_does_not_fit_changes_nothing() {
    let mut world = World::with(json!({"a": 1}), &[]);
    let record = world.would("boss", step(json!(["delete", "a"]))).unwrap().record.unwrap();
    world.state.apply(&record).unwrap();
    let before = format!("{:?}", world.state);
    assert!(world.state.apply(&record).is_err());
    assert_eq!(format!("{:?}", world.state), before);
}
