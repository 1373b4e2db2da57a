//! What may be told of the tree.
//!
//! What somebody may not read is for him as if it were not there. A path that he may not read
//! below one that he may is `not-found`, like an absent one; `denied` would tell them apart.

use crate::{
    entry::Entries,
    failure::Refusal,
    level::Level,
    node::{Kind, Node, Revision},
    path::{Path, Segment},
    permission::Subject,
    rule::Action,
    state::State,
};

/// A value as somebody may read it.
#[derive(Clone, Debug)]
pub struct Value {
    /// Without what he may not read.
    pub value: Node,
    /// Of the node, whoever changed something below it.
    pub rev: Revision,
}

/// What somebody is told about permissions at a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permissions {
    /// His own level.
    pub level: Level,
    /// All entries of the node, for an OWNER.
    pub entries: Option<Entries>,
}

impl State {
    /// The value at `path` as `subject` may read it.
    ///
    /// # Errors
    /// `denied` or `not-found`, which don't tell whether something is there.
    pub fn get(&self, subject: &Subject, path: &Path) -> Result<Value, Refusal> {
        let value = self.ask(subject, path)?;
        Ok(Value { rev: value.rev(), value })
    }

    /// The keys of what is at `path`, those after `after`, at most `limit`. Of an array the
    /// indices; of a scalar none.
    ///
    /// # Errors
    /// As of [`State::get`].
    pub fn keys(
        &self,
        subject: &Subject,
        path: &Path,
        after: Option<&Segment>,
        limit: usize,
    ) -> Result<Vec<Segment>, Refusal> {
        let node = self.ask(subject, path)?;
        Ok(match node.kind() {
            Kind::Object(members) => {
                let from =
                    after.map_or(0, |after| match members.search(|it| it.key().cmp(after)) {
                        Ok(at) => at + 1,
                        Err(at) => at,
                    });
                members.iter_from(from).take(limit).map(|it| it.key().clone()).collect()
            }
            Kind::Array(elements) => {
                let from = after.and_then(Segment::as_index).map_or(0, |it| it.saturating_add(1));
                (from..elements.len()).take(limit).map(Segment::index).collect()
            }
            _ => Vec::new(),
        })
    }

    /// What `subject` may do at `path`, and if he owns it, what everybody may.
    ///
    /// # Errors
    /// As of [`State::get`].
    pub fn permissions(&self, subject: &Subject, path: &Path) -> Result<Permissions, Refusal> {
        let node = self.ask(subject, path)?;
        let level = subject.level(&self.root, path);
        let entries = (level == Level::Owner).then(|| node.entries().cloned().unwrap_or_default());
        Ok(Permissions { level, entries })
    }

    /// Whether `subject` may subscribe to what begins at `prefix`. What he may not read there
    /// gives him nothing, like what is absent, until that changes.
    ///
    /// # Errors
    /// `denied`, if nothing on the way may be read.
    pub fn may_watch(&self, subject: &Subject, prefix: &[Segment]) -> Result<(), Refusal> {
        let may_ask = subject.may_ask(&self.root, prefix);
        if may_ask { Ok(()) } else { Err(Refusal::NeedsLevel(Action::Subscribe.rule().level)) }
    }

    fn ask(&self, subject: &Subject, path: &Path) -> Result<Node, Refusal> {
        if let Some(node) = subject.readable(&self.root, path) {
            return Ok(node);
        }
        let may_ask = subject.may_ask(&self.root, path);
        let needed = Refusal::NeedsLevel(Action::Get.rule().level);
        Err(if may_ask { Refusal::NotFound } else { needed })
    }
}
