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
    let change = |proven: Option<&str>| {
        let (password, proven) = (Secret::new("new"), proven.map(Secret::new));
        Operation::ChangePassword { user: user("bob"), password, proven }
    };
    assert_eq!(code(&world, "bob", change(None)), "denied");
    assert_eq!(code(&world, "carol", change(Some("hash of bob"))), "denied");
    assert_eq!(code(&world, "boss", change(None)), "ok");
    assert_eq!(code(&world, "bob", change(Some("hash before"))), "bad-credentials");
    world.does("bob", change(Some("hash of bob"))).unwrap();
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
fn a_limited_token_is_limited_in_all_that_it_does() {
    let mut world = World::with(json!({"a": 1, "b": 1}), &[("", "bob:4")]);
    for at in ["a", "b"] {
        world.must("bob", json!(["gc", at, [{"on": "event", "name": "tidy"}]]));
    }
    let cap = |at: &str, level| Some(Cap { path: path(at), level });
    let bob = |cap| Actor { cap, ..actor("bob") };
    let ask = |who: &Actor, command| {
        let result = world.ask(who, &Request::one(step(command), 0));
        result.map_or_else(|it| it.refusal.code(), |_| "ok")
    };
    let within = bob(cap("a", Level::Owner));
    assert_eq!(ask(&within, json!(["ungc", 1])), "ok");
    assert_eq!(ask(&within, json!(["ungc", 2])), "not-found");
    assert_eq!(ask(&bob(cap("a", Level::Editor)), json!(["ungc", 1])), "not-found");
    assert_eq!(ask(&within, json!(["emit", "carol", "hello", 1])), "denied");
    assert_eq!(ask(&bob(None), json!(["emit", "carol", "hello", 1])), "ok");
    let service = Some(Service { acting_as: vec![NamePattern::new("bob")], ..Service::default() });
    let runner = Actor { service, cap: cap("a", Level::Editor), ..actor("erin") };
    assert_eq!(ask(&runner, json!(["update", "a", 2, {"as": "bob"}])), "ok");
    assert_eq!(ask(&runner, json!(["delete", "a", {"as": "bob"}])), "denied");
    assert_eq!(ask(&runner, json!(["update", "b", 2, {"as": "bob"}])), "denied");
}

#[test]
fn a_service_has_no_more_of_accounts_than_those_it_serves_even_if_root_made_it_for_himself() {
    let mut world = World::new();
    let script = "script:ann/x";
    let serves = vec![NamePattern::new("script:*"), NamePattern::new("bo*")];
    let service = Some(Service { service: serves, acting_as: vec![] });
    let runner = Actor { service: service.clone(), ..actor("boss") };
    let delete = |name: &str| Operation::DeleteUser { user: user(name), keeps_home: true };
    let cases = [
        (new_user(script, Rank::Program), "ok"),
        (new_user("bo", Rank::Root), "denied"),
        (new_user("cy", Rank::User), "denied"),
        (new_token("t", token(script)), "ok"),
        (new_token("u", Token { service: service.clone(), ..token(script) }), "denied"),
        (new_token("v", token("boss")), "denied"),
        (new_token("w", token("carol")), "denied"),
        (new_token("x", token("bob")), "ok"),
        (Operation::RevokeToken { id: "t".to_owned() }, "ok"),
        (delete("boss"), "denied"),
        (delete("bore"), "denied"),
        (new_token("y", token("bore")), "denied"),
        (delete("bob"), "ok"),
        (delete("carol"), "denied"),
        (delete(script), "ok"),
    ];
    world.account("bore", Rank::Root);
    for (operation, expected) in cases {
        let said = format!("{operation:?}");
        let result = world.commit(&runner, &Request::one(operation, 0));
        assert_eq!(result.map_or_else(|it| it.refusal.code(), |_| "ok"), expected, "{said}");
    }
    // Its token stays when whoever made it takes another password.
    world.does("boss", new_token("service", Token { service, ..token("boss") })).unwrap();
    world.does("boss", new_token("own", token("boss"))).unwrap();
    let (password, proven) = (Secret::new("new"), None);
    let change = Operation::ChangePassword { user: user("boss"), password, proven };
    world.does("boss", change).unwrap();
    let left: Vec<_> = world.state.tokens().map(|it| it.0.as_str()).collect();
    assert_eq!(left, ["service"]);
}

#[test]
fn a_user_has_so_many_tokens() {
    let mut world = World::new();
    world.limits.tokens = 2;
    world.does("bob", new_token("1", token("bob"))).unwrap();
    let expires = Some(world.now + 5);
    world.does("bob", new_token("2", Token { expires, ..token("bob") })).unwrap();
    assert_eq!(code(&world, "bob", new_token("3", token("bob"))), "quota");
    assert_eq!(code(&world, "carol", new_token("3", token("carol"))), "ok");
    world.now += 5;
    assert_eq!(code(&world, "bob", new_token("3", token("bob"))), "ok");
}

#[test]
fn who_registers_himself_gets_no_home_that_somebody_left() {
    let mut world = World::new();
    world.limits.self_register = true;
    world.account("zoe", Rank::User);
    world.must("zoe", json!(["update", "users/zoe/a", 1]));
    world.does("zoe", Operation::DeleteUser { user: user("zoe"), keeps_home: true }).unwrap();
    assert_eq!(code(&world, "-", new_user("zoe", Rank::User)), "exists");
    assert_eq!(code(&world, "boss", new_user("zoe", Rank::User)), "ok");
    assert_eq!(code(&world, "-", new_user("new", Rank::User)), "ok");
}

#[test]
fn hashes_are_shown_to_nobody() {
    let mut world = World::new();
    world.does("bob", new_token("t", token("bob"))).unwrap();
    let shown = format!("{:?} {:?}", world.state, world.records);
    assert!(!shown.contains("hash of"), "{shown}");
}
