//! Who may do what at one node.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{level::Level, name::UserName, text::Text};

/// Whom an [`Entry`] is for. Written as `*` or as the name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// Everybody, anonymous sessions too.
    Everybody,
    /// This user.
    User(UserName),
}

impl Who {
    /// The user, if it is one.
    pub fn user(&self) -> Option<&UserName> {
        match self {
            Self::Everybody => None,
            Self::User(name) => Some(name),
        }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everybody => f.write_str("*"),
            Self::User(name) => name.fmt(f),
        }
    }
}

impl Serialize for Who {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Who {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Text::deserialize(deserializer)?.as_str() {
            "*" => Ok(Self::Everybody),
            name => UserName::new(name).map(Self::User).map_err(de::Error::custom),
        }
    }
}

/// What somebody may do at a node and below it, until a deeper entry says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// How much.
    #[serde(rename = "lvl")]
    pub level: Level,
    /// Nothing deeper is asked.
    #[serde(rename = "!", default, skip_serializing_if = "std::ops::Not::not")]
    pub is_important: bool,
}

/// All entries of one node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Entries(BTreeMap<Who, Entry>);

impl Entries {
    /// The one that speaks for `user`, or for an anonymous session.
    pub fn choose(&self, user: Option<&UserName>) -> Option<Entry> {
        let everybody = self.0.get(&Who::Everybody).copied();
        if everybody.is_some_and(|it| it.is_important) {
            return everybody;
        }
        let own = user.and_then(|it| self.0.get(&Who::User(it.clone())).copied());
        own.or(everybody)
    }

    /// The entry of exactly this one.
    pub fn get(&self, who: &Who) -> Option<Entry> {
        self.0.get(who).copied()
    }

    /// Sets or removes the entry of `who`.
    pub fn set(&mut self, who: Who, entry: Option<Entry>) {
        match entry {
            Some(entry) => self.0.insert(who, entry),
            None => self.0.remove(&who),
        };
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&Who, &Entry)> {
        self.0.iter()
    }
}

impl FromIterator<(Who, Entry)> for Entries {
    fn from_iter<I: IntoIterator<Item = (Who, Entry)>>(entries: I) -> Self {
        Self(entries.into_iter().collect())
    }
}
