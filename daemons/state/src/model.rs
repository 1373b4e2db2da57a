//! For tests: the rules once more, slowly and plainly, and random commands for both.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// The path of a node.
pub(crate) type At = Vec<String>;

/// Values, entries and revisions side by side, each in the plainest form.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) value: Value,
    pub(crate) entries: BTreeMap<At, BTreeMap<String, (u8, bool)>>,
    pub(crate) revs: BTreeMap<At, u64>,
    pub(crate) rev: u64,
}

pub(crate) fn at(text: &str) -> At {
    text.split('/').filter(|it| !it.is_empty()).map(str::to_owned).collect()
}

fn index(step: &str) -> Option<usize> {
    step.parse::<usize>().ok().filter(|it| it.to_string() == step)
}

fn child<'a>(value: &'a Value, step: &str) -> Option<&'a Value> {
    match value {
        Value::Object(members) => members.get(step),
        Value::Array(elements) => elements.get(index(step)?),
        _ => None,
    }
}

fn child_mut<'a>(value: &'a mut Value, step: &str) -> Option<&'a mut Value> {
    match value {
        Value::Object(members) => members.get_mut(step),
        Value::Array(elements) => elements.get_mut(index(step)?),
        _ => None,
    }
}

fn merged(target: Option<Value>, patch: &Value) -> Value {
    let Value::Object(patch) = patch else { return patch.clone() };
    let mut members = match target {
        Some(Value::Object(members)) => members,
        _ => Map::new(),
    };
    for (key, patch) in patch {
        match patch {
            Value::Null => drop(members.shift_remove(key)),
            patch => {
                let value = merged(members.get(key).cloned(), patch);
                members.insert(key.clone(), value);
            }
        }
    }
    Value::Object(members)
}

impl Model {
    pub(crate) fn new(rev: u64) -> Self {
        let (entries, revs) = (BTreeMap::new(), BTreeMap::new());
        Self { value: json!({}), entries, revs, rev }
    }

    pub(crate) fn find(&self, at: &[String]) -> Option<&Value> {
        at.iter().try_fold(&self.value, |value, step| child(value, step))
    }

    pub(crate) fn level(&self, user: &str, at: &[String]) -> u8 {
        if user == "boss" {
            return 4;
        }
        let mut level = 1;
        for len in 0..=at.len() {
            let Some(entries) = self.entries.get(&at[..len]) else { continue };
            let all = entries.get("*").copied();
            let own = entries.get(user).copied();
            let chosen = if all.is_some_and(|it| it.1) { all } else { own.or(all) };
            if let Some((chosen, is_important)) = chosen {
                level = chosen;
                if is_important {
                    break;
                }
            }
        }
        level
    }

    pub(crate) fn readable(&self, user: &str, at: &[String]) -> Option<Value> {
        if self.level(user, at) < 2 {
            return None;
        }
        let Value::Object(members) = self.find(at)? else { return self.find(at).cloned() };
        let mut pruned = Map::new();
        for key in members.keys() {
            let below = [at, std::slice::from_ref(key)].concat();
            if let Some(value) = self.readable(user, &below) {
                pruned.insert(key.clone(), value);
            }
        }
        Some(Value::Object(pruned))
    }

    fn is_guarded(&self, user: &str, at: &[String], level: u8) -> bool {
        let mut below = self.entries.keys().filter(|it| it.len() > at.len() && it.starts_with(at));
        below.any(|it| self.level(user, it) < level)
    }

    fn is_in_array(&self, at: &[String]) -> bool {
        (0..at.len()).any(|len| self.find(&at[..len]).is_some_and(Value::is_array))
    }

    fn fits(&self, at: &[String]) -> bool {
        (0..at.len()).all(|len| match self.find(&at[..len]) {
            Some(Value::Array(elements)) => index(&at[len]).is_some_and(|it| it <= elements.len()),
            found => found.is_none_or(Value::is_object),
        })
    }

    /// Puts `value` at `at`; all that stands there then is of this revision.
    fn put(&mut self, at: &[String], value: Value) {
        let mut here = &mut self.value;
        for step in at {
            if let Value::Array(elements) = here
                && index(step) == Some(elements.len())
            {
                elements.push(json!({}));
            }
            if let Value::Object(members) = here {
                members.entry(step.clone()).or_insert(json!({}));
            }
            here = child_mut(here, step).unwrap();
        }
        *here = value;
        self.settle(at);
    }

    /// Drops what is known of nodes that are gone, and gives `at` this revision.
    fn settle(&mut self, at: &[String]) {
        let rev = self.rev;
        self.revs.retain(|it, _| !it.starts_with(at));
        let mut all = Vec::new();
        collect(&self.value, &mut Vec::new(), &mut all);
        for it in &all {
            if it.starts_with(at) || at.starts_with(it) {
                self.revs.insert(it.clone(), rev);
            }
        }
        self.revs.retain(|it, _| all.contains(it));
        let kept = self.clone();
        self.entries.retain(|it, _| kept.find(it).is_some() && !kept.is_in_array(it));
    }

    /// Does one command, or tells the code of its refusal.
    pub(crate) fn run(&mut self, user: &str, command: &Value) -> Result<(), &'static str> {
        let path = at(command[1].as_str().unwrap());
        match command[0].as_str().unwrap() {
            "create" => self.create(user, path, command[2].as_str().unwrap(), &command[3]),
            "update" => self.update(user, &path, &command[2]),
            "merge" => self.merge(user, &path, &command[2]),
            "delete" => self.delete(user, &path),
            "updatePerms" => self.permit(user, path, command[2].as_str().unwrap(), &command[3]),
            other => panic!("{other}"),
        }
    }

    fn needs(&self, user: &str, at: &[String], level: u8) -> Result<(), &'static str> {
        if self.level(user, at) < level { Err("denied") } else { Ok(()) }
    }

    fn create(
        &mut self,
        user: &str,
        parent: At,
        name: &str,
        value: &Value,
    ) -> Result<(), &'static str> {
        self.needs(user, &parent, 3)?;
        let at = [parent, vec![name.to_owned()]].concat();
        if !self.fits(&at) {
            return Err("not-container");
        }
        if self.find(&at).is_some() {
            return Err("exists");
        }
        self.put(&at, value.clone());
        if user != "boss" && user != "-" && !self.is_in_array(&at) {
            self.entries.insert(at, [(user.to_owned(), (4, false))].into());
        }
        Ok(())
    }

    fn update(&mut self, user: &str, at: &[String], value: &Value) -> Result<(), &'static str> {
        if at.is_empty() && !value.is_object() {
            return Err("bad-argument");
        }
        self.needs(user, at, 3)?;
        if self.is_guarded(user, at, 3) {
            return Err("denied");
        }
        if !self.fits(at) {
            return Err("not-container");
        }
        self.put(at, value.clone());
        Ok(())
    }

    fn merge(&mut self, user: &str, at: &[String], patch: &Value) -> Result<(), &'static str> {
        if !patch.is_object() {
            return Err("bad-argument");
        }
        self.needs(user, at, 3)?;
        if self.is_guarded(user, at, 3) {
            return Err("denied");
        }
        self.may_remove(user, at, patch)?;
        if !self.fits(at) {
            return Err("not-container");
        }
        let before = self.clone();
        let value = merged(self.find(at).cloned(), patch);
        self.put(at, value);
        // Members that the patch does not name keep their revision.
        for (it, rev) in before.revs {
            if it.starts_with(at) && self.revs.contains_key(&it) && !names(patch, &it[at.len()..]) {
                self.revs.insert(it, rev);
            }
        }
        Ok(())
    }

    fn may_remove(&self, user: &str, at: &[String], patch: &Value) -> Result<(), &'static str> {
        let (Some(Value::Object(_)), Value::Object(patch)) = (self.find(at), patch) else {
            return Ok(());
        };
        for (key, patch) in patch {
            let below = [at, std::slice::from_ref(key)].concat();
            if patch.is_null() && self.find(&below).is_some() {
                self.needs(user, &below, 4)?;
                if self.is_guarded(user, &below, 4) {
                    return Err("denied");
                }
            }
            self.may_remove(user, &below, patch)?;
        }
        Ok(())
    }

    fn delete(&mut self, user: &str, at: &[String]) -> Result<(), &'static str> {
        let Some((last, parent)) = at.split_last() else { return Err("bad-argument") };
        self.needs(user, at, 4)?;
        if self.is_guarded(user, at, 4) {
            return Err("denied");
        }
        if self.find(at).is_none() {
            return Err("not-found");
        }
        let mut revs = self.revs.clone();
        let holder = parent.iter().try_fold(&mut self.value, |it, step| child_mut(it, step));
        match holder {
            Some(Value::Object(members)) => drop(members.shift_remove(last)),
            Some(Value::Array(elements)) => {
                let gone = index(last).unwrap();
                elements.remove(gone);
                // Those behind it move up with their revisions.
                revs.retain(|it, _| !it.starts_with(at));
                let moved = |it: &At| match it.get(parent.len()).and_then(|it| index(it)) {
                    Some(own) if it.starts_with(parent) && own > gone => {
                        let mut it = it.clone();
                        it[parent.len()] = (own - 1).to_string();
                        it
                    }
                    _ => it.clone(),
                };
                revs = revs.iter().map(|(it, rev)| (moved(it), *rev)).collect();
            }
            _ => {}
        }
        self.settle(parent);
        for (it, rev) in revs {
            if self.revs.contains_key(&it) && it.len() > parent.len() && it.starts_with(parent) {
                self.revs.insert(it, rev);
            }
        }
        Ok(())
    }

    fn permit(&mut self, user: &str, at: At, who: &str, entry: &Value) -> Result<(), &'static str> {
        self.needs(user, &at, 4)?;
        if self.find(&at).is_none() {
            return Err("not-found");
        }
        if self.is_in_array(&at) {
            return Err("not-container");
        }
        let entries = self.entries.entry(at.clone()).or_default();
        match entry["lvl"].as_u64() {
            Some(level) => {
                let is_important = entry["!"] == true;
                entries.insert(who.to_owned(), (u8::try_from(level).unwrap(), is_important));
            }
            None => drop(entries.remove(who)),
        }
        if entries.is_empty() {
            self.entries.remove(&at);
        }
        Ok(())
    }

    /// Does commands as one, or nothing.
    pub(crate) fn commit(
        &mut self,
        user: &str,
        commands: &[Value],
    ) -> Result<(), (usize, &'static str)> {
        let mut next = self.clone();
        next.rev += 1;
        // What is wrong in itself is found before anything is tried.
        for (index, command) in commands.iter().enumerate() {
            if is_bad(command) {
                return Err((index, "bad-argument"));
            }
        }
        for (index, command) in commands.iter().enumerate() {
            next.run(user, command).map_err(|code| (index, code))?;
        }
        *self = next;
        Ok(())
    }
}

fn is_bad(command: &Value) -> bool {
    let is_root = command[1] == "";
    match command[0].as_str().unwrap() {
        "update" => is_root && !command[2].is_object(),
        "merge" => !command[2].is_object(),
        "delete" => is_root,
        _ => false,
    }
}

/// Whether a merge of `patch` sets what is at `below`.
fn names(patch: &Value, below: &[String]) -> bool {
    match (below.split_first(), patch) {
        (None, _) => true,
        (Some((step, rest)), Value::Object(members)) => {
            members.get(step).is_some_and(|it| names(it, rest))
        }
        // Replaced as a whole.
        _ => true,
    }
}

pub(crate) fn collect(value: &Value, here: &mut At, all: &mut Vec<At>) {
    all.push(here.clone());
    let mut below = |step: String, value: &Value| {
        here.push(step);
        collect(value, here, all);
        here.pop();
    };
    match value {
        Value::Object(members) => members.iter().for_each(|(key, it)| below(key.clone(), it)),
        Value::Array(elements) => {
            elements.iter().enumerate().for_each(|(at, it)| below(at.to_string(), it));
        }
        _ => {}
    }
}

/// Who acts; `-` is an anonymous session.
pub(crate) const USERS: &[&str] = &["boss", "bob", "carol", "-"];

/// Where something happens. Names that are indices too, so that objects and arrays meet.
pub(crate) const PATHS: &[&str] =
    &["", "a", "b", "a/a", "a/b", "b/0", "b/1", "a/0", "a/a/b", "a/b/a", "b/0/a", "a/a/b/0"];

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![Just(json!(null)), Just(json!(1)), Just(json!("x")), Just(json!({}))];
    leaf.prop_recursive(3, 8, 3, |inner| {
        let key = prop::sample::select(vec!["a", "b", "0"]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map(key, inner, 0..3)
                .prop_map(|it| it.into_iter().map(|(key, it)| (key.to_owned(), it)).collect()),
        ]
    })
}

fn place() -> impl Strategy<Value = &'static str> {
    prop::sample::select(PATHS)
}

fn entry() -> impl Strategy<Value = Value> {
    prop_oneof![
        1 => Just(Value::Null),
        4 => (1u8..5, prop::bool::weighted(0.2))
            .prop_map(|(level, it)| json!({"lvl": level, "!": it})),
    ]
}

/// A command in the words of the wire, with paths as text.
pub(crate) fn command() -> impl Strategy<Value = Value> {
    let name = prop::sample::select(vec!["a", "b", "0", "1"]);
    let who = prop::sample::select(vec!["bob", "carol", "*", "*"]);
    prop_oneof![
        3 => (place(), name, value()).prop_map(|(at, name, it)| json!(["create", at, name, it])),
        3 => (place(), value()).prop_map(|(at, it)| json!(["update", at, it])),
        2 => (place(), value()).prop_map(|(at, it)| json!(["merge", at, it])),
        2 => place().prop_map(|at| json!(["delete", at])),
        3 => (place(), who, entry())
            .prop_map(|(at, who, it)| json!(["updatePerms", at, who, it])),
    ]
}

/// Commands of one user, as one commit.
pub(crate) fn commit() -> impl Strategy<Value = (&'static str, Vec<Value>)> {
    let commands = prop_oneof![
        3 => prop::collection::vec(command(), 1..2),
        1 => prop::collection::vec(command(), 2..5),
    ];
    // ROOT most of the time, since whoever may do little changes little.
    let user = prop_oneof![3 => Just("boss"), 4 => prop::sample::select(USERS)];
    (user, commands)
}
