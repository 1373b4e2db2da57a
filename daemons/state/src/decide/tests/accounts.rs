//! Accounts, tokens and services: who may make, change and remove them.

use serde_json::json;

use super::*;
use crate::{account::Token, actor::Service, name::NamePattern, permission::Cap};

fn new_user(name: &str, rank: Rank) -> Operation {
    let password = (!name.starts_with("script:")).then(|| Secret::new("hash of a token"));
    Operation::CreateUser { user: user(name), password, rank }
}

fn code(world: &World, who: &str, operation: Operation) -> &'static str {
    world.would(who, operation).map_or_else(|it| it.refusal.code(), |_| "ok")
}

#[test]
fn accounts_are_made_by_root_or_by_themselves_where_that_is_allowed() {
    let mut world = World::new();
    assert_eq!(code(&world, "boss", new_user("new", Rank::Root)), "ok");
    assert_eq!(code(&world, "boss", new_user("bob", Rank::User)), "exists");
    assert_eq!(code(&world, "bob", new_user("new", Rank::User)), "denied");
    assert_eq!(code(&world, "bob", new_user("carol", Rank::User)), "denied", "not even: exists");
    assert_eq!(code(&world, "-", new_user("new", Rank::User)), "auth-required");
    assert_eq!(code(&world, "boss", new_user("new", Rank::Connection)), "bad-argument");
    assert_eq!(code(&world, "boss", new_user("script:a/b", Rank::User)), "bad-argument");
    let bare = Operation::CreateUser { user: user("new"), password: None, rank: Rank::User };
    assert_eq!(code(&world, "boss", bare), "bad-argument");
    world.limits.self_register = true;
    assert_eq!(code(&world, "-", new_user("new", Rank::User)), "ok");
    assert_eq!(code(&world, "-", new_user("new", Rank::Root)), "denied");
    assert_eq!(code(&world, "-", new_user("script:a/b", Rank::Program)), "denied");
}

#[test]
fn a_home_comes_and_goes_with_its_account() {
    let mut world = World::new();
    world.account("zoe", Rank::User);
    assert_eq!(world.get("zoe", "users/zoe"), json!({}));
    assert_eq!(world.get("bob", "users/zoe"), "denied");
    world.must("zoe", json!(["update", "users/zoe/a", 1]));
    assert_eq!(world.code("zoe", json!(["delete", "users/zoe"])), "denied");
    world.must("boss", json!(["updatePerms", "", "zoe", {"lvl": 2}]));
    let delete = |keeps_home| Operation::DeleteUser { user: user("zoe"), keeps_home };
    let mut kept = world.clone();
    world.does("zoe", delete(false)).unwrap();
    assert_eq!(world.value(), json!({"users": {}}));
    assert_eq!(world.state.root().totals().guarded, 0);
    kept.does("zoe", delete(true)).unwrap();
    assert_eq!(kept.value(), json!({"users": {"zoe": {"a": 1}}}));
    assert_eq!(kept.state.root().totals().guarded, 0, "nobody has entries any more");
    kept.account("zoe", Rank::User);
    assert_eq!(kept.get("zoe", "users/zoe"), json!({"a": 1}));
}

#[test]
fn the_last_root_stays() {
    let mut world = World::new();
    let demote = |name: &str| Operation::UpdateUserLevel { user: user(name), rank: Rank::User };
    let delete = |name: &str| Operation::DeleteUser { user: user(name), keeps_home: false };
    assert_eq!(code(&world, "boss", demote("boss")), "conflict");
    assert_eq!(code(&world, "boss", delete("boss")), "conflict");
    world.account("other", Rank::Root);
    assert_eq!(code(&world, "boss", demote("boss")), "ok");
    assert_eq!(code(&world, "boss", delete("boss")), "ok");
    assert_eq!(code(&world, "bob", demote("bob")), "denied");
    assert_eq!(code(&world, "bob", delete("carol")), "denied");
    assert_eq!(code(&world, "bob", delete("nobody")), "denied");
    assert_eq!(code(&world, "boss", delete("nobody")), "no-such-user");
}

fn hash(world: &World) -> &str {
    world.state.account(&user("bob")).unwrap().password.as_ref().unwrap().reveal()
}

fn token(name: &str) -> Token {
    let (hash, user) = (Secret::new("hash of a token"), user(name));
    let (path, level, expires, service) = (None, None, None, None);
    Token { hash, user, path, level, expires, service, is_own: false }
}

fn new_token(id: &str, token: Token) -> Operation {
    Operation::CreateToken { id: id.to_owned(), token }
}

#[test]
fn tokens_are_made_for_oneself_and_go_with_the_password() {
    let mut world = World::new();
    let service = Some(Service::default());
    assert_eq!(code(&world, "bob", new_token("t", token("bob"))), "ok");
    assert_eq!(code(&world, "bob", new_token("t", token("carol"))), "denied");
    assert_eq!(code(&world, "bob", new_token("t", Token { service, ..token("bob") })), "denied");
    let expires = Some(world.now);
    world.does("boss", new_token("old", Token { expires, ..token("bob") })).unwrap();
    world.does("boss", new_token("by-root", token("bob"))).unwrap();
    assert!(world.state.token(&"old".to_owned()).is_none(), "expired ones are cleared away");
    world.does("bob", new_token("own", token("bob"))).unwrap();
    assert_eq!(code(&world, "bob", new_token("own", token("bob"))), "exists");
    let revoke = |id: &str| Operation::RevokeToken { id: id.to_owned() };
    assert_eq!(code(&world, "carol", revoke("own")), "not-found", "as if there were none");
    assert_eq!(code(&world, "bob", revoke("own")), "ok");
    let change = |is_proven| {
        let password = Secret::new("new");
        Operation::ChangePassword { user: user("bob"), password, is_proven }
    };
    assert_eq!(code(&world, "bob", change(false)), "denied");
    assert_eq!(code(&world, "carol", change(true)), "denied");
    assert_eq!(code(&world, "boss", change(false)), "ok");
    world.does("bob", change(true)).unwrap();
    let left: Vec<_> = world.state.tokens().map(|it| it.0.as_str()).collect();
    assert_eq!(left, ["by-root"]);
    let rehash = |from: &str| Operation::Rehash {
        user: user("bob"),
        from: Secret::new(from),
        to: Secret::new("better"),
    };
    assert_eq!(code(&world, "boss", rehash("new")), "denied");
    world.does("", rehash("other")).unwrap();
    assert_eq!(hash(&world), "new");
    world.does("", rehash("new")).unwrap();
    assert_eq!(hash(&world), "better");
    assert_eq!(world.state.tokens().count(), 1);
}

#[test]
fn a_limited_token_opens_no_account() {
    let world = World::with(json!({"a": 1}), &[("", "bob:4")]);
    let limited = |name: &str| {
        let cap = Some(Cap { path: path("a"), level: Level::Owner });
        Actor { cap, ..actor(name) }
    };
    let ask = |who: &str, operation: Operation| {
        let result = world.ask(&limited(who), &Request::one(operation, 0));
        result.map_or_else(|it| it.refusal.code(), |_| "ok")
    };
    assert_eq!(ask("bob", new_token("t", token("bob"))), "denied");
    assert_eq!(ask("boss", new_user("new", Rank::User)), "denied");
    assert_eq!(ask("bob", Operation::DeleteUser { user: user("bob"), keeps_home: true }), "denied");
    assert_eq!(ask("bob", step(json!(["update", "a", 2])).operation), "ok");
    assert_eq!(ask("bob", step(json!(["update", "b", 2])).operation), "denied");
    assert_eq!(ask("boss", step(json!(["update", "b", 2])).operation), "denied");
}

#[test]
fn a_service_acts_for_those_that_it_is_for() {
    let mut world = World::with(json!({"a": 1}), &[("a", "bob:3"), ("a", "carol:2")]);
    let service = Service {
        service: vec![NamePattern::new("script:*")],
        acting_as: vec![NamePattern::new("bob"), NamePattern::new("carol"), NamePattern::new("x")],
    };
    let runner = Actor { service: Some(service), ..actor("erin") };
    let mut ask = |step: Step| match world.commit(&runner, &Request::one(step, 0)) {
        Ok(commit) => commit.record.map_or("ok", |it| {
            it.acts[0].src.as_ref().map_or(
                "-",
                |it| {
                    if *it == user("bob") { "bob" } else { "erin" }
                },
            )
        }),
        Err(failure) => failure.refusal.code(),
    };
    let update = |name: &str| step(json!(["update", "a", 2, {"as": name}]));
    assert_eq!(ask(update("bob")), "bob");
    assert_eq!(ask(update("carol")), "denied");
    assert_eq!(ask(update("dave")), "denied");
    assert_eq!(ask(update("x")), "no-such-user");
    assert_eq!(ask(step(json!(["update", "a", 2]))), "denied");
    assert_eq!(ask(new_user("script:bob/clock", Rank::Program).into()), "erin");
    assert_eq!(ask(new_user("new", Rank::User).into()), "denied");
    let delete = |name: &str| Operation::DeleteUser { user: user(name), keeps_home: false };
    assert_eq!(ask(delete("bob").into()), "denied");
    assert_eq!(ask(delete("script:bob/clock").into()), "erin");
    assert!(world.code("bob", json!(["update", "a", 2, {"as": "carol"}])) == "denied");
}

#[test]
fn hashes_are_shown_to_nobody() {
    let mut world = World::new();
    world.does("bob", new_token("t", token("bob"))).unwrap();
    let shown = format!("{:?} {:?}", world.state, world.records);
    assert!(!shown.contains("hash of"), "{shown}");
}
