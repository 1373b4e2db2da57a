use std::{fmt, str::FromStr, sync::Arc};

/// The id of a peer: 5 to 128 bytes without `;`, space and control characters, and not one that is
/// made up here. A clone shares it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId(Arc<str>);

/// The name of a database: 1 to 128 bytes without control characters. A clone shares it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DbName(Arc<str>);

/// Some names: a name in which each `*` stands for anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(String);

/// The id of the one process of an AceBase cluster that decides over locks.
pub const MASTER: &str = "[master]";

/// Ids that begin so are made up for guests of Common TCP that are no peers.
const MADE_UP: &str = "ctcp:";

/// The longest name of either kind, in bytes.
const LONGEST: usize = 128;

/// AceBase's own ids are longer; below this is what somebody typed.
const SHORTEST_ID: usize = 5;

impl PeerId {
    /// Reads an id; `None` if it can't be one.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let is_bad = |it: char| it == ';' || it == ' ' || it.is_control();
        let has_length = (SHORTEST_ID..=LONGEST).contains(&text.len());
        let is_one = has_length && !text.contains(is_bad) && !text.starts_with(MADE_UP);
        is_one.then(|| Self(text.into()))
    }

    /// What stands for a guest that is no peer but sends something.
    #[must_use]
    pub fn of_guest(number: u64) -> Self {
        Self(format!("{MADE_UP}{number}").into())
    }

    /// The id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether there must be only one of it that lives.
    #[must_use]
    pub fn is_master(&self) -> bool {
        &*self.0 == MASTER
    }
}

impl DbName {
    /// Reads a name; `None` if it can't be one.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let has_length = (1..=LONGEST).contains(&text.len());
        (has_length && !text.contains(char::is_control)).then(|| Self(text.into()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for DbName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for PeerId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for DbName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Pattern {
    /// Whether `name` is one of those.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        let Some((first, rest)) = self.0.split_once('*') else { return self.0 == name };
        let Some(mut left) = name.strip_prefix(first) else { return false };
        let mut parts = rest.split('*').peekable();
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                return left.ends_with(part);
            }
            // The first place is the best: it leaves most for the parts behind it.
            let Some(at) = left.find(part) else { return false };
            left = &left[at + part.len()..];
        }
        true
    }
}

impl FromStr for Pattern {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "" => Err("a name, in which each `*` stands for anything"),
            text => Ok(Self(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_long_enough_and_fits_before_a_semicolon() {
        let longest = "x".repeat(128);
        let too_long = "x".repeat(129);
        for (id, is_one) in [
            ("[master]", true),
            ("kf2jl3k4j5", true),
            ("abcd", false),
            ("abcde", true),
            ("ääx", true),
            ("", false),
            ("a;bcdef", false),
            ("a bcdef", false),
            ("a\nbcdef", false),
            ("a\u{85}bcdef", false),
            ("ctcp:12", false),
            ("ctcp12", true),
            (&longest, true),
            (&too_long, false),
        ] {
            assert_eq!(PeerId::read(id).is_some(), is_one, "{id:?}");
        }
        let dbs = ["", "a", "my db", "a\nb", &longest, &too_long].map(DbName::read);
        assert_eq!(dbs.map(|it| it.is_some()), [false, true, true, false, true, false]);
        assert_eq!(PeerId::of_guest(7).as_str(), "ctcp:7");
    }

    #[test]
    fn a_star_stands_for_anything() {
        for (pattern, name, has) in [
            ("*", "", true),
            ("*", "any", true),
            ("mydb", "mydb", true),
            ("mydb", "mydb2", false),
            ("*_data", "mydb_data", true),
            ("*_data", "_data", true),
            ("*_data", "mydb_data2", false),
            ("my*", "mydb", true),
            ("my*", "yourdb", false),
            ("a*b*c", "abc", true),
            ("a*b*c", "a1b2b3c", true),
            ("a*b*c", "a1c", false),
            ("a*a", "a", false),
            ("ab*ba", "aba", false),
            ("**", "x", true),
        ] {
            assert_eq!(pattern.parse::<Pattern>().unwrap().has(name), has, "{pattern} {name}");
        }
        assert!("".parse::<Pattern>().is_err());
    }
}
