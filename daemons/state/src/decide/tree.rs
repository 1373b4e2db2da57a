//! Deciding what changes values.

use super::{Answer, Draft, below};
use crate::{
    apply::entry_for,
    entry::Entries,
    failure::Refusal,
    level::{Level, Rank},
    node::{Kind, Node},
    operation::Step,
    path::{Path, Segment},
    permission::Subject,
    record::Change,
    rule::Action,
    tree::{fits, is_in_array},
    trigger::{Registration, Trigger},
};

impl Draft<'_> {
    pub(super) fn create(
        &mut self,
        step: &Step,
        (path, name): (&Path, &Segment),
        value: &Node,
        is_ephemeral: bool,
    ) -> Result<Answer, Refusal> {
        self.permitted(Action::Create, path)?;
        let target = below(path, name)?;
        self.has_place(step, &target)?;
        if self.state.root.at(&target).is_some() {
            return Err(Refusal::Exists);
        }
        self.expected(step, path)?;
        let entries = self.creators_entry(&target);
        let (path, name, value) = (path.clone(), name.clone(), value.clone());
        self.change(&target, Change::Create { path, name, value, entries })?;
        if is_ephemeral {
            self.until_disconnect(target)?;
        }
        Ok(Answer::Done)
    }

    /// Who creates something owns it. ROOT needs no entry for that; an anonymous session has no
    /// name that could own, and everybody is not meant.
    fn creators_entry(&self, target: &Path) -> Entries {
        let Some(user) = &self.actor.user else { return Entries::default() };
        let is_root = self.state.account(user).is_some_and(|it| it.rank == Rank::Root);
        if is_root || is_in_array(&self.state.root, target) {
            return Entries::default();
        }
        entry_for(user, Level::Owner)
    }

    /// Registers `path` to go with the session. What goes is deleted as by its creator, so he
    /// must own it: under an important entry, or in an array, he may not.
    fn until_disconnect(&mut self, path: Path) -> Result<(), Refusal> {
        let (Some(user), Some(session)) = (self.actor.user.clone(), self.actor.session.clone())
        else {
            return Err(Refusal::AuthRequired);
        };
        // A limited token may not own anything, but what it made may go all the same.
        let subject = Subject { cap: None, ..self.subject() };
        if is_in_array(&self.state.root, &path) {
            return Err(Refusal::NotContainer);
        }
        if subject.level(&self.state.root, &path) < Level::Owner {
            return Err(Refusal::NeedsLevel(Level::Owner));
        }
        let triggers = vec![Trigger::Disconnect(session)];
        self.register(Registration { path, user, triggers, is_ephemeral: true }).map(drop)
    }

    pub(super) fn update(
        &mut self,
        step: &Step,
        path: &Path,
        value: &Node,
    ) -> Result<Answer, Refusal> {
        self.permitted(Action::Update, path)?;
        self.has_place(step, path)?;
        self.expected(step, path)?;
        self.change(path, Change::Update { path: path.clone(), value: value.clone() })?;
        Ok(Answer::Done)
    }

    pub(super) fn merge(
        &mut self,
        step: &Step,
        path: &Path,
        patch: &Node,
    ) -> Result<Answer, Refusal> {
        self.permitted(Action::Merge, path)?;
        self.may_remove(&mut path.to_vec(), patch)?;
        self.has_place(step, path)?;
        self.expected(step, path)?;
        self.change(path, Change::Merge { path: path.clone(), patch: patch.clone() })?;
        Ok(Answer::Done)
    }

    /// Whether everything at and below `at` that `patch` removes may be deleted.
    fn may_remove(&self, at: &mut Vec<Segment>, patch: &Node) -> Result<(), Refusal> {
        let is_object = matches!(self.state.root.at(at).map(Node::kind), Some(Kind::Object(_)));
        let Kind::Object(members) = patch.kind() else { return Ok(()) };
        for member in members.iter().filter(|_| is_object) {
            at.push(member.key().clone());
            match member.node().kind() {
                Kind::Null if self.state.root.at(at).is_some() => {
                    self.permitted(Action::Delete, at)?;
                }
                _ => self.may_remove(at, member.node())?,
            }
            at.pop();
        }
        Ok(())
    }

    pub(super) fn delete(&mut self, step: &Step, path: &Path) -> Result<Answer, Refusal> {
        self.permitted(Action::Delete, path)?;
        self.state.root.at(path).ok_or(Refusal::NotFound)?;
        self.expected(step, path)?;
        self.push(Change::Delete { path: path.clone() })?;
        Ok(Answer::Done)
    }

    /// Whether something can be put at `path`.
    fn has_place(&self, step: &Step, path: &Path) -> Result<(), Refusal> {
        fits(&self.state.root, path)?;
        let parent = &path[..path.len().saturating_sub(1)];
        if !step.makes_parents && self.state.root.at(parent).is_none() {
            return Err(Refusal::NotFound);
        }
        Ok(())
    }
}
