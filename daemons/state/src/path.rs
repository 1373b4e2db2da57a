//! Where something is in the tree.

use std::{fmt, ops::Deref};

use serde::{Deserialize, Deserializer, Serialize, de};

use crate::text::Text;

/// The deepest that a node may lie.
pub const DEPTH: usize = 64;

/// The longest segment, in bytes: it is a name, not a text.
const LONGEST: usize = 256;

/// One step of a [`Path`]: the name of a member, or the index of an element in decimal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Segment(Text);

/// Why something is not a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// A segment without a letter.
    #[error("a segment is empty")]
    Empty,
    /// A segment of more than 256 bytes.
    #[error("a segment is longer than {LONGEST} bytes")]
    Long,
    /// A code point below U+0020.
    #[error("a segment has a control character")]
    Control,
    /// `*`, `**` or `__proto__`.
    #[error("`*`, `**` and `__proto__` are no segments of a path")]
    Reserved,
    /// More than 64 segments.
    #[error("deeper than {DEPTH}")]
    Deep,
    /// `**` before the end of a pattern.
    #[error("`**` stands only at the end of a pattern")]
    Middle,
}

impl Segment {
    /// Checks that `text` may be a segment.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(text: &str) -> Result<Self, PathError> {
        Self::check(text).map(|()| Self(text.into()))
    }

    fn check(text: &str) -> Result<(), PathError> {
        match text {
            "" => Err(PathError::Empty),
            "*" | "**" | "__proto__" => Err(PathError::Reserved),
            _ if text.len() > LONGEST => Err(PathError::Long),
            _ if text.bytes().any(|it| it < 0x20) => Err(PathError::Control),
            _ => Ok(()),
        }
    }

    /// The segment of an element of an array.
    pub fn index(index: usize) -> Self {
        Self(index.to_string().as_str().into())
    }

    /// The index that this is below an array: decimal, without leading zeros.
    pub fn as_index(&self) -> Option<usize> {
        let text = self.as_str();
        let is_plain = text == "0" || !text.starts_with(['0', '+']);
        if is_plain { text.parse().ok() } else { None }
    }

    /// The segment as text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Its length in bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Never: a segment has at least one byte.
    pub fn is_empty(&self) -> bool {
        false
    }
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for Segment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = SegmentText::deserialize(deserializer)?.0;
        Self::check(text.as_str()).map(|()| Self(text)).map_err(de::Error::custom)
    }
}

/// What a segment is written as: a string, or an integer that means its decimal string.
pub(crate) struct SegmentText(pub(crate) Text);

impl<'de> Deserialize<'de> for SegmentText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = SegmentText;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a segment: a string or an integer from 0")
            }
            fn visit_str<E>(self, text: &str) -> Result<SegmentText, E> {
                Ok(SegmentText(text.into()))
            }
            fn visit_u64<E>(self, index: u64) -> Result<SegmentText, E> {
                Ok(SegmentText(index.to_string().as_str().into()))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// A way from the root to a node; `[]` is the root. It need not exist.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Path(Vec<Segment>);

impl Path {
    /// The root.
    pub const ROOT: Self = Self(Vec::new());

    /// Checks that `segments` are not too many.
    ///
    /// # Errors
    /// [`PathError::Deep`] past 64.
    pub fn new(segments: Vec<Segment>) -> Result<Self, PathError> {
        if segments.len() > DEPTH { Err(PathError::Deep) } else { Ok(Self(segments)) }
    }

    /// The path of `segments`.
    ///
    /// # Errors
    /// What is wrong with one of them.
    pub fn of<'a>(segments: impl IntoIterator<Item = &'a str>) -> Result<Self, PathError> {
        Self::new(segments.into_iter().map(Segment::new).collect::<Result<_, _>>()?)
    }

    /// The path of a part of a path, which can't be too deep.
    pub(crate) fn part(segments: &[Segment]) -> Self {
        Self(segments.to_vec())
    }

    /// The path one step below this.
    ///
    /// # Errors
    /// [`PathError::Deep`] if this is as deep as can be.
    pub fn below(&self, segment: Segment) -> Result<Self, PathError> {
        Self::new(self.0.iter().cloned().chain([segment]).collect())
    }

    /// The path of the first `len` segments.
    pub fn up_to(&self, len: usize) -> Self {
        Self(self.0[..len.min(self.0.len())].to_vec())
    }

    /// The path of what contains this, and the last step; `None` for the root.
    pub fn split(&self) -> Option<(Self, &Segment)> {
        let (last, parent) = self.0.split_last()?;
        Some((Self(parent.to_vec()), last))
    }
}

impl Deref for Path {
    type Target = [Segment];

    fn deref(&self) -> &[Segment] {
        &self.0
    }
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(Segment::as_str)).finish()
    }
}

impl<'de> Deserialize<'de> for Path {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(Vec::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn segments_are_names_or_indices() {
        let path: Path = serde_json::from_value(json!(["a", 0, "7", "ä b"])).unwrap();
        assert_eq!(serde_json::to_value(&path).unwrap(), json!(["a", "0", "7", "ä b"]));
        for bad in [json!(""), json!("*"), json!("**"), json!("__proto__"), json!("a\tb")] {
            assert!(serde_json::from_value::<Path>(json!([bad])).is_err(), "{bad}");
        }
        for bad in [json!(-1), json!(1.5), json!(null), json!(["a"]), json!("x".repeat(257))] {
            assert!(serde_json::from_value::<Path>(json!([bad])).is_err(), "{bad}");
        }
        assert!(Segment::new(&"x".repeat(256)).is_ok());
    }

    #[test]
    fn a_path_has_a_deepest() {
        assert!(Path::of(vec!["a"; 64]).is_ok());
        assert_eq!(Path::of(vec!["a"; 65]), Err(PathError::Deep));
        assert_eq!(Path::of(vec!["a"; 64]).unwrap().below(Segment::index(0)), Err(PathError::Deep));
    }

    #[test]
    fn an_index_has_no_leading_zeros() {
        let index = |text| Segment::new(text).unwrap().as_index();
        assert_eq!([index("0"), index("10")], [Some(0), Some(10)]);
        assert_eq!([index("01"), index("+1"), index("-1"), index("1.0"), index("a")], [None; 5]);
    }
}
