//! A state, or a part of its tree, as changes that would make it.

use std::sync::Arc;

use crate::{
    entry::Entries,
    node::{Kind, Node},
    path::{Path, Segment},
    record::Change,
    state::State,
};

/// A part of the tree of at most so many bytes is one change; what is larger is taken apart, so
/// that neither a line nor a record ever holds all of a tree.
const PART_BYTES: usize = 64 << 10;

impl State {
    /// Gives `each` what makes the tree at and below `path`, in an order in which it can be done;
    /// for the root also accounts, tokens, quotas and registrations.
    ///
    /// # Errors
    /// Those of `each`.
    pub fn export<E>(
        &self,
        path: &Path,
        mut each: impl FnMut(Change) -> Result<(), E>,
    ) -> Result<(), E> {
        if path.is_empty() {
            self.accounts.iter().try_for_each(|(user, it)| {
                let (user, password) = (user.clone(), it.password.clone());
                each(Change::Account { user, rank: it.rank, password, is_new_password: false })
            })?;
            self.tokens.iter().try_for_each(|(id, it)| {
                each(Change::Token { id: id.clone(), token: it.clone() })
            })?;
        }
        if let Some(node) = self.root.at(path) {
            parts(path, node, &mut each)?;
            entries(path, node, &mut each)?;
        }
        if path.is_empty() {
            self.quotas.iter().try_for_each(|(path, quota)| {
                each(Change::Quota { path: path.clone(), quota: Some(*quota) })
            })?;
            self.registrations.iter().try_for_each(|(id, it)| {
                each(Change::Register { id: *id, registration: it.clone() })
            })?;
        }
        Ok(())
    }
}

/// What makes `node` at `path`: all at once if it is small, else what contains it and then what is
/// in it.
pub(crate) fn parts<E>(
    path: &Path,
    node: &Node,
    each: &mut impl FnMut(Change) -> Result<(), E>,
) -> Result<(), E> {
    let mut put = |value: Node| each(Change::Update { path: path.clone(), value });
    if node.totals().bytes <= PART_BYTES {
        return put(node.clone());
    }
    match node.kind() {
        Kind::Array(elements) => {
            put(Kind::Array(Arc::default()).into())?;
            elements
                .iter()
                .enumerate()
                .try_for_each(|(index, it)| parts(&child(path, Segment::index(index)), it, each))
        }
        Kind::Object(members) => {
            put(Node::object())?;
            members.iter().try_for_each(|it| parts(&child(path, it.key().clone()), it.node(), each))
        }
        _ => put(node.clone()),
    }
}

/// The entries at and below `path`; there are none below arrays.
fn entries<E>(
    path: &Path,
    node: &Node,
    each: &mut impl FnMut(Change) -> Result<(), E>,
) -> Result<(), E> {
    if node.totals().guarded == 0 {
        return Ok(());
    }
    let own = node.entries().into_iter().flat_map(Entries::iter);
    for (who, entry) in own {
        each(Change::Permit { path: path.clone(), who: who.clone(), entry: Some(*entry) })?;
    }
    match node.kind() {
        Kind::Object(members) => members
            .iter()
            .try_for_each(|it| entries(&child(path, it.key().clone()), it.node(), each)),
        _ => Ok(()),
    }
}

fn child(path: &Path, segment: Segment) -> Path {
    path.below(segment).expect("what is in a tree is not too deep")
}
