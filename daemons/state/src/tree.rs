//! Changing the tree: the only code that does.
//!
//! Nothing here asks who is allowed to; it asks only what fits. Everything is copied on the way
//! from the root to the place, so that whoever holds the tree from before still has it.

use std::sync::Arc;

use crate::{
    entry::{Entries, Entry, Who},
    name::UserName,
    node::{Kind, Member, Node, Revision},
    path::Segment,
};

/// Why a change does not fit what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// There is nothing.
    #[error("there is nothing at the path")]
    Absent,
    /// The way leads through a scalar, or past the end of an array.
    #[error("the path leads through something that cannot hold it")]
    NotContainer,
    /// Permission entries sit on members of objects.
    #[error("entries sit on members of objects, not below arrays")]
    InArray,
}

impl Node {
    /// Sets the value at `path`; missing parents become objects. Entries of what exists before
    /// and after stay; a new node gets none.
    ///
    /// # Errors
    /// [`Misfit::NotContainer`]; then nothing is changed.
    pub fn put(&mut self, path: &[Segment], value: &Self, rev: Revision) -> Result<(), Misfit> {
        fits(self, path)?;
        self.put_below(path, value, rev);
        Ok(())
    }

    fn put_below(&mut self, path: &[Segment], value: &Self, rev: Revision) {
        let Some((step, rest)) = path.split_first() else {
            return self.replace(value.stamped(rev));
        };
        self.rev = rev;
        match &mut self.kind {
            Kind::Object(members) => {
                let found = members.search(|it| it.key.cmp(step));
                let members = Arc::make_mut(members);
                match found {
                    Ok(at) => {
                        members.change(at, |it| it.node.put_below(rest, value, rev));
                    }
                    Err(at) => {
                        let node = grown(rest, value, rev);
                        members.insert(at, Member { key: step.clone(), node });
                    }
                }
            }
            Kind::Array(elements) => {
                let index = step.as_index().expect("it fits");
                let elements = Arc::make_mut(elements);
                if elements.change(index, |it| it.put_below(rest, value, rev)).is_none() {
                    elements.insert(index, grown(rest, value, rev));
                }
            }
            _ => unreachable!("it fits"),
        }
    }

    fn replace(&mut self, mut value: Self) {
        keep_entries(self, &mut value);
        *self = value;
    }

    /// Takes out what is at `path`, with its entries. In an array the elements behind it move up.
    ///
    /// # Errors
    /// [`Misfit::Absent`], also for the root, which is always there.
    pub fn take(&mut self, path: &[Segment], rev: Revision) -> Result<(), Misfit> {
        if path.is_empty() || self.at(path).is_none() {
            return Err(Misfit::Absent);
        }
        let (last, parent) = path.split_last().expect("not empty");
        self.edit(parent, Some(rev), &mut |node| match &mut node.kind {
            Kind::Object(members) => {
                if let Ok(at) = members.search(|it| it.key.cmp(last)) {
                    Arc::make_mut(members).remove(at);
                }
            }
            Kind::Array(elements) => {
                if let Some(at) = last.as_index() {
                    Arc::make_mut(elements).remove(at);
                }
            }
            _ => {}
        });
        Ok(())
    }

    /// Merges `patch` into what is at `path`, as RFC 7396 says.
    ///
    /// # Errors
    /// [`Misfit::NotContainer`]; then nothing is changed.
    pub fn merge(&mut self, path: &[Segment], patch: &Self, rev: Revision) -> Result<(), Misfit> {
        if self.at(path).is_none() {
            self.put(path, &Self::object(), rev)?;
        }
        self.edit(path, Some(rev), &mut |node| node.merge_here(patch, rev));
        Ok(())
    }

    fn merge_here(&mut self, patch: &Self, rev: Revision) {
        let Kind::Object(patch) = &patch.kind else {
            return self.replace(patch.stamped(rev));
        };
        if !matches!(self.kind, Kind::Object(_)) {
            self.kind = Self::object().kind;
        }
        self.rev = rev;
        let Kind::Object(members) = &mut self.kind else { return };
        let members = Arc::make_mut(members);
        for Member { key, node: patch } in patch.iter() {
            match (members.search(|it| it.key.cmp(key)), &patch.kind) {
                (Ok(at), Kind::Null) => {
                    members.remove(at);
                }
                (Err(_), Kind::Null) => {}
                (Ok(at), _) => {
                    members.change(at, |it| it.node.merge_here(patch, rev));
                }
                (Err(at), _) => {
                    let mut node: Self = Kind::Null.into();
                    node.merge_here(patch, rev);
                    members.insert(at, Member { key: key.clone(), node });
                }
            }
        }
    }

    /// Sets or removes the entry of `who` at `path`. Revisions are of values: they stay.
    ///
    /// # Errors
    /// [`Misfit::Absent`] and [`Misfit::InArray`].
    pub fn permit(
        &mut self,
        path: &[Segment],
        who: &Who,
        entry: Option<Entry>,
    ) -> Result<(), Misfit> {
        self.at(path).ok_or(Misfit::Absent)?;
        if is_in_array(self, path) {
            return Err(Misfit::InArray);
        }
        self.edit(path, None, &mut |node| node.set_entry(who, entry));
        Ok(())
    }

    fn set_entry(&mut self, who: &Who, entry: Option<Entry>) {
        let mut entries: Entries = self.entries.as_deref().cloned().unwrap_or_default();
        entries.set(who.clone(), entry);
        self.entries = (!entries.is_empty()).then(|| Arc::new(entries));
    }

    /// Removes every entry of `user`, wherever it is.
    pub fn forget(&mut self, user: &UserName) {
        if self.totals().guarded == 0 {
            return;
        }
        if self.entries.is_some() {
            self.set_entry(&Who::User(user.clone()), None);
        }
        let Kind::Object(members) = &mut self.kind else { return };
        let mut guarded = Vec::new();
        members.visit(&|it| it.guarded > 0, &mut |at, _| guarded.push(at));
        if guarded.is_empty() {
            return;
        }
        let members = Arc::make_mut(members);
        for at in guarded {
            members.change(at, |it| it.node.forget(user));
        }
    }

    /// Changes the node at `path`, which exists.
    fn edit(&mut self, path: &[Segment], rev: Option<Revision>, change: &mut dyn FnMut(&mut Self)) {
        self.rev = rev.unwrap_or(self.rev);
        let Some((step, rest)) = path.split_first() else { return change(self) };
        match &mut self.kind {
            Kind::Object(members) => {
                if let Ok(at) = members.search(|it| it.key.cmp(step)) {
                    Arc::make_mut(members).change(at, |it| it.node.edit(rest, rev, change));
                }
            }
            Kind::Array(elements) => {
                if let Some(at) = step.as_index() {
                    Arc::make_mut(elements).change(at, |it| it.edit(rest, rev, change));
                }
            }
            _ => {}
        }
    }
}

/// Whether a value can be put at `path`: every node on the way that exists can hold the next step.
///
/// # Errors
/// [`Misfit::NotContainer`].
pub fn fits(root: &Node, path: &[Segment]) -> Result<(), Misfit> {
    let mut node = root;
    for step in path {
        match &node.kind {
            Kind::Object(_) => {}
            Kind::Array(elements) if step.as_index().is_some_and(|it| it <= elements.len()) => {}
            _ => return Err(Misfit::NotContainer),
        }
        match node.child(step) {
            Some(child) => node = child,
            None => break,
        }
    }
    Ok(())
}

/// Whether `path` leads through an array.
pub fn is_in_array(root: &Node, path: &[Segment]) -> bool {
    (0..path.len()).any(|it| matches!(root.at(&path[..it]).map(Node::kind), Some(Kind::Array(_))))
}

/// `value` at the end of `path`, where there was nothing.
fn grown(path: &[Segment], value: &Node, rev: Revision) -> Node {
    path.iter().rev().fold(value.stamped(rev), |node, step| {
        let member = Member { key: step.clone(), node };
        Node { rev, ..Node::of_members(vec![member]) }
    })
}

/// Gives `new` the entries of `old`, as far as their nodes still exist.
fn keep_entries(old: &Node, new: &mut Node) {
    if old.totals().guarded == 0 {
        return;
    }
    new.entries = old.entries.clone();
    let (Kind::Object(before), Kind::Object(after)) = (&old.kind, &mut new.kind) else { return };
    let mut guarded = Vec::new();
    before.visit(&|it| it.guarded > 0, &mut |_, it| guarded.push(it));
    for member in guarded {
        if let Ok(at) = after.search(|it| it.key.cmp(&member.key)) {
            Arc::make_mut(after).change(at, |it| keep_entries(&member.node, &mut it.node));
        }
    }
}

#[cfg(test)]
mod tests;
