//! The worked examples and the properties of permissions, against a slow and plain reading.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::entry::{Entry, Who};

/// A path that is written `a/b`; empty is the root.
fn path(text: &str) -> Path {
    Path::of(text.split('/').filter(|it| !it.is_empty())).unwrap()
}

fn subject(name: &str) -> Subject {
    Subject::user(UserName::new(name).unwrap())
}

/// An entry that is written `bob:4!`, at a path.
fn permit(root: &mut Node, at: &str, entry: &str) {
    let (who, level) = entry.split_once(':').unwrap();
    let who: Who = serde_json::from_value(json!(who)).unwrap();
    let is_important = level.ends_with('!');
    let level = Level::try_from(level.trim_end_matches('!').parse::<u8>().unwrap()).unwrap();
    root.permit(&path(at), &who, Some(Entry { level, is_important })).unwrap();
}

fn tree(value: Value, entries: &[(&str, &str)]) -> Node {
    let mut root = Node::try_from(&value).unwrap();
    entries.iter().for_each(|(at, entry)| permit(&mut root, at, entry));
    root
}

/// Number, entries, user, path, level.
type Example = (u8, &'static [(&'static str, &'static str)], &'static str, &'static str, u8);

const EXAMPLES: &[Example] = &[
    (1, &[], "bob", "x", 1),
    (2, &[("", "*:2")], "bob", "x/y", 2),
    (3, &[("", "*:2"), ("x", "bob:3")], "bob", "x/y", 3),
    (4, &[("x", "bob:4"), ("x/y", "*:1")], "bob", "x/y", 1),
    (5, &[("x", "*:4"), ("x", "bob:1")], "bob", "x", 1),
    (6, &[("x", "*:1!"), ("x/y", "bob:4")], "bob", "x/y", 1),
    (7, &[("x", "*:1!"), ("x", "bob:4")], "bob", "x", 1),
    (8, &[("x", "bob:4!"), ("x/y", "bob:1")], "bob", "x/y", 4),
    (9, &[("x/y", "carol:4")], "bob", "x", 1),
    (9, &[("x/y", "carol:4")], "bob", "x/y", 1),
    (10, &[("x", "bob:3"), ("x", "erin:3"), ("x/n", "bob:4")], "bob", "x/n", 4),
    (10, &[("x", "bob:3"), ("x", "erin:3"), ("x/n", "bob:4")], "erin", "x/n", 3),
    (10, &[("x", "bob:3"), ("x", "erin:3"), ("x/n", "bob:4")], "dave", "x/n", 1),
];

#[test]
fn the_worked_examples_hold() {
    for (number, entries, user, at, level) in EXAMPLES {
        let root = tree(json!({"x": {"y": 1, "n": {"v": 1}}}), entries);
        let found = subject(user).level(&root, &path(at));
        assert_eq!(u8::from(found), *level, "example {number}: {entries:?} {user} {at}");
    }
}

#[test]
fn root_owns_everything_and_an_absent_path_has_the_level_of_its_way() {
    let root = tree(json!({"x": {}}), &[("", "*:1!"), ("x", "bob:3")]);
    let boss = Subject { is_root: true, ..subject("boss") };
    assert_eq!(boss.level(&root, &path("x/absent")), Level::Owner);
    let root = tree(json!({"x": {}}), &[("x", "bob:3")]);
    assert_eq!(subject("bob").level(&root, &path("x/absent/deep")), Level::Editor);
    assert_eq!(Subject::anonymous().level(&root, &path("x")), Level::None);
}

#[test]
fn a_cap_takes_away_and_gives_nothing() {
    let root = tree(json!({"x": {"y": {"z": 1}}}), &[("", "*:2"), ("x", "bob:4")]);
    let cap = Cap { path: path("x/y"), level: Level::Editor };
    let bob = Subject { cap: Some(cap), ..subject("bob") };
    let levels = ["", "x", "x/y", "x/y/z", "other"].map(|it| u8::from(bob.level(&root, &path(it))));
    assert_eq!(levels, [1, 1, 3, 3, 1]);
    let eve = Subject { cap: bob.cap, ..subject("eve") };
    assert_eq!(eve.level(&root, &path("x/y")), Level::Viewer);
}

#[test]
fn what_may_not_be_read_is_left_out_with_all_below_it() {
    let value = json!({"a": 1, "hidden": {"shown": 1}, "b": {"c": 2, "d": 3}});
    let entries = [("", "*:2"), ("hidden", "*:1"), ("hidden/shown", "*:2"), ("b/c", "*:1")];
    let root = tree(value.clone(), &entries);
    let read = |who: &Subject, at| who.readable(&root, &path(at)).map(|it| Value::from(&it));
    let bob = subject("bob");
    assert_eq!(read(&bob, ""), Some(json!({"a": 1, "b": {"d": 3}})));
    // Asked for by itself it may be read: only its place in what contains it is not told.
    assert_eq!(read(&bob, "hidden/shown"), Some(json!(1)));
    assert_eq!(read(&bob, "hidden"), None);
    assert!(
        !bob.sees(&root, 0, &path("hidden/shown")) && bob.sees(&root, 2, &path("hidden/shown"))
    );
    assert_eq!(read(&Subject { is_root: true, ..bob }, ""), Some(value));
}

#[test]
fn what_lies_below_guards_what_is_above() {
    let root = tree(
        json!({"doc": {"a": {"b": 1}, "secret": 1}}),
        &[("doc", "carol:3"), ("doc/secret", "carol:1"), ("doc/a/b", "dave:4")],
    );
    let passes = |who: &str, at, level| subject(who).passes_guard(&root, &path(at), level);
    assert!(!passes("carol", "doc", Level::Editor));
    assert!(passes("carol", "doc/a", Level::Editor));
    assert!(!passes("carol", "doc/a", Level::Owner));
    assert!(passes("carol", "doc/absent", Level::Owner));
}

#[test]
fn one_guarded_member_among_many_is_found_without_a_walk() {
    let members = (0..100_000).map(|it| (format!("k{it}"), json!(it)));
    let value = Value::Object(members.collect());
    let root = tree(value, &[("", "*:2"), ("k777", "*:1")]);
    let before = root.totals().nodes;
    let pruned = subject("bob").readable(&root, &[]).unwrap();
    assert_eq!(pruned.totals().nodes, before - 1);
}

/// Section by section as it is written: the slow way.
fn level_as_written(root: &Node, user: &str, at: &[Segment]) -> Level {
    let mut level = Level::None;
    for depth in 0..=at.len() {
        let Some(entries) = root.at(&at[..depth]).and_then(Node::entries) else { continue };
        let own = entries.get(&Who::User(UserName::new(user).unwrap()));
        let all = entries.get(&Who::Everybody);
        let chosen = match (all, own) {
            (Some(all), _) if all.is_important => Some(all),
            (_, Some(own)) => Some(own),
            (all, None) => all,
        };
        if let Some(chosen) = chosen {
            level = chosen.level;
            if chosen.is_important {
                break;
            }
        }
    }
    level
}

fn pruned_as_written(root: &Node, user: &str, at: &mut Vec<Segment>) -> Option<Value> {
    if level_as_written(root, user, at) < Level::Viewer {
        return None;
    }
    let Kind::Object(members) = root.at(at)?.kind() else { return root.at(at).map(Value::from) };
    let mut object = serde_json::Map::new();
    for member in members.iter() {
        at.push(member.key().clone());
        if let Some(value) = pruned_as_written(root, user, at) {
            object.insert(member.key().as_str().to_owned(), value);
        }
        at.pop();
    }
    Some(Value::Object(object))
}

fn guarded_as_written(root: &Node, user: &str, at: &mut Vec<Segment>, level: Level) -> bool {
    let Some(Kind::Object(members)) = root.at(at).map(Node::kind) else { return true };
    members.iter().all(|member| {
        at.push(member.key().clone());
        let passes = (member.node().entries().is_none()
            || level_as_written(root, user, at) >= level)
            && guarded_as_written(root, user, at, level);
        at.pop();
        passes
    })
}

proptest! {
    /// However entries lie, level, pruning and guard are what the rules say.
    #[test]
    fn walks_say_what_the_rules_say(
        entries in prop::collection::vec(
            (prop::sample::select(vec!["", "a", "b", "a/a", "a/b", "a/b/c"]),
             prop::sample::select(vec!["*", "bob", "eve"]), 1u8..5, any::<bool>()),
            0..8,
        ),
        at in prop::sample::select(vec!["", "a", "b", "a/b", "a/b/c", "a/b/c/d", "no"]),
    ) {
        let mut root = tree(json!({"a": {"a": 1, "b": {"c": {"d": 1}}}, "b": [1]}), &[]);
        for (place, who, level, is_important) in entries {
            let mark = if is_important { "!" } else { "" };
            permit(&mut root, place, &format!("{who}:{level}{mark}"));
        }
        let (bob, mut at) = (subject("bob"), path(at).to_vec());
        prop_assert_eq!(bob.level(&root, &at), level_as_written(&root, "bob", &at));
        let readable = bob.readable(&root, &at).map(|it| Value::from(&it));
        prop_assert_eq!(readable, pruned_as_written(&root, "bob", &mut at));
        for level in [Level::Editor, Level::Owner] {
            let passes = guarded_as_written(&root, "bob", &mut at, level);
            prop_assert_eq!(bob.passes_guard(&root, &at, level), passes);
        }
        for prefix in 0..=at.len() {
            let sees = (prefix..=at.len())
                .all(|it| level_as_written(&root, "bob", &at[..it]) >= Level::Viewer);
            prop_assert_eq!(bob.sees(&root, prefix, &at), sees);
        }
    }
}
