//! Who may do what where: one walk from the root, and what follows from it.

use std::sync::Arc;

use crate::{
    entry::Entries,
    level::Level,
    name::UserName,
    node::{Kind, Member, Node},
    path::{Path, Segment},
};

/// What a token leaves of its owner's permissions.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cap {
    /// Nothing is allowed elsewhere.
    pub path: Path,
    /// Nothing more is allowed below it.
    pub level: Level,
}

/// Somebody, as permissions see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// Nobody in particular, if the session is anonymous.
    pub user: Option<UserName>,
    /// Has OWNER everywhere.
    pub is_root: bool,
    /// Of the token by which the session came.
    pub cap: Option<Cap>,
}

impl Subject {
    /// A user without any rank, by password.
    pub fn user(name: UserName) -> Self {
        Self { user: Some(name), is_root: false, cap: None }
    }

    /// An anonymous session.
    pub fn anonymous() -> Self {
        Self { user: None, is_root: false, cap: None }
    }

    /// What it may do at `path`, which need not exist.
    pub fn level(&self, root: &Node, path: &[Segment]) -> Level {
        self.capped(self.walk(root, path).level, path)
    }

    fn capped(&self, level: Level, path: &[Segment]) -> Level {
        match &self.cap {
            None => level,
            Some(cap) if path.starts_with(&cap.path) => level.min(cap.level),
            Some(_) => Level::None,
        }
    }

    /// The walk from `root` to `path`, or to the last node on the way.
    fn walk(&self, root: &Node, path: &[Segment]) -> Walk {
        let mut walk = Walk::start(self).enter(self, root);
        let mut node = root;
        for step in path {
            if walk.is_over {
                break;
            }
            let Some(child) = node.child(step) else { break };
            walk = walk.enter(self, child);
            node = child;
        }
        walk
    }

    /// Whether `path` and every node from its first `prefix` segments to it may be read. What is
    /// readable below something unreadable is left out of values, so it must not be told either.
    pub fn sees(&self, root: &Node, prefix: usize, path: &[Segment]) -> bool {
        let mut walk = Walk::start(self).enter(self, root);
        let mut node = Some(root);
        for (depth, step) in path.iter().enumerate() {
            if depth >= prefix && walk.level < Level::Viewer {
                return false;
            }
            node = node.and_then(|it| it.child(step));
            walk = node.map_or(walk, |it| walk.enter(self, it));
        }
        // A cap lets nothing be seen above its path, and at and below it all alike.
        self.capped(walk.level, &path[..prefix.min(path.len())]) >= Level::Viewer
    }

    /// The value at `path` as far as it may be read: members below VIEWER and all below them are
    /// left out. `None` if there is nothing to be read. Costs no copy where nothing is left out.
    pub fn readable(&self, root: &Node, path: &[Segment]) -> Option<Node> {
        let (node, walk) = (root.at(path)?, self.walk(root, path));
        let can_read = self.capped(walk.level, path) >= Level::Viewer;
        can_read.then(|| walk.prune(self, node))
    }

    /// Whether asking for `path` may be answered at all. What may not be read is answered as if it
    /// were absent, and an absent path has the level of its way: so it is allowed to ask for
    /// whatever has something readable on its way, though there may be nothing to be told.
    pub fn may_ask(&self, root: &Node, path: &[Segment]) -> bool {
        (0..=path.len()).any(|it| self.level(root, &path[..it]) >= Level::Viewer)
    }

    /// Whether the same parts of what is at `path` in two trees may be read, seen from `prefix`
    /// segments on, whatever their values are. What is in one of them only is no difference.
    pub(crate) fn reads_alike(
        (one, here): (&Self, &Node),
        (other, there): (&Self, &Node),
        prefix: usize,
        path: &[Segment],
    ) -> bool {
        let sees = one.sees(here, prefix, path);
        if !sees || sees != other.sees(there, prefix, path) {
            return sees == other.sees(there, prefix, path);
        }
        let (Some(a), Some(b)) = (here.at(path), there.at(path)) else { return true };
        alike((one.walk(here, path), one, a), (other.walk(there, path), other, b))
    }

    /// Whether at least `level` is allowed at every node below `path` that carries entries.
    /// What carries none need not be asked: it has the level of what is above it. Nor need a cap:
    /// it allows below the path what it allows there.
    pub fn passes_guard(&self, root: &Node, path: &[Segment], level: Level) -> bool {
        let Some(node) = root.at(path) else { return true };
        self.walk(root, path).guard(self, node, level)
    }
}

/// How far a walk from the root has come.
#[derive(Clone, Copy)]
struct Walk {
    level: Level,
    /// Something important was met: nothing below is asked.
    is_over: bool,
}

impl Walk {
    fn start(subject: &Subject) -> Self {
        let level = if subject.is_root { Level::Owner } else { Level::None };
        Self { level, is_over: subject.is_root }
    }

    /// One node further.
    fn enter(self, subject: &Subject, node: &Node) -> Self {
        if self.is_over {
            return self;
        }
        let chosen = node.entries().and_then(|it: &Entries| it.choose(subject.user.as_ref()));
        chosen.map_or(self, |it| Self { level: it.level, is_over: it.is_important })
    }

    /// `node`, at which this walk has arrived, without what may not be read.
    fn prune(self, subject: &Subject, node: &Node) -> Node {
        let Kind::Object(members) = &node.kind else { return node.clone() };
        if self.is_over || members.sum().guarded == 0 {
            return node.clone();
        }
        // Members without entries inherit; only the others can be left out or differ inside.
        let mut pruned = Arc::clone(members);
        let mut guarded = Vec::new();
        members.visit(&|it| it.guarded > 0, &mut |at, it: &Member| guarded.push((at, it)));
        for (at, member) in guarded.into_iter().rev() {
            let walk = self.enter(subject, &member.node);
            let members = Arc::make_mut(&mut pruned);
            if walk.level >= Level::Viewer {
                members.change(at, |it| it.node = walk.prune(subject, &member.node));
            } else {
                members.remove(at);
            }
        }
        Node { kind: Kind::Object(pruned), ..node.clone() }
    }

    /// Whether all below `node` that carry entries allow `level`.
    fn guard(self, subject: &Subject, node: &Node, level: Level) -> bool {
        let Kind::Object(members) = &node.kind else { return true };
        if self.is_over || members.sum().guarded == 0 {
            return members.sum().guarded == 0 || self.level >= level;
        }
        let mut passes = true;
        members.visit(&|it| it.guarded > 0, &mut |_, it: &Member| {
            let walk = self.enter(subject, &it.node);
            let is_asked = it.node.entries.is_some();
            passes = passes
                && (!is_asked || walk.level >= level)
                && walk.guard(subject, &it.node, level);
        });
        passes
    }
}

/// Whether two walks, each arrived at a node, let the same parts of both be read.
fn alike(
    (a, one, here): (Walk, &Subject, &Node),
    (b, other, there): (Walk, &Subject, &Node),
) -> bool {
    let (can_read, could_read) = (a.level >= Level::Viewer, b.level >= Level::Viewer);
    let (Kind::Object(members), Kind::Object(others)) = (&here.kind, &there.kind) else {
        return can_read == could_read;
    };
    if can_read != could_read || !can_read {
        return can_read == could_read;
    }
    let mut is_alike = true;
    let mut compare = |key: &Segment| {
        if let (true, Some(x), Some(y)) = (is_alike, here.child(key), there.child(key)) {
            is_alike = alike((a.enter(one, x), one, x), (b.enter(other, y), other, y));
        }
    };
    members.visit(&|it| it.guarded > 0, &mut |_, it: &Member| compare(&it.key));
    others.visit(&|it| it.guarded > 0, &mut |_, it: &Member| compare(&it.key));
    is_alike
}

#[cfg(test)]
mod tests;
