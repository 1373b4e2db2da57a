//! The save file of a leilo-backend, as changes.
//!
//! One object: the tree, and beside it levels in `__usr`, entries in `__permissions` (a tree of the
//! same shape, where the entries of a node are below `__permissions` again), hashes of passwords in
//! `passwordHashes`, and what only its process knew. It was written by `circular-json`: a text that
//! begins with `~` refers to another place, and a `~` in a text is written `\x7e`.

use std::{collections::BTreeMap, fmt, io::Read, sync::Arc};

use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess},
};
use serde_json::{Number, Value};

use crate::{
    account::Secret,
    entry::{Entry, Who},
    export::parts,
    level::{Level, Rank},
    name::UserName,
    node::{Kind, Member, Node},
    path::{Path, Segment},
    record::Change,
    text::Text,
    tree::is_in_array,
};

/// What a file holds.
#[derive(Debug, Default)]
pub struct Leilo {
    /// In an order in which they can be done.
    pub changes: Vec<Change>,
    /// Users that were connections, or deleted, and are no more.
    pub dropped_users: usize,
    /// Entries of users and at places that are no more.
    pub dropped_entries: usize,
}

/// Why a file can't be taken.
#[derive(Debug, thiserror::Error)]
pub enum LeiloError {
    /// It is no such file, or has something that the tree can't hold.
    #[error("cannot read it")]
    Read(#[from] serde_json::Error),
    /// Somebody is called or ranked as nobody here may be, or has another kind of hash.
    #[error("user `{user}`: {why}")]
    User {
        /// Who.
        user: String,
        /// What is wrong.
        why: String,
    },
    /// An entry that is none here.
    #[error("the entry of `{user}` at {path:?}: {why}")]
    Entry {
        /// Where.
        path: Vec<String>,
        /// Whose.
        user: String,
        /// What is wrong.
        why: String,
    },
}

const ENTRIES: &str = "__permissions";
const LEVELS: &str = "__usr";
const HASHES: &str = "passwordHashes";

/// What only its process knew.
const PASSING: [&str; 4] = ["serverVersion", "version", "saveTimer", "sandboxes"];

/// How it called what was connected.
const CONNECTION: &str = "connection#";

/// Reads a file.
///
/// # Errors
/// Why it can't be taken, with where that is.
pub fn read(from: impl Read) -> Result<Leilo, LeiloError> {
    let File { root, entries, levels, hashes } = serde_json::from_reader(from)?;
    let mut leilo = Leilo::default();
    let users = leilo.take_users(&levels, &hashes)?;
    let each = &mut |it| {
        leilo.changes.push(it);
        Ok::<_, LeiloError>(())
    };
    parts(&Path::ROOT, &root, each)?;
    leilo.take_entries(&root, &users, &entries, &mut Vec::new())?;
    Ok(leilo)
}

impl Leilo {
    fn take_users(
        &mut self,
        levels: &BTreeMap<String, Value>,
        hashes: &BTreeMap<String, Option<Hash>>,
    ) -> Result<BTreeMap<String, UserName>, LeiloError> {
        let mut users = BTreeMap::new();
        let names: std::collections::BTreeSet<_> = levels.keys().chain(hashes.keys()).collect();
        for name in names {
            let hash = hashes.get(name).and_then(Option::as_ref);
            let wrong = |why: String| LeiloError::User { user: name.clone(), why };
            let is_connection = name.starts_with(CONNECTION);
            let rank = match levels.get(name) {
                _ if is_connection => Rank::Connection,
                None => Rank::User,
                Some(level) => {
                    Rank::deserialize(level).map_err(|it| wrong(format!("{level}: {it}")))?
                }
            };
            // Who was deleted has lost the hash and kept the level.
            if is_connection || hash.is_none() && rank != Rank::Program {
                self.dropped_users += 1;
                continue;
            }
            let user = UserName::new(name).map_err(|it| wrong(it.to_string()))?;
            let password = match hash.map(|it| &it.password_hash) {
                Some(hash) if !is_legacy(hash) => {
                    return Err(wrong("the hash of the password is of no known kind".to_owned()));
                }
                hash => hash.map(Secret::new),
            };
            users.insert(name.clone(), user.clone());
            let account = Change::Account { user, rank, password, is_new_password: false };
            self.changes.push(account);
        }
        Ok(users)
    }

    fn take_entries(
        &mut self,
        root: &Node,
        users: &BTreeMap<String, UserName>,
        entries: &Entries,
        at: &mut Vec<String>,
    ) -> Result<(), LeiloError> {
        let path = Path::of(at.iter().map(String::as_str)).ok();
        let path = path.filter(|it| root.at(it).is_some() && !is_in_array(root, it));
        for (name, entry) in &entries.own {
            let who = match name.as_str() {
                "*" => Some(Who::Everybody),
                name => users.get(name).cloned().map(Who::User),
            };
            let (Some(who), Some(path)) = (who, &path) else {
                self.dropped_entries += 1;
                continue;
            };
            let entry = read_entry(entry).map_err(|it| LeiloError::Entry {
                path: at.clone(),
                user: name.clone(),
                why: format!("{entry}: {it}"),
            })?;
            self.changes.push(Change::Permit { path: path.clone(), who, entry: Some(entry) });
        }
        for (step, below) in &entries.below {
            at.push(step.clone());
            self.take_entries(root, users, below, at)?;
            at.pop();
        }
        Ok(())
    }
}

/// Whether `hash` is what its module `password-hash` makes: `sha1$salt$rounds$digest`.
pub fn is_legacy(hash: &str) -> bool {
    let parts: Vec<&str> = hash.split('$').collect();
    let [kind, _, rounds, digest] = parts[..] else { return false };
    let is_hex = digest.len() == 40 && digest.bytes().all(|it| it.is_ascii_hexdigit());
    kind == "sha1" && rounds.parse::<u32>().is_ok_and(|it| (1..=100_000).contains(&it)) && is_hex
}

/// A bare level, or a level and whether it is important.
fn read_entry(entry: &Value) -> Result<Entry, serde_json::Error> {
    match entry {
        Value::Number(_) => {
            Level::deserialize(entry).map(|level| Entry { level, is_important: false })
        }
        entry => Entry::deserialize(entry),
    }
}

/// The file, taken apart as it is read.
struct File {
    root: Node,
    entries: Entries,
    levels: BTreeMap<String, Value>,
    hashes: BTreeMap<String, Option<Hash>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Hash {
    password_hash: String,
}

/// The entries of a node, by user, and those below it.
#[derive(Default)]
struct Entries {
    own: BTreeMap<String, Value>,
    below: BTreeMap<String, Self>,
}

impl<'de> Deserialize<'de> for File {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = File;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the save file of a leilo-backend, an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<File, A::Error> {
                let (mut entries, mut levels, mut hashes) = Default::default();
                let mut members = Vec::new();
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        ENTRIES => entries = map.next_value()?,
                        LEVELS => levels = map.next_value()?,
                        HASHES => hashes = map.next_value()?,
                        key if PASSING.contains(&key) => drop(map.next_value::<IgnoredAny>()?),
                        _ => members.push(member(&mut map, key, &mut Vec::new())?),
                    }
                }
                Ok(File { root: Node::of_members(members), entries, levels, hashes })
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("entries by the keys of the tree")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut entries = Entries::default();
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        ENTRIES => entries.own = map.next_value()?,
                        _ => drop(entries.below.insert(key, map.next_value()?)),
                    }
                }
                Ok(entries)
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

/// The member `key` at `at`, whose value comes next.
fn member<'de, A: MapAccess<'de>>(
    map: &mut A,
    key: String,
    at: &mut Vec<String>,
) -> Result<Member, A::Error> {
    at.push(key);
    let last = at.last().map(String::as_str).unwrap_or_default();
    let key = Segment::new(last).map_err(|it| at_place(at, it))?;
    let node = map.next_value_seed(Place(at))?;
    at.pop();
    Ok(Member { key, node })
}

fn at_place<E: de::Error>(at: &[String], why: impl fmt::Display) -> E {
    E::custom(format!("at {at:?}: {why}"))
}

/// A value of the tree, which knows where it is.
struct Place<'a>(&'a mut Vec<String>);

impl<'de> DeserializeSeed<'de> for Place<'_> {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> de::Visitor<'de> for Place<'_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Kind::Null.into())
    }

    fn visit_bool<E>(self, it: bool) -> Result<Node, E> {
        Ok(Kind::Bool(it).into())
    }

    fn visit_i64<E>(self, it: i64) -> Result<Node, E> {
        Ok(Kind::Number(it.into()).into())
    }

    fn visit_u64<E>(self, it: u64) -> Result<Node, E> {
        Ok(Kind::Number(it.into()).into())
    }

    fn visit_f64<E: de::Error>(self, it: f64) -> Result<Node, E> {
        let number = Number::from_f64(it).ok_or_else(|| at_place(self.0, "no finite number"))?;
        Ok(Kind::Number(number).into())
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Node, E> {
        if text.starts_with('~') {
            return Err(at_place(self.0, "this refers to another place, which no tree can hold"));
        }
        let parts = text.split(r"\\x7e").map(|it| it.replace(r"\x7e", "~"));
        let text = parts.collect::<Vec<_>>().join(r"\x7e");
        Ok(Kind::Text(Text::from(text.as_str())).into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
        let mut elements: Vec<Node> = Vec::new();
        loop {
            self.0.push(elements.len().to_string());
            let element = seq.next_element_seed(Place(self.0))?;
            self.0.pop();
            match element {
                Some(element) => elements.push(element),
                None => return Ok(Kind::Array(Arc::new(elements.into_iter().collect())).into()),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut members = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            members.push(member(&mut map, key, self.0)?);
        }
        Ok(Node::of_members(members))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{State, fixture::path, import::Import};

    const HASH: &str = "sha1$37dea33b$1$0ca2d75849f2731a8248054702a5f4e7d00abc22";

    fn saved() -> Value {
        json!({
            "serverVersion": "1.2.3",
            "saveTimer": {"_idlePrev": "~saveTimer"},
            "sandboxes": {"leilo": {"interface": {}}},
            "__usr": {"leilo": 0, "sunny": 1, "gone": 1, "connection#7": 3, "a-script": 2},
            "passwordHashes": {
                "leilo": {"passwordHash": HASH}, "sunny": {"passwordHash": HASH}, "old": null
            },
            "users": {"sunny": {"scripts": {}, "at": "10 \\x7e 12, \\\\x7e"}},
            "doc": [1, {"deep": -2.5}, null],
            "__permissions": {
                "__permissions": {"*": {"lvl": 2}},
                "users": {"sunny": {"__permissions": {"sunny": {"lvl": 3}, "leilo": 4}}},
                "doc": {
                    "__permissions": {"sunny": {"lvl": 4, "!": true}, "gone": 4},
                    "0": {"__permissions": {"sunny": 4}}
                },
                "deleted": {"__permissions": {"sunny": 4}}
            }
        })
    }

    fn imported(saved: &Value) -> Result<(State, Leilo), String> {
        let leilo = read(saved.to_string().as_bytes()).map_err(|it| match &it {
            LeiloError::Read(why) => why.to_string(),
            _ => it.to_string(),
        })?;
        let mut import = Import::new(&State::default(), Path::ROOT, 1).unwrap();
        for change in leilo.changes.clone() {
            import.take(change).map_err(|it| it.to_string())?;
        }
        Ok((import.state().clone(), leilo))
    }

    #[test]
    fn tree_entries_levels_and_hashes_come_over() {
        let (state, leilo) = imported(&saved()).unwrap();
        let expected = json!({
            "users": {"sunny": {"scripts": {}, "at": "10 ~ 12, \\x7e"}},
            "doc": [1, {"deep": -2.5}, null],
        });
        assert!(state.root().is_same(&Node::try_from(&expected).unwrap()));
        let accounts: Vec<_> = state
            .accounts()
            .map(|(user, it)| (user.to_string(), it.rank, it.password.is_some()))
            .collect();
        let expected = [
            ("a-script", Rank::Program, false),
            ("leilo", Rank::Root, true),
            ("sunny", Rank::User, true),
        ];
        assert_eq!(accounts, expected.map(|(name, rank, has)| (name.to_owned(), rank, has)));
        let entries = |at| serde_json::to_value(state.root().at(&path(at)).unwrap().entries());
        assert_eq!(entries("").unwrap(), json!({"*": {"lvl": 2}}));
        assert_eq!(entries("doc").unwrap(), json!({"sunny": {"lvl": 4, "!": true}}));
        let home = json!({"leilo": {"lvl": 4}, "sunny": {"lvl": 3}});
        assert_eq!(entries("users/sunny").unwrap(), home);
        assert_eq!((leilo.dropped_users, leilo.dropped_entries), (3, 3));
    }

    #[test]
    fn what_does_not_fit_is_refused_with_its_place() {
        let with = |change: &dyn Fn(&mut Value)| {
            let mut saved = saved();
            change(&mut saved);
            imported(&saved).map(|_| ()).unwrap_err()
        };
        let said = with(&|it| it["doc"] = json!([{"a": {"*": 1}}]));
        assert!(said.contains(r#"at ["doc", "0", "a", "*"]"#), "{said}");
        let said = with(&|it| it["users"]["sunny"]["loop"] = json!("~users~sunny"));
        assert!(said.contains(r#"at ["users", "sunny", "loop"]: this refers"#), "{said}");
        let said = with(&|it| it["__usr"]["sunny"] = json!(7));
        assert!(said.contains("user `sunny`: 7"), "{said}");
        let said = with(&|it| it["passwordHashes"]["sunny"]["passwordHash"] = json!("md5$a$1$b"));
        assert!(said.contains("user `sunny`: the hash"), "{said}");
        let said = with(&|it| it["passwordHashes"]["a b"] = json!({"passwordHash": HASH}));
        assert!(said.contains("user `a b`"), "{said}");
        let entry = |it: &mut Value| it["__permissions"]["doc"]["__permissions"]["*"] = json!("x");
        let said = with(&entry);
        assert!(said.contains(r#"the entry of `*` at ["doc"]"#), "{said}");
        assert!(imported(&json!([1])).is_err());
    }

    #[test]
    fn a_legacy_hash_is_known_by_its_form() {
        assert!(is_legacy(HASH));
        for hash in ["", "sha1$a$1", "sha1$a$0$0ca2d75849f2731a8248054702a5f4e7d00abc22"] {
            assert!(!is_legacy(hash), "{hash}");
        }
        assert!(!is_legacy("$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA"));
        assert!(!is_legacy(&HASH.replace("$1$", "$4294967295$")));
    }
}
