//! A value of the tree, with what is known about it.

use std::sync::Arc;

use serde_json::{Map, Number, Value};

use crate::{
    entry::Entries,
    path::{PathError, Segment},
    sequence::{Item, Sequence, Sum},
    text::Text,
};

/// Counts commits: the first is 1, and 0 is before all of them.
pub type Revision = u64;

/// A value, the last commit that changed anything at or below it, and its permission entries.
///
/// A copy is a pointer: what is large is shared until one of the copies changes, and then only
/// the way to the change is copied.
#[derive(Clone, Debug)]
pub struct Node {
    pub(crate) rev: Revision,
    pub(crate) entries: Option<Arc<Entries>>,
    pub(crate) kind: Kind,
}

/// The six kinds of JSON.
#[derive(Clone, Debug)]
pub enum Kind {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A finite number.
    Number(Number),
    /// A string.
    Text(Text),
    /// Elements in order.
    Array(Arc<Sequence<Node>>),
    /// Members, sorted by key.
    Object(Arc<Sequence<Member>>),
}

/// A member of an object.
#[derive(Clone, Debug)]
pub struct Member {
    pub(crate) key: Segment,
    pub(crate) node: Node,
}

impl Member {
    /// Its name.
    pub fn key(&self) -> &Segment {
        &self.key
    }

    /// What is there.
    pub fn node(&self) -> &Node {
        &self.node
    }
}

/// What a permission entry counts, however long the name in it is.
const ENTRY_BYTES: usize = 64;

/// What a part of the tree amounts to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Nodes, containers and scalars alike.
    pub nodes: usize,
    /// About the length of the JSON text: what stands in it without escapes, and 8 for a number;
    /// and what permission entries take, which are no part of that text.
    pub bytes: usize,
    /// Nodes that carry permission entries. Where there are none, nothing below need be asked.
    pub guarded: usize,
}

impl Sum for Totals {
    fn add(&mut self, other: Self) {
        self.nodes += other.nodes;
        self.bytes += other.bytes;
        self.guarded += other.guarded;
    }
}

impl Item for Node {
    type Sum = Totals;

    fn sum(&self) -> Totals {
        let mut totals = self.totals();
        totals.bytes += 1;
        totals
    }
}

impl Item for Member {
    type Sum = Totals;

    fn sum(&self) -> Totals {
        let mut totals = self.node.totals();
        totals.bytes += self.key.len() + 4;
        totals
    }
}

impl Node {
    /// The empty object.
    pub fn object() -> Self {
        Kind::Object(Arc::default()).into()
    }

    /// The last commit that changed anything at or below this. A commit that sets a value counts
    /// for all of it, also for parts that stay equal; one that sets permissions does not.
    pub fn rev(&self) -> Revision {
        self.rev
    }

    /// The permission entries of this node itself.
    pub fn entries(&self) -> Option<&Entries> {
        self.entries.as_deref()
    }

    /// What it is.
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// What this and all below it amount to.
    pub fn totals(&self) -> Totals {
        let below = self.below();
        let own = match &self.kind {
            Kind::Null => 4,
            Kind::Bool(_) => 5,
            Kind::Number(_) => 8,
            Kind::Text(text) => text.len() + 2,
            Kind::Array(_) | Kind::Object(_) => 2,
        };
        let entries = self.entries.as_ref().map_or(0, |it| it.len());
        Totals {
            nodes: below.nodes + 1,
            bytes: below.bytes + own + entries * ENTRY_BYTES,
            guarded: below.guarded + usize::from(self.entries.is_some()),
        }
    }

    /// What all below it amounts to.
    pub fn below(&self) -> Totals {
        match &self.kind {
            Kind::Array(elements) => elements.sum(),
            Kind::Object(members) => members.sum(),
            _ => Totals::default(),
        }
    }

    /// Whether there can be something below it.
    pub fn is_container(&self) -> bool {
        matches!(self.kind, Kind::Array(_) | Kind::Object(_))
    }

    /// How many levels there are below it.
    pub fn depth(&self) -> usize {
        match &self.kind {
            Kind::Array(elements) => {
                elements.iter().map(|it| it.depth() + 1).max().unwrap_or_default()
            }
            Kind::Object(members) => {
                members.iter().map(|it| it.node.depth() + 1).max().unwrap_or_default()
            }
            _ => 0,
        }
    }

    /// What is one step below.
    pub fn child(&self, segment: &Segment) -> Option<&Self> {
        match &self.kind {
            Kind::Object(members) => {
                let at = members.search(|it| it.key.cmp(segment)).ok()?;
                members.get(at).map(|it| &it.node)
            }
            Kind::Array(elements) => elements.get(segment.as_index()?),
            _ => None,
        }
    }

    /// What is at `path` below this.
    pub fn at(&self, path: &[Segment]) -> Option<&Self> {
        path.iter().try_fold(self, |node, segment| node.child(segment))
    }

    /// Whether both are the same JSON value: order of members and form of numbers don't matter,
    /// nor do revisions and entries.
    pub fn is_same(&self, other: &Self) -> bool {
        match (&self.kind, &other.kind) {
            (Kind::Null, Kind::Null) => true,
            (Kind::Bool(a), Kind::Bool(b)) => a == b,
            (Kind::Number(a), Kind::Number(b)) => a == b || is_same_number(a, b),
            (Kind::Text(a), Kind::Text(b)) => a == b,
            (Kind::Array(a), Kind::Array(b)) => {
                let all = || a.iter().zip(b.iter()).all(|(a, b)| a.is_same(b));
                Arc::ptr_eq(a, b) || a.len() == b.len() && all()
            }
            (Kind::Object(a), Kind::Object(b)) => {
                let all = || {
                    a.iter().zip(b.iter()).all(|(a, b)| a.key == b.key && a.node.is_same(&b.node))
                };
                Arc::ptr_eq(a, b) || a.len() == b.len() && all()
            }
            _ => false,
        }
    }

    /// The same value as of revision `rev`, without any entries.
    pub(crate) fn stamped(&self, rev: Revision) -> Self {
        let kind = match &self.kind {
            Kind::Array(elements) => Kind::Array(Arc::new(elements.map(&mut |it| it.stamped(rev)))),
            Kind::Object(members) => Kind::Object(Arc::new(
                members.map(&mut |it| Member { key: it.key.clone(), node: it.node.stamped(rev) }),
            )),
            scalar => scalar.clone(),
        };
        Self { rev, entries: None, kind }
    }

    /// The object of `members`; of those with one key the last one counts.
    pub(crate) fn of_members(mut members: Vec<Member>) -> Self {
        // Stable, so that among equals the last is the last that was written.
        members.sort_by(|a, b| a.key.cmp(&b.key));
        members.reverse();
        members.dedup_by(|a, b| a.key == b.key);
        members.reverse();
        Kind::Object(Arc::new(members.into_iter().collect())).into()
    }
}

/// `1` and `1.0` are one number, as in the languages that JSON comes from.
fn is_same_number(a: &Number, b: &Number) -> bool {
    let are_integers = !a.is_f64() && !b.is_f64();
    !are_integers && a.as_f64() == b.as_f64()
}

impl From<Kind> for Node {
    fn from(kind: Kind) -> Self {
        Self { rev: 0, entries: None, kind }
    }
}

impl TryFrom<&Value> for Node {
    type Error = PathError;

    /// Fails on a key that is no segment: no path could reach it.
    fn try_from(value: &Value) -> Result<Self, PathError> {
        let kind = match value {
            Value::Null => Kind::Null,
            Value::Bool(it) => Kind::Bool(*it),
            Value::Number(it) => Kind::Number(it.clone()),
            Value::String(it) => Kind::Text(it.as_str().into()),
            Value::Array(elements) => {
                let elements: Result<_, _> = elements.iter().map(Self::try_from).collect();
                Kind::Array(Arc::new(elements?))
            }
            Value::Object(members) => {
                let members: Result<Vec<_>, _> = members.iter().map(member).collect();
                return Ok(Self::of_members(members?));
            }
        };
        Ok(kind.into())
    }
}

fn member((key, value): (&String, &Value)) -> Result<Member, PathError> {
    Ok(Member { key: Segment::new(key)?, node: value.try_into()? })
}

impl From<&Node> for Value {
    fn from(node: &Node) -> Self {
        match &node.kind {
            Kind::Null => Self::Null,
            Kind::Bool(it) => Self::Bool(*it),
            Kind::Number(it) => Self::Number(it.clone()),
            Kind::Text(it) => Self::String(it.as_str().to_owned()),
            Kind::Array(elements) => elements.iter().map(Self::from).collect(),
            Kind::Object(members) => {
                let members = members.iter();
                Self::Object(
                    members
                        .map(|it| (it.key.as_str().to_owned(), Self::from(&it.node)))
                        .collect::<Map<_, _>>(),
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node(value: Value) -> Node {
        Node::try_from(&value).unwrap()
    }

    #[test]
    fn a_value_comes_back_as_it_was() {
        let value = json!({"b": [1, -2, 1.5, null, true, "x"], "a": {"deep": {}}, "": 1});
        assert_eq!(Node::try_from(&value).unwrap_err(), PathError::Empty);
        let value = json!({"b": [1, -2, 1.5, null, true, "x"], "a": {"deep": {}}});
        assert_eq!(Value::from(&node(value.clone())), value);
    }

    #[test]
    fn equal_is_what_means_the_same() {
        assert!(node(json!({"a": 1, "b": 2})).is_same(&node(json!({"b": 2, "a": 1.0}))));
        assert!(!node(json!({"a": 1})).is_same(&node(json!({"a": 1, "b": null}))));
        assert!(!node(json!([1, 2])).is_same(&node(json!([2, 1]))));
        let large = json!(9_007_199_254_740_993_u64);
        assert!(!node(large).is_same(&node(json!(9_007_199_254_740_992_u64))));
    }

    #[test]
    fn totals_are_those_of_all_below() {
        let totals = node(json!({"ab": [1, "xyz"], "c": null})).totals();
        // {} · "ab":, and [] · two elements with their commas · "c":, and null
        let bytes = 2 + (2 + 4) + 2 + (8 + 1) + (5 + 1) + (1 + 4) + 4;
        assert_eq!(totals, Totals { nodes: 5, bytes, guarded: 0 });
    }

    #[test]
    fn nodes_are_small() {
        assert!(size_of::<Member>() <= 64, "{}", size_of::<Member>());
    }
}
