//! What users are called.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, de};

use crate::text::Text;

/// How long a name, or a part of a script's name, may be.
const LONGEST: usize = 64;

/// What a script user's name begins with; no ordinary name has a colon.
const SCRIPT: &str = "script:";

/// The name of a user: of a person or program, or `script:<owner>/<name>`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct UserName(Text);

/// Why a text is not the name of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a user's name is 1 to {LONGEST} of the letters A-Z, a-z, 0-9, `.`, `_` and `-`, \
     the first a letter or digit"
)]
pub struct NameError;

impl UserName {
    /// Checks that `text` may be a name.
    ///
    /// # Errors
    /// If it may not.
    pub fn new(text: &str) -> Result<Self, NameError> {
        let is_name = match text.strip_prefix(SCRIPT).map(|it| it.split_once('/')) {
            None => is_plain(text),
            Some(Some((owner, name))) => is_plain(owner) && is_plain(name),
            Some(None) => false,
        };
        if is_name { Ok(Self(text.into())) } else { Err(NameError) }
    }

    /// Whether this is a script and no person.
    pub fn is_script(&self) -> bool {
        self.as_str().starts_with(SCRIPT)
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

fn is_plain(text: &str) -> bool {
    let is_letter = |it: u8| it.is_ascii_alphanumeric();
    text.len() <= LONGEST
        && text.bytes().next().is_some_and(is_letter)
        && text.bytes().all(|it| is_letter(it) || b"._-".contains(&it))
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for UserName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(Text::deserialize(deserializer)?.as_str()).map_err(de::Error::custom)
    }
}

/// Which users: a name, or the beginning of names and `*`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NamePattern(String);

impl NamePattern {
    /// All names that `text` means; `script:*` means all scripts.
    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// Whether `name` is one of them.
    pub fn matches(&self, name: &UserName) -> bool {
        match self.0.strip_suffix('*') {
            Some(start) => name.as_str().starts_with(start),
            None => name.as_str() == self.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain_or_of_scripts() {
        for good in ["a", "A.b_c-9", "0", &"x".repeat(64), "script:ann/clock"] {
            assert!(UserName::new(good).is_ok(), "{good}");
        }
        let bad = ["", "*", "@a", "-a", "a b", "ä", "connection#1", "script:", "script:a"];
        for bad in bad.into_iter().chain(["script:a/", "script:/a", "script:a/b/c", "a/b"]) {
            assert!(UserName::new(bad).is_err(), "{bad}");
        }
        assert!(UserName::new(&"x".repeat(65)).is_err());
    }

    #[test]
    fn a_pattern_is_a_name_or_a_beginning() {
        let ann = UserName::new("ann").unwrap();
        let clock = UserName::new("script:ann/clock").unwrap();
        let matches = |pattern, name| NamePattern::new(pattern).matches(name);
        assert!(matches("*", &ann) && matches("ann", &ann) && matches("script:*", &clock));
        assert!(!matches("script:*", &ann) && !matches("an", &ann));
    }
}
