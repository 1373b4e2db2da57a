//! Whatever happens: everybody's mirror is exact, and nothing hidden is told.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::Watched;
use crate::{
    Filter, Mirror, Path, State, Subscription, Subscriptions, deliver,
    event::{Event, SubscriptionId},
    fixture::{World, actor, path, pattern},
    model::{self, Model},
};

/// Mirrors of several users at several prefixes.
struct Mirrors {
    subscriptions: Subscriptions,
    mirrors: BTreeMap<(String, SubscriptionId), (Path, Mirror)>,
}

const PREFIXES: &[&str] = &["", "a", "a/b", "b/0", "b/1", "a/a/b"];

impl Mirrors {
    fn new(state: &State) -> Self {
        let mut mirrors =
            Self { subscriptions: Subscriptions::default(), mirrors: BTreeMap::new() };
        for name in model::USERS {
            let actor = actor(name);
            mirrors.subscriptions.open(actor.session.clone().unwrap(), actor.user, None);
            for at in PREFIXES {
                mirrors.start(state, name, at);
            }
        }
        mirrors
    }

    /// Subscribes with the first `sync`.
    fn start(&mut self, state: &State, name: &str, at: &str) {
        let session = actor(name).session.unwrap();
        let pattern = pattern(&format!("{at}/**"));
        let subscription = Subscription { pattern, filter: Filter::default() };
        let id = self.subscriptions.subscribe(&session, subscription, 10).unwrap();
        let subject = self.subscriptions.subscriber(&session).unwrap().subject(state);
        let (mut mirror, path) = (Mirror::new(path(at)), path(at));
        let value = subject.readable(state.root(), &path);
        let sync = Event::sync(vec![id], state.revision(), path.clone(), value);
        mirror.apply(&sync).unwrap();
        self.mirrors.insert((name.to_owned(), id), (path, mirror));
    }

    fn take(&mut self, before: &State, world: &World) -> Result<(), TestCaseError> {
        let (after, record) = (&world.state, world.records.last().unwrap());
        for delivery in deliver(before, after, record, &self.subscriptions) {
            let name = String::from(delivery.session.clone());
            let last = delivery.events.len() - 1;
            for (at, event) in delivery.events.iter().enumerate() {
                prop_assert_eq!(event.has_more, at < last);
                for id in &event.subs {
                    let (_, mirror) = self.mirrors.get_mut(&(name.clone(), *id)).unwrap();
                    prop_assert!(mirror.apply(event).is_ok(), "{name} {id}: {event:?}");
                }
            }
            for id in delivery.ended {
                self.subscriptions.unsubscribe(&delivery.session, id);
                let (_, mirror) = self.mirrors.remove(&(name.clone(), id)).unwrap();
                prop_assert!(mirror.has_ended());
            }
        }
        Ok(())
    }

    fn check(&self, state: &State) -> Result<(), TestCaseError> {
        for ((name, id), (path, mirror)) in &self.mirrors {
            let subject = state.judge(&actor(name));
            let expected = subject.readable(state.root(), path).map(|it| Value::from(&it));
            let found = mirror.value().map(Value::from);
            prop_assert_eq!(found, expected, "{} {} at {:?}", name, id, path);
        }
        Ok(())
    }
}

fn check_model(world: &World, model: &Model) -> Result<(), TestCaseError> {
    prop_assert_eq!(world.value(), model.value.clone());
    let mut all = Vec::new();
    model::collect(&model.value, &mut Vec::new(), &mut all);
    for at in all {
        let here = Path::of(at.iter().map(String::as_str)).unwrap();
        let node = world.state.root().at(&here).unwrap();
        if !at.is_empty() {
            prop_assert_eq!(Some(&node.rev()), model.revs.get(&at), "rev of {:?}", at);
        }
        let entries: BTreeMap<String, (u8, bool)> = node
            .entries()
            .into_iter()
            .flat_map(|it| it.iter())
            .map(|(who, it)| (who.to_string(), (it.level.into(), it.is_important)))
            .collect();
        let expected = model.entries.get(&at).cloned().unwrap_or_default();
        prop_assert_eq!(entries, expected, "entries of {:?}", at);
    }
    prop_assert_eq!(world.state.root().totals().guarded, model.entries.len());
    for user in model::USERS {
        for at in model::PATHS {
            let found = world.subject(user).readable(world.state.root(), &path(at));
            let found = found.as_ref().map(Value::from);
            prop_assert_eq!(found, model.readable(user, &model::at(at)), "{} {}", user, at);
        }
    }
    Ok(())
}

proptest! {
    // `PROPTEST_CASES=10000` asks for more of them than the usual 256.
    /// Whatever is commanded, the state is what the rules say, and everybody who mirrors a part
    /// has exactly what he may read of it.
    #[test]
    fn the_state_is_as_the_rules_say_and_mirrors_are_exact(
        root in prop::collection::vec((prop::sample::select(vec!["*", "bob", "carol"]), 1u8..5), 0..3),
        commits in prop::collection::vec(model::commit(), 1..40),
    ) {
        let mut world = World::with(json!({}), &[]);
        let mut model = Model::new(world.state.revision());
        for (who, level) in root {
            world.permit("", &format!("{who}:{level}"));
            let command = json!(["updatePerms", "", who, {"lvl": level}]);
            model.commit("boss", &[command]).unwrap();
        }
        let mut mirrors = Mirrors::new(&world.state);
        for (user, commands) in commits {
            let before = world.state.clone();
            let said = json!([user, commands]).to_string();
            let expected = model.commit(user, &commands);
            let found = world.batch(user, json!(commands));
            let found = found.map_err(|it| (it.index.unwrap(), it.refusal.code()));
            prop_assert_eq!(found.as_ref().map(drop), expected.as_ref().map(drop), "{}", said);
            let Ok(commit) = found else { continue };
            prop_assert_eq!(commit.rev, model.rev);
            prop_assert_eq!(format!("{:?}", commit.after), format!("{:?}", world.state));
            check_model(&world, &model)?;
            mirrors.take(&before, &world)?;
            mirrors.check(&world.state)?;
        }
    }

    /// Somebody who may not read a path is told the same whatever happens there, also in the same
    /// commit with what he may see.
    #[test]
    fn nothing_hidden_is_told(
        commits in prop::collection::vec(
            (model::commit(), prop::collection::vec((model::command(), any::<bool>()), 0..4)),
            1..20,
        ),
    ) {
        // Below `h` only ROOT may read; what is done there differs, all else is the same.
        let entries = [("", "*:2"), ("h", "*:1!")];
        let watched = || {
            let mut watched = Watched::new(json!({"h": {"a": 1}}), &entries);
            for at in ["**", "*", "*/*", "h/**", "h/a", "a/**"] {
                watched.watch("dave", at);
            }
            watched
        };
        let (mut one, mut other) = (watched(), watched());
        for ((_, open), hidden) in commits {
            let open: Vec<Value> = open.into_iter().filter_map(|it| called(it, "open")).collect();
            let mut mixed = open.clone();
            // Deleting or permitting `h` itself is no secret.
            for (mut command, is_first) in hidden {
                let Some(at) = command[1].as_str().filter(|it| !it.is_empty()) else { continue };
                command[1] = json!(format!("h/{at}"));
                let Some(command) = called(command, "hidden") else { continue };
                mixed.insert(if is_first { 0 } else { mixed.len() }, command);
            }
            let (before, same) = (one.world.state.clone(), other.world.state.clone());
            // What is done there may not be possible; then all is left alone.
            let trial = one.world.clone();
            if mixed.is_empty() || one.world.batch("boss", json!(mixed)).is_err() {
                one.world = trial;
                continue;
            }
            if open.is_empty() {
                prop_assert_eq!(one.since(&before, "dave"), json!([]), "{:?}", mixed);
                continue;
            }
            other.world.batch("boss", json!(open)).unwrap();
            let (told, same) = (one.since(&before, "dave"), other.since(&same, "dave"));
            prop_assert_eq!(told, same, "{:?}", mixed);
            for at in ["", "h", "h/a", "h/a/b", "h/x"] {
                prop_assert_eq!(one.world.get("dave", at), other.world.get("dave", at));
            }
        }
    }
}

/// The command under a name that comes back with its events; not one of the root, which has `h`.
fn called(mut command: Value, req: &str) -> Option<Value> {
    if command[1] == "" && command[0] != "create" {
        return None;
    }
    command.as_array_mut()?.push(json!({ "req": req }));
    Some(command)
}
