//! Changes of the tree: what they leave, and what they do not touch.

use serde_json::{Value, json};

use super::*;
use crate::{level::Level, path::Path};

fn node(value: Value) -> Node {
    Node::try_from(&value).unwrap()
}

fn path(text: &str) -> Path {
    Path::of(text.split('/').filter(|it| !it.is_empty())).unwrap()
}

fn value(node: &Node) -> Value {
    node.into()
}

fn everybody(level: Level) -> Option<Entry> {
    Some(Entry { level, is_important: false })
}

/// The paths of all nodes that carry entries.
fn guarded(node: &Node, at: &str, found: &mut Vec<String>) {
    if node.entries().is_some() {
        found.push(at.to_owned());
    }
    if let Kind::Object(members) = node.kind() {
        members.iter().for_each(|it| guarded(it.node(), &format!("{at}/{}", it.key()), found));
    }
}

#[test]
fn putting_makes_parents_and_leaves_the_old_tree_alone() {
    let before = node(json!({"a": {"b": 1}, "l": [1]}));
    let mut after = before.clone();
    after.put(&path("a/c/d"), &node(json!(2)), 7).unwrap();
    after.put(&path("l/1"), &node(json!(2)), 8).unwrap();
    after.put(&path("l/0"), &node(json!(0)), 8).unwrap();
    assert_eq!(value(&after), json!({"a": {"b": 1, "c": {"d": 2}}, "l": [0, 2]}));
    assert_eq!(value(&before), json!({"a": {"b": 1}, "l": [1]}));
    let rev = |at| after.at(&path(at)).unwrap().rev();
    assert_eq!(["", "a", "a/b", "a/c", "a/c/d", "l"].map(rev), [8, 7, 0, 7, 7, 8]);
}

#[test]
fn what_is_no_container_holds_nothing() {
    let mut tree = node(json!({"s": 1, "l": [1]}));
    for at in ["s/x", "s/x/y", "l/2", "l/x", "l/01", "l/0/x"] {
        let put = tree.put(&path(at), &node(json!(1)), 1);
        assert_eq!(put, Err(Misfit::NotContainer), "{at}");
    }
    assert_eq!(tree.rev(), 0);
}

#[test]
fn taking_out_of_an_array_closes_the_gap() {
    let mut tree = node(json!({"l": [1, 2, 3], "o": {"a": 1}}));
    tree.take(&path("l/1"), 2).unwrap();
    tree.take(&path("o/a"), 3).unwrap();
    assert_eq!(value(&tree), json!({"l": [1, 3], "o": {}}));
    for at in ["", "l/2", "l/x", "o/a", "o/a/b"] {
        assert_eq!(tree.take(&path(at), 4), Err(Misfit::Absent), "{at}");
    }
    assert_eq!(tree.rev(), 3);
}

/// The examples of RFC 7396, appendix A, that an object as target and patch can have.
#[test]
fn merging_is_that_of_rfc_7396() {
    let cases = [
        (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
        (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
        (json!({"a": "b"}), json!({"a": null}), json!({})),
        (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
        (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
        (json!({"a": "c"}), json!({"a": ["b"]}), json!({"a": ["b"]})),
        (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
        (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
        (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
        (json!([1, 2]), json!({"a": "b", "c": null}), json!({"a": "b"})),
        (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
    ];
    for (target, patch, expected) in cases {
        let mut tree = node(json!({"at": target}));
        tree.merge(&path("at"), &node(patch.clone()), 1).unwrap();
        assert_eq!(value(&tree), json!({"at": expected}), "{target} + {patch}");
    }
}

#[test]
fn entries_stay_with_what_stays() {
    let mut tree = node(json!({"a": {"b": 1, "c": {"d": 1}, "l": {"0": 1}}}));
    for at in ["", "a", "a/b", "a/c", "a/c/d", "a/l/0"] {
        tree.permit(&path(at), &Who::Everybody, everybody(Level::Viewer)).unwrap();
    }
    tree.put(&path("a"), &node(json!({"b": [1], "c": 1, "l": [1]})), 1).unwrap();
    let found = |tree: &Node| {
        let mut found = Vec::new();
        guarded(tree, "", &mut found);
        found
    };
    assert_eq!(found(&tree), ["", "/a", "/a/b", "/a/c"]);
    assert_eq!(tree.totals().guarded, 4);
    tree.take(&path("a"), 2).unwrap();
    tree.put(&path("a/b"), &node(json!(1)), 3).unwrap();
    assert_eq!(found(&tree), [""], "what comes again comes without entries");
}

#[test]
fn merging_keeps_entries_of_what_it_does_not_remove() {
    let mut tree = node(json!({"a": {"b": 1, "c": 1, "d": 1}}));
    for at in ["a", "a/b", "a/c", "a/d"] {
        tree.permit(&path(at), &Who::Everybody, everybody(Level::Viewer)).unwrap();
    }
    tree.merge(&path("a"), &node(json!({"b": {"x": 1}, "c": null})), 1).unwrap();
    let mut found = Vec::new();
    guarded(&tree, "", &mut found);
    assert_eq!(found, ["/a", "/a/b", "/a/d"]);
}

#[test]
fn entries_need_a_member_of_an_object() {
    let mut tree = node(json!({"l": [{"a": 1}]}));
    let permit =
        |tree: &mut Node, at| tree.permit(&path(at), &Who::Everybody, everybody(Level::Owner));
    assert_eq!(permit(&mut tree, "l"), Ok(()));
    assert_eq!(permit(&mut tree, "l/0"), Err(Misfit::InArray));
    assert_eq!(permit(&mut tree, "l/0/a"), Err(Misfit::InArray));
    assert_eq!(permit(&mut tree, "x"), Err(Misfit::Absent));
}

#[test]
fn a_forgotten_user_has_no_entries_anywhere() {
    let mut tree = node(json!({"a": {"b": 1}, "c": 1}));
    let bob = UserName::new("bob").unwrap();
    for at in ["", "a/b"] {
        tree.permit(&path(at), &Who::User(bob.clone()), everybody(Level::Owner)).unwrap();
    }
    tree.permit(&path("a/b"), &Who::Everybody, everybody(Level::Viewer)).unwrap();
    tree.forget(&bob);
    let mut found = Vec::new();
    guarded(&tree, "", &mut found);
    assert_eq!(found, ["/a/b"]);
    assert_eq!(tree.at(&path("a/b")).unwrap().entries().unwrap().len(), 1);
}
