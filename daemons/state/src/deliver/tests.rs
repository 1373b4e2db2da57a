//! What is told to whom: by example, and that it is always enough.

use serde_json::{Value, json};

use crate::{
    Filter, Segment, State, Subscription, Subscriptions, deliver,
    event::{Event, SubscriptionId},
    fixture::{World, actor, path, pattern, user},
    level::Rank,
    operation::Operation,
};

mod mirrors;

/// A world that is watched.
struct Watched {
    world: World,
    subscriptions: Subscriptions,
}

impl Watched {
    fn new(value: Value, entries: &[(&str, &str)]) -> Self {
        Self { world: World::with(value, entries), subscriptions: Subscriptions::default() }
    }

    fn watch(&mut self, session: &str, at: &str) -> SubscriptionId {
        self.watch_for(session, at, Filter::default())
    }

    fn watch_for(&mut self, session: &str, at: &str, filter: Filter) -> SubscriptionId {
        let actor = actor(session);
        let id = actor.session.unwrap();
        if self.subscriptions.subscriber(&id).is_none() {
            self.subscriptions.open(id.clone(), actor.user, None);
        }
        let pattern = pattern(at);
        self.subscriptions.subscribe(&id, Subscription { pattern, filter }, 10).unwrap()
    }

    /// Commits, and tells what `session` is told, as it is on the wire but for what is usual.
    fn told(&mut self, session: &str, who: &str, command: Value) -> Value {
        let before = self.world.state.clone();
        self.world.must(who, command);
        self.since(&before, session)
    }

    fn told_batch(&mut self, session: &str, who: &str, commands: Value) -> Value {
        let before = self.world.state.clone();
        self.world.batch(who, commands).unwrap();
        self.since(&before, session)
    }

    fn since(&mut self, before: &State, session: &str) -> Value {
        let record = self.world.records.last().unwrap();
        let deliveries = deliver(before, &self.world.state, record, &self.subscriptions);
        for delivery in &deliveries {
            delivery.ended.iter().for_each(|id| {
                assert!(self.subscriptions.unsubscribe(&delivery.session, *id));
            });
        }
        let own = deliveries.into_iter().find(|it| it.session == session.into());
        let events = own.map(|it| it.events).unwrap_or_default();
        assert!(events.iter().all(|it| it.rev == self.world.state.revision()));
        events.iter().map(short).collect()
    }
}

/// An event without what every event of these tests has.
fn short(event: &Event) -> Value {
    let mut value = serde_json::to_value(event).unwrap();
    let object = value.as_object_mut().unwrap();
    ["rev", "src"].iter().for_each(|it| drop(object.remove(*it)));
    let path: Vec<_> = event.happening.path().iter().map(Segment::as_str).collect();
    object.insert("path".to_owned(), json!(path.join("/")));
    if event.subs == [1] {
        object.remove("subs");
    }
    value
}

#[test]
fn what_went_and_came_again_is_told_as_it_is_then() {
    let mut watched = Watched::new(json!({"doc": {"n": 1}}), &[("", "*:3")]);
    watched.watch("bob", "**");
    // What was made and is gone again is seen by nobody; what was made around it is there.
    let commands = json!([["delete", "doc"], ["update", "doc/x", 1], ["delete", "doc/x"]]);
    let told = watched.told_batch("bob", "boss", commands);
    assert_eq!(told, json!([{"name": "update", "path": "doc", "value": {}}]));
}

#[test]
fn an_event_is_what_the_wire_says() {
    let mut watched = Watched::new(json!({"doc": {"n": 1}}), &[("", "*:3")]);
    watched.watch("bob", "doc/**");
    let before = watched.world.state.clone();
    watched.world.must("carol", json!(["update", "doc/n", 2, {"req": "r1"}]));
    let record = watched.world.records.last().unwrap();
    let told = deliver(&before, &watched.world.state, record, &watched.subscriptions);
    let rev = watched.world.state.revision();
    assert_eq!(
        serde_json::to_value(&told[0].events[0]).unwrap(),
        json!({"subs": [1], "rev": rev, "name": "update", "path": ["doc", "n"], "value": 2,
               "src": "carol", "req": "r1"})
    );
}

/// Pattern, command of ROOT, and what a viewer of everything is told.
#[test]
fn each_pattern_is_told_what_it_is_about() {
    let cases = [
        (
            "doc",
            json!(["update", "doc", 1]),
            json!([{"name": "update", "path": "doc", "value": 1}]),
        ),
        ("doc", json!(["update", "doc/t/leaf", 2]), json!([])),
        (
            "doc/t",
            json!(["create", "doc/t", "new", 1]),
            json!([{"name": "create", "path": "doc/t", "newObjName": "new", "newObjVal": 1}]),
        ),
        (
            "doc/new",
            json!(["create", "doc", "new", 1]),
            json!([{"name": "update", "path": "doc/new", "value": 1, "sync": true}]),
        ),
        (
            "doc/*",
            json!(["create", "doc", "new", 1]),
            json!([{"name": "create", "path": "doc", "newObjName": "new", "newObjVal": 1}]),
        ),
        (
            "doc/*",
            json!(["create", "doc/t", "new", 1]),
            json!([{"name": "create", "path": "doc/t", "newObjName": "new", "newObjVal": 1}]),
        ),
        ("doc/*", json!(["create", "doc/t/deep", "new", 1]), json!([])),
        (
            "doc/*/leaf",
            json!(["update", "doc/t", {"leaf": 2}]),
            json!([{"name": "update", "path": "doc/t", "value": {"leaf": 2}}]),
        ),
        (
            "doc/*/leaf",
            json!(["update", "doc/t/leaf", 2]),
            json!([{"name": "update", "path": "doc/t/leaf", "value": 2}]),
        ),
        ("doc/*/leaf", json!(["update", "doc/t/other", 2]), json!([])),
        (
            "doc/t/leaf",
            json!(["update", "doc", {"t": {"leaf": 2}}]),
            json!([{"name": "update", "path": "doc/t/leaf", "value": 2, "sync": true}]),
        ),
        ("doc/t/leaf", json!(["update", "doc", {"t": {"leaf": 1}, "x": 1}]), json!([])),
        (
            "doc/t/leaf",
            json!(["delete", "doc"]),
            json!([{"name": "delete", "path": "doc/t/leaf", "sync": true}]),
        ),
        ("doc/**", json!(["delete", "doc/t"]), json!([{"name": "delete", "path": "doc/t"}])),
        ("doc/**", json!(["delete", "doc"]), json!([{"name": "delete", "path": "doc"}])),
        (
            "doc/**",
            json!(["merge", "doc/t", {"x": 1}]),
            json!([{"name": "update", "path": "doc/t", "value": {"leaf": 1, "x": 1}}]),
        ),
        (
            "doc/**",
            json!(["update", "doc/t/leaf", 1]),
            json!([{"name": "update", "path": "doc/t/leaf", "value": 1}]),
        ),
        ("list/**", json!(["delete", "list/0"]), json!([{"name": "delete", "path": "list/0"}])),
        (
            "list/1",
            json!(["delete", "list/0"]),
            json!([{"name": "update", "path": "list/1", "value": 30, "sync": true}]),
        ),
        (
            "list/2",
            json!(["delete", "list/2"]),
            json!([{"name": "delete", "path": "list/2", "sync": true}]),
        ),
        ("list/0", json!(["delete", "list/1"]), json!([])),
        (
            "absent/**",
            json!(["update", "absent/x", 1]),
            json!([{"name": "update", "path": "absent/x", "value": 1}]),
        ),
        ("other", json!(["update", "doc", 1]), json!([])),
    ];
    for (at, command, expected) in cases {
        let value = json!({"doc": {"t": {"leaf": 1}}, "list": [10, 20, 30]});
        let mut watched = Watched::new(value, &[("", "bob:2")]);
        watched.watch("bob", at);
        let said = command.to_string();
        assert_eq!(watched.told("bob", "boss", command), expected, "{at}: {said}");
    }
}

#[test]
fn what_may_not_be_read_is_not_told() {
    let value = json!({"doc": {"secret": {"x": 1}, "open": 1}});
    let mut watched =
        Watched::new(value, &[("", "bob:2"), ("doc/secret", "*:1"), ("doc/secret", "bob:1")]);
    watched.watch("bob", "**");
    for command in [
        json!(["update", "doc/secret/x", 2]),
        json!(["create", "doc/secret", "y", 2]),
        json!(["updatePerms", "doc/secret", "carol", {"lvl": 2}]),
        json!(["delete", "doc/secret"]),
    ] {
        assert_eq!(watched.told("bob", "boss", command), json!([]));
    }
}

#[test]
fn values_are_told_without_their_hidden_parts() {
    let value = json!({"doc": {"secret": 1, "open": 1}});
    let mut watched = Watched::new(value, &[("", "bob:2"), ("doc/secret", "bob:1")]);
    watched.watch("bob", "doc");
    let told = watched.told("bob", "boss", json!(["update", "doc", {"secret": 2, "open": 2}]));
    assert_eq!(told, json!([{"name": "update", "path": "doc", "value": {"open": 2}}]));
}

#[test]
fn permissions_that_change_what_may_be_read_are_told_as_values() {
    let value = json!({"doc": {"t": {"x": 1}}});
    let mut watched = Watched::new(value, &[("", "bob:2")]);
    watched.watch("bob", "doc/**");
    watched.watch("bob#2", "doc/t/x");
    let hide = json!(["updatePerms", "doc/t", "bob", {"lvl": 1}]);
    let mut other =
        Watched { world: watched.world.clone(), subscriptions: watched.subscriptions.clone() };
    let told = watched.told("bob", "boss", hide.clone());
    assert_eq!(told, json!([{"name": "delete", "path": "doc/t", "reason": "perms"}]));
    let told = other.told("bob#2", "boss", hide);
    assert_eq!(told, json!([{"name": "revoked", "path": "doc/t/x", "reason": "perms"}]));
    assert_eq!(other.subscriptions.len(), 1);
    let show = json!(["updatePerms", "doc/t", "bob", {"lvl": 2}]);
    let told = watched.told("bob", "boss", show);
    assert_eq!(
        told,
        json!([{"name": "update", "path": "doc/t", "value": {"x": 1}, "reason": "perms"}])
    );
}

#[test]
fn a_prefix_that_may_be_read_again_is_synced() {
    let mut watched = Watched::new(json!({"a": {"b": 1}}), &[("", "bob:2"), ("a", "bob:1")]);
    watched.watch("bob", "a/b/**");
    let told = watched.told("bob", "boss", json!(["updatePerms", "a", "bob", null]));
    assert_eq!(
        told,
        json!([{"name": "update", "path": "a/b", "value": 1, "sync": true, "reason": "perms"}])
    );
}

#[test]
fn owners_who_see_it_are_told_of_permissions() {
    let mut watched = Watched::new(json!({"a": {"b": 1}}), &[("", "*:2"), ("a", "bob:4")]);
    for session in ["bob", "carol"] {
        watched.watch(session, "a/**");
    }
    let change = json!(["updatePerms", "a/b", "dave", {"lvl": 3}]);
    let told = watched.told("bob", "boss", change.clone());
    let event =
        json!([{"name": "updatePerms", "path": "a/b", "user": "dave", "perms": {"lvl": 3}}]);
    assert_eq!(told, event);
    assert_eq!(watched.told("bob", "boss", change.clone()), event, "also if nothing changes");
    assert_eq!(watched.told("carol", "boss", change), json!([]));
}

#[test]
fn a_rank_is_a_permission_everywhere() {
    let mut watched = Watched::new(json!({"a": {"h": 1}}), &[("", "*:2"), ("a/h", "*:1")]);
    watched.watch("bob", "a/**");
    watched.watch("carol", "a/**");
    let before = watched.world.state.clone();
    let rank = |rank| Operation::UpdateUserLevel { user: user("bob"), rank };
    watched.world.does("boss", rank(Rank::Root)).unwrap();
    let expected = json!([
        {"name": "update", "path": "a", "value": {"h": 1}, "sync": true, "reason": "perms"}
    ]);
    assert_eq!(watched.since(&before, "bob"), expected);
    assert_eq!(watched.since(&before, "carol"), json!([]));
}

#[test]
fn one_event_serves_all_subscriptions_of_a_session() {
    let mut watched = Watched::new(json!({"a": {"b": 1}}), &[("", "*:2")]);
    for at in ["a/**", "a/b", "a/*", "a/b/c"] {
        watched.watch("bob", at);
    }
    assert_eq!(watched.watch("bob", "a/b"), 2, "made again it is the same");
    let told = watched.told("bob", "boss", json!(["update", "a/b", {"c": 1}]));
    assert_eq!(
        told,
        json!([
            {"subs": [1, 2, 3], "name": "update", "path": "a/b", "value": {"c": 1}, "more": true},
            {"subs": [4], "name": "update", "path": "a/b/c", "value": 1, "sync": true},
        ])
    );
}

#[test]
fn filters_leave_out_what_is_not_wanted_but_no_sync() {
    let mut watched = Watched::new(json!({"a": {"b": 1}}), &[("", "*:4")]);
    let names = |name: &str| serde_json::from_value(json!([name])).unwrap();
    watched.watch_for("bob", "a/**", Filter { names: names("delete"), ..Filter::default() });
    let src = Some(user("carol"));
    watched.watch_for("bob", "a/**", Filter { src, ..Filter::default() });
    watched.watch_for("bob", "a/**", Filter { has_echo: false, ..Filter::default() });
    let subs = |told: Value| told[0]["subs"].clone();
    let update = json!(["update", "a/b", 2]);
    assert_eq!(subs(watched.told("bob", "boss", update.clone())), json!([3]));
    assert_eq!(subs(watched.told("bob", "carol", update.clone())), json!([2, 3]));
    assert_eq!(watched.told("bob", "bob", update.clone()), json!([]));
    assert_eq!(subs(watched.told("bob", "bob#2", update)), json!([3]));
    let told = watched.told("bob", "bob", json!(["delete", "a/b"]));
    assert_eq!(told, json!([{"name": "delete", "path": "a/b"}]), "to the first alone");
    let whole = json!(["update", "", {"a": {"c": 1}}]);
    assert_eq!(subs(watched.told("bob", "carol", whole)), json!([1, 2, 3]));
}

#[test]
fn a_batch_is_told_together() {
    let mut watched = Watched::new(json!({"a": {}}), &[("", "*:4")]);
    watched.watch("bob", "a/**");
    let told = watched.told_batch(
        "bob",
        "carol",
        json!([
            ["update", "a/x", 1],
            ["update", "b", 1],
            ["update", "a/y", [1, 2]],
            ["delete", "a/y/0"],
        ]),
    );
    assert_eq!(
        told,
        json!([
            {"name": "update", "path": "a/x", "value": 1, "more": true},
            {"name": "update", "path": "a/y", "value": [2]},
        ])
    );
}

#[test]
fn what_a_batch_creates_and_hides_was_never_to_be_seen() {
    let mut watched = Watched::new(json!({"a": {}, "b": {"x": 1}}), &[("", "*:4")]);
    watched.watch("bob", "**");
    let told = watched.told_batch(
        "bob",
        "boss",
        json!([
            ["create", "a", "s", "secret"], ["updatePerms", "a/s", "*", {"lvl": 1}],
            ["update", "b/x", "secret"], ["update", "b/x", 2],
        ]),
    );
    assert_eq!(told, json!([{"name": "update", "path": "b/x", "value": 2}]));
}

#[test]
fn parents_of_what_a_batch_hides_are_told() {
    let mut watched = Watched::new(json!({}), &[("", "*:2")]);
    watched.watch("bob", "**");
    let told = watched.told_batch(
        "bob",
        "boss",
        json!([
            ["update", "a/b/c", 1], ["updatePerms", "a/b/c", "*", {"lvl": 1}],
        ]),
    );
    assert_eq!(
        told,
        json!([{"name": "create", "path": "", "newObjName": "a", "newObjVal": {"b": {}}}])
    );
}

/// Who did what, how he called it, and why it is told: of what may be seen alone.
#[test]
fn an_event_says_nothing_of_hidden_parts_of_its_batch() {
    let value = json!({"a": {"x": 1, "h": {"s": 1}}});
    let mut watched = Watched::new(value, &[("", "*:4"), ("a/h", "dave:1")]);
    watched.watch("dave", "**");
    let told = watched.told_batch(
        "dave",
        "bob",
        json!([
            ["update", "a", {"x": 2, "h": {"s": 2}}, {"req": "open"}],
            ["updatePerms", "a/h", "carol", {"lvl": 2}, {"req": "hidden"}],
            ["update", "a/h/s", 3, {"req": "hidden"}],
            ["updatePerms", "a/h/s", "*", {"lvl": 1}, {"req": "hidden"}],
        ]),
    );
    assert_eq!(told, json!([{"name": "update", "path": "a", "value": {"x": 2}, "req": "open"}]));
}

#[test]
fn who_makes_what_may_be_seen_is_told_and_not_who_hides_something_in_it() {
    let mut watched = Watched::new(json!({"a": {"x": 1}}), &[("", "*:4")]);
    watched.watch("dave", "**");
    let told = watched.told_batch(
        "dave",
        "bob",
        json!([
            ["update", "new/b", {"x": 1}, {"req": "open"}],
            ["update", "new/b/s", 2, {"req": "hidden"}],
            ["updatePerms", "new/b/s", "*", {"lvl": 1}, {"req": "hidden"}],
        ]),
    );
    let value = json!({"b": {"x": 1}});
    assert_eq!(
        told,
        json!([{"name": "create", "path": "", "newObjName": "new", "newObjVal": value, "req": "open"}])
    );
    // Permissions that change nothing for him are no reason.
    let told = watched.told_batch(
        "dave",
        "bob",
        json!([["update", "a/x", 2], ["updatePerms", "a", "*", {"lvl": 2}]]),
    );
    assert_eq!(told, json!([{"name": "update", "path": "a", "value": {"x": 2}}]));
}

#[test]
fn each_change_of_permissions_is_told_for_itself() {
    let mut watched = Watched::new(json!({"a": 1}), &[("", "bob:4")]);
    watched.watch("bob", "a");
    let permit = |who: &str| json!(["updatePerms", "a", who, {"lvl": 2}]);
    let told = watched.told_batch("bob", "boss", json!([permit("carol"), permit("dave")]));
    let event =
        |who: &str| json!({"name": "updatePerms", "path": "a", "user": who, "perms": {"lvl": 2}});
    let mut first = event("carol");
    first["more"] = json!(true);
    assert_eq!(told, json!([first, event("dave")]));
}

#[test]
fn a_new_node_that_its_batch_permits_is_told_as_new() {
    let mut watched = Watched::new(json!({"a": {}}), &[("a", "bob:2")]);
    watched.watch("bob", "a/**");
    let told = watched.told_batch(
        "bob",
        "boss",
        json!([
            ["create", "a", "n", {"x": 1}], ["updatePerms", "a/n", "bob", {"lvl": 3}],
            ["update", "a/n/x", 2],
        ]),
    );
    assert_eq!(
        told,
        json!([{"name": "create", "path": "a", "newObjName": "n", "newObjVal": {"x": 2}}])
    );
}

#[test]
fn who_is_deleted_may_read_nothing_more_by_his_entries() {
    let mut watched = Watched::new(json!({"a": 1}), &[("a", "bob:2")]);
    watched.watch("bob", "a");
    let before = watched.world.state.clone();
    let delete = Operation::DeleteUser { user: user("bob"), keeps_home: true };
    watched.world.does("boss", delete).unwrap();
    assert_eq!(watched.since(&before, "bob")[0]["name"], json!("revoked"));
}

#[test]
fn a_session_has_so_many_subscriptions() {
    let mut watched = Watched::new(json!({}), &[]);
    watched.watch("bob", "a");
    let mut subscribe = |at: &str, session: &str| {
        let subscription = Subscription { pattern: pattern(at), filter: Filter::default() };
        let id = watched.subscriptions.subscribe(&session.into(), subscription, 1);
        id.map_err(|it| it.code())
    };
    assert_eq!(subscribe("a", "bob"), Ok(1), "it is there already");
    assert_eq!(subscribe("b", "bob"), Err("quota"));
    assert_eq!(subscribe("b", "carol"), Err("auth-required"));
}

#[test]
fn subscriptions_end_one_by_one_and_with_their_session() {
    let mut watched = Watched::new(json!({}), &[("", "*:2")]);
    let (first, _) = (watched.watch("bob", "a"), watched.watch("bob", "b"));
    let named =
        Filter { names: serde_json::from_value(json!(["create"])).unwrap(), ..Filter::default() };
    watched.watch_for("bob", "b", named.clone());
    let (subscriptions, bob) = (&mut watched.subscriptions, "bob".into());
    assert!(subscriptions.unsubscribe(&bob, first) && !subscriptions.unsubscribe(&bob, first));
    assert!(!subscriptions.unsubscribe(&"carol".into(), 2));
    assert_eq!(subscriptions.unsubscribe_all(&bob, &pattern("b"), named.names.as_ref()), 1);
    assert_eq!(subscriptions.unsubscribe_all(&bob, &pattern("b"), None), 1);
    watched.watch("bob", "c");
    watched.subscriptions.close(&"bob".into());
    assert!(watched.subscriptions.is_empty());
    assert_eq!(watched.told("bob", "boss", json!(["update", "c", 1])), json!([]));
}

#[test]
fn a_mirror_of_ten_thousand_is_told_of_one_place() {
    let mut watched = Watched::new(json!({}), &[("", "*:2")]);
    for number in 0..10_000 {
        watched.watch(&format!("bob#{number}"), &format!("n{number}/**"));
    }
    let before = watched.world.state.clone();
    watched.world.must("boss", json!(["update", "n77/x", 1]));
    let record = watched.world.records.last().unwrap();
    let told = deliver(&before, &watched.world.state, record, &watched.subscriptions);
    assert_eq!(told.len(), 1);
    let mut found = crate::subscription::Found::new();
    watched.subscriptions.near(&path("n77/x"), 0, &mut found);
    assert_eq!(found.len(), 1, "no other was looked at");
}

#[test]
fn a_sync_of_nothing_is_delete() {
    let event = Event::sync(vec![], 3, path("a"), None);
    assert_eq!(short(&event), json!({"subs": [], "name": "delete", "path": "a", "sync": true}));
}
