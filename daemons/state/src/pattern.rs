//! Which nodes a subscription is about.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::path::{DEPTH, Path, PathError, Segment, SegmentText};

/// A path in which a step may be any (`*`), and the end everything below (`**`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pattern {
    /// `None` is `*`.
    steps: Vec<Option<Segment>>,
    is_deep: bool,
}

impl Pattern {
    /// The pattern of these steps.
    ///
    /// # Errors
    /// If one is no segment, `**` stands before the end, or they are too many.
    pub fn of<'a>(steps: impl IntoIterator<Item = &'a str>) -> Result<Self, PathError> {
        let mut pattern = Self { steps: Vec::new(), is_deep: false };
        for step in steps {
            if pattern.is_deep {
                return Err(PathError::Middle);
            }
            match step {
                "**" => pattern.is_deep = true,
                "*" => pattern.steps.push(None),
                name => pattern.steps.push(Some(Segment::new(name)?)),
            }
        }
        if pattern.steps.len() > DEPTH { Err(PathError::Deep) } else { Ok(pattern) }
    }

    /// Its steps without `**`; `None` is any.
    pub fn steps(&self) -> &[Option<Segment>] {
        &self.steps
    }

    /// Whether it ends in `**`: everything at and below its steps.
    pub fn is_deep(&self) -> bool {
        self.is_deep
    }

    /// The part before the first wildcard.
    pub fn prefix(&self) -> Path {
        let literal: Vec<Segment> = self.steps.iter().map_while(Clone::clone).collect();
        Path::part(&literal)
    }

    /// Whether `path` is on the way to selected nodes, selected, or below one if it is deep.
    pub fn leads_along(&self, path: &[Segment]) -> bool {
        let is_short = path.len() <= self.steps.len() || self.is_deep;
        is_short && self.agrees(path)
    }

    /// Whether `path` and the pattern do not differ as far as both go.
    pub fn agrees(&self, path: &[Segment]) -> bool {
        let mut pairs = self.steps.iter().zip(path);
        pairs.all(|(step, segment)| step.as_ref().is_none_or(|it| it == segment))
    }
}

impl From<Path> for Pattern {
    fn from(path: Path) -> Self {
        Self { steps: path.iter().cloned().map(Some).collect(), is_deep: false }
    }
}

impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let steps = self.steps.iter().map(|it| it.as_ref().map_or("*", Segment::as_str));
        serializer.collect_seq(steps.chain(self.is_deep.then_some("**")))
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let steps: Vec<SegmentText> = Vec::deserialize(deserializer)?;
        Self::of(steps.iter().map(|it| it.0.as_str())).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fixture::{path, pattern};

    #[test]
    fn wildcards_are_one_step_anywhere_or_all_at_the_end() {
        let parsed: Pattern = serde_json::from_value(json!(["a", "*", 0, "**"])).unwrap();
        assert_eq!(parsed, pattern("a/*/0/**"));
        assert_eq!(serde_json::to_value(&parsed).unwrap(), json!(["a", "*", "0", "**"]));
        assert_eq!(parsed.prefix(), path("a"));
        assert_eq!(pattern("**").prefix(), Path::ROOT);
        assert_eq!(Pattern::of(["**", "a"]), Err(PathError::Middle));
        assert_eq!(Pattern::of(vec!["*"; 65]), Err(PathError::Deep));
    }

    #[test]
    fn a_pattern_leads_along_what_it_is_about() {
        let leads = |at: &str, it| pattern(at).leads_along(&path(it));
        assert!(leads("a/*/c", "a") && leads("a/*/c", "a/x") && leads("a/*/c", "a/x/c"));
        assert!(!leads("a/*/c", "a/x/d") && !leads("a/*/c", "a/x/c/d") && !leads("a/*", "b"));
        assert!(leads("a/**", "a/x/y") && leads("**", "") && !leads("a/**", "b/x"));
    }
}
