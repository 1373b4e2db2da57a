//! Names of daemons, patterns over them, and what somebody who mistyped one may have meant.

use std::{
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
    str::FromStr,
    sync::Arc,
};

/// The longest name, in bytes: with `.json` or `.sock` behind it, it must still be a short file
/// name.
const LONGEST: usize = 64;

/// What no daemon may be called: the manager itself, and the pattern for everybody.
const RESERVED: [&str; 2] = ["Dae", "all"];

/// More than three suggestions is a list to read, not a hint.
const SUGGESTIONS: usize = 3;

/// What a daemon is called: `[A-Za-z][A-Za-z0-9_-]{0,63}`.
///
/// Equality, order and hash ignore case, display keeps it; so two `Name`s that are equal may be
/// shown differently, and files are named after the one in the registry. Cloning is cheap.
#[derive(Clone)]
pub struct Name(Arc<str>);

impl Name {
    /// Checks `text` and makes it a name.
    ///
    /// # Errors
    /// [`NameError`] says which rule `text` breaks.
    pub fn new(text: &str) -> Result<Self, NameError> {
        let given = || text.to_owned();
        let Some(first) = text.chars().next() else { return Err(NameError::Empty) };
        if text.len() > LONGEST {
            return Err(NameError::TooLong { given: given(), length: text.len() });
        }
        if !first.is_ascii_alphabetic() {
            return Err(NameError::Start { given: given(), found: first });
        }
        if let Some(found) = text.chars().find(|&it| !is_letter(it)) {
            return Err(NameError::Letter { given: given(), found });
        }
        if RESERVED.iter().any(|it| it.eq_ignore_ascii_case(text)) {
            return Err(NameError::Reserved { given: given() });
        }
        Ok(Self(text.into()))
    }

    /// The name as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn letters(&self) -> impl Iterator<Item = u8> {
        self.0.bytes().map(|it| it.to_ascii_lowercase())
    }
}

fn is_letter(it: char) -> bool {
    it.is_ascii_alphanumeric() || it == '_' || it == '-'
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for Name {}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Name {
    fn cmp(&self, other: &Self) -> Ordering {
        self.letters().cmp(other.letters())
    }
}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.letters().for_each(|it| it.hash(state));
        self.0.len().hash(state);
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.0)
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::new(text)
    }
}

/// Why a text is not a name of a daemon.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum NameError {
    #[error("a name is needed, got nothing")]
    Empty,

    #[error("`{given}` is no name: at most {LONGEST} characters, got {length}")]
    TooLong { given: String, length: usize },

    #[error("`{given}` is no name: it must begin with a letter (A-Z, a-z), got `{}`", .found.escape_debug())]
    Start { given: String, found: char },

    #[error("`{given}` is no name: only letters, digits, `_` and `-` are allowed, got `{}`", .found.escape_debug())]
    Letter { given: String, found: char },

    #[error("`{given}` is reserved: `Dae` is the manager, `all` means every daemon")]
    Reserved { given: String },
}

/// Which daemons a command means: a name, `all`, or a text with `*` (any letters) and `?` (one
/// letter).
///
/// Ignores case. A plain name need not be one that may be installed: `Dae` is a pattern like any
/// other, which matches no installed daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// Checks that `text` could match a name at all.
    ///
    /// # Errors
    /// [`PatternError`] if it is empty or holds a character that is in no name.
    pub fn new(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        match text.chars().find(|&it| !is_letter(it) && it != '*' && it != '?') {
            Some(found) => Err(PatternError::Letter { given: text.to_owned(), found }),
            None => Ok(Self(text.to_owned())),
        }
    }

    /// The pattern as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it names one daemon only, so that a hint for a mistyped name makes sense.
    pub fn is_plain(&self) -> bool {
        !self.is_all() && !self.0.contains(['*', '?'])
    }

    /// Whether `name` is meant. Takes any text, since foreign daemons call themselves what they
    /// like.
    pub fn matches(&self, name: &str) -> bool {
        self.is_all() || glob(self.0.as_bytes(), name.as_bytes())
    }

    fn is_all(&self) -> bool {
        self.0.eq_ignore_ascii_case("all")
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        Self::new(text)
    }
}

/// Why a text is no pattern for names.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum PatternError {
    #[error("a name or a pattern such as `sam*` is needed, got nothing")]
    Empty,

    #[error("`{given}` can match no name: only letters, digits, `_`, `-`, `*` and `?` are allowed, got `{}`", .found.escape_debug())]
    Letter { given: String, found: char },
}

/// One pass with one place to come back to, so that no pattern takes more than length × length
/// steps.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(&it) if it == b'?' || it.eq_ignore_ascii_case(&text[t]) => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((back, from)) = star else { return false };
                star = Some((back, from + 1));
                p = back + 1;
                t = from + 1;
            }
        }
    }
    pattern[p..].iter().all(|&it| it == b'*')
}

/// The texts of `among` that somebody who wrote `wanted` may have meant, nearest first, at most
/// three: two slips of the finger away, or the same letters in another order, case ignored.
pub fn nearest<'a>(wanted: &str, among: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let wanted = wanted.to_lowercase();
    let mut near: Vec<_> = among
        .into_iter()
        .filter_map(|it| Some((slips(&wanted, &it.to_lowercase())?, it)))
        .collect();
    near.sort();
    near.into_iter().map(|(_, it)| it).take(SUGGESTIONS).collect()
}

/// Words whose lengths differ by more bytes are different ones: a slip is one letter, of at most
/// four bytes.
const SLIPS_BYTES: usize = 8;

/// How far `other` is from `wanted`, or nothing if it is a different word.
fn slips(wanted: &str, other: &str) -> Option<usize> {
    // Anybody may ask for a name of a megabyte, and to compare it takes seconds.
    if wanted.len().abs_diff(other.len()) > SLIPS_BYTES {
        return None;
    }
    let distance = edits(wanted, other);
    let near = distance <= 2 && distance < wanted.chars().count();
    (near || sorted(wanted) == sorted(other)).then_some(distance)
}

fn sorted(text: &str) -> Vec<char> {
    let mut letters: Vec<_> = text.chars().collect();
    letters.sort_unstable();
    letters
}

/// The edit distance: letters to insert, to remove or to replace.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<_> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &right) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(left != right);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    #[test]
    fn a_name_begins_with_a_letter_and_has_at_most_64_characters() {
        for good in ["a", "Sample", "sample-2", "S_", &"x".repeat(64)] {
            assert_eq!(name(good).to_string(), good);
        }
        let refused = |text: &str| Name::new(text).unwrap_err().to_string();
        assert_eq!(refused(""), "a name is needed, got nothing");
        assert_eq!(
            refused("2nd"),
            "`2nd` is no name: it must begin with a letter (A-Z, a-z), got `2`"
        );
        assert!(refused("a/b").ends_with("`_` and `-` are allowed, got `/`"));
        assert!(refused("a\n").ends_with("got `\\n`"));
        assert!(refused("ä").contains("begin with a letter"));
        assert!(refused(&"x".repeat(65)).ends_with("at most 64 characters, got 65"));
        assert!(refused("ALL").contains("reserved") && refused("dae").contains("reserved"));
    }

    #[test]
    fn names_that_differ_in_case_only_are_one() {
        let both: HashSet<_> = [name("Sample"), name("sAMPLE")].into();
        assert_eq!(both.len(), 1);
        assert_eq!(name("Sample").cmp(&name("sample")), Ordering::Equal);
        assert!(name("a") < name("B") && name("B") < name("c"));
        assert_eq!(name("Sample").to_string(), "Sample");
    }

    #[test]
    fn a_pattern_matches_as_a_shell_would() {
        let matches = |pattern: &str, name: &str| Pattern::new(pattern).unwrap().matches(name);
        for (pattern, hit, miss) in [
            ("sam*", "Sample", "xsample"),
            ("SAMPLE", "sample", "sample2"),
            ("*", "x", ""),
            ("*-?", "state-1", "state-12"),
            ("a*b*c", "aXbYbZc", "aXbYb"),
            ("s?te", "Site", "Ste"),
        ] {
            assert!(matches(pattern, hit), "{pattern} {hit}");
            assert!(!matches(pattern, miss) || pattern == "*", "{pattern} {miss}");
        }
        assert!(matches("All", "Whatever"));
        assert!(matches("dae", "Dae"));
        assert!(Pattern::new("a b").unwrap_err().to_string().ends_with("got ` `"));
        assert!(Pattern::new("").is_err());
        assert!(Pattern::new("Sample").unwrap().is_plain());
        assert!(!Pattern::new("all").unwrap().is_plain());
    }

    #[test]
    fn a_mistyped_name_is_recognised() {
        let known = ["Sample", "State", "Scripts", "Relay"];
        assert_eq!(nearest("Sampel", known), ["Sample"]);
        assert_eq!(nearest("elpmas", known), ["Sample"]);
        assert_eq!(nearest("stat", known), ["State"]);
        assert_eq!(nearest("tasks", known), [""; 0]);
        assert_eq!(nearest("x", ["y"]), [""; 0], "one letter replaced is another word");
        assert_eq!(nearest("ab", ["ab1", "ab2", "ab3", "ab4"]).len(), 3);
    }

    #[test]
    fn a_megabyte_is_not_compared_letter_by_letter() {
        let known: Vec<_> = (0..10_000).map(|it| format!("{it}{}", "x".repeat(60))).collect();
        // Letter by letter these would be 600 billion steps.
        assert_eq!(nearest(&"x".repeat(1 << 20), known.iter().map(String::as_str)), [""; 0]);
    }
}
