//! A part of the tree as a client keeps it.

use crate::{
    event::{Event, Happening},
    node::Node,
    path::{Path, Segment},
    tree::Misfit,
};

/// What a subscription to `prefix/**` tells of the prefix. After each event that is not followed
/// by another of its commit it is exactly what `get` of the prefix would give.
#[derive(Clone, Debug)]
pub struct Mirror {
    prefix: Path,
    value: Option<Node>,
    has_ended: bool,
}

impl Mirror {
    /// Before the first event.
    pub fn new(prefix: Path) -> Self {
        Self { prefix, value: None, has_ended: false }
    }

    /// What is at the prefix, as far as it may be read.
    pub fn value(&self) -> Option<&Node> {
        self.value.as_ref()
    }

    /// Whether the prefix may not be read any more: no event will come.
    pub fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Takes the next event.
    ///
    /// # Errors
    /// If it does not fit what is there: an event before it is missing. The next `sync` mends it.
    pub fn apply(&mut self, event: &Event) -> Result<(), Misfit> {
        match &event.happening {
            Happening::Create { path, name, value } => {
                let path: Vec<Segment> = path.iter().cloned().chain([name.clone()]).collect();
                self.put(&path, value, event)
            }
            Happening::Update { path, value } => self.put(path, value, event),
            Happening::Delete { path } => self.take(path, event),
            Happening::UpdatePerms { .. } => Ok(()),
            Happening::Revoked { .. } => {
                *self = Self { has_ended: true, value: None, prefix: self.prefix.clone() };
                Ok(())
            }
        }
    }

    fn put(&mut self, path: &[Segment], value: &Node, event: &Event) -> Result<(), Misfit> {
        let below = path.strip_prefix(&*self.prefix).ok_or(Misfit::NotContainer)?;
        let root = self.value.get_or_insert_with(Node::object);
        root.put(below, value, event.rev)
    }

    fn take(&mut self, path: &[Segment], event: &Event) -> Result<(), Misfit> {
        match path.strip_prefix(&*self.prefix).ok_or(Misfit::NotContainer)? {
            [] => {
                self.value = None;
                Ok(())
            }
            below => self.value.as_mut().ok_or(Misfit::Absent)?.take(below, event.rev),
        }
    }
}
