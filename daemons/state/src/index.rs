//! Subscriptions by pattern: finding those near a change costs no look at the others.

use std::collections::{BTreeMap, BTreeSet};

use crate::{actor::SessionId, event::SubscriptionId, path::Segment, pattern::Pattern};

/// A tree of patterns, step by step.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    named: BTreeMap<Segment, Self>,
    any: Option<Box<Self>>,
    /// Those whose pattern ends here.
    here: BTreeSet<(SessionId, SubscriptionId)>,
    /// Those whose pattern ends here with `**`.
    deep: BTreeSet<(SessionId, SubscriptionId)>,
}

impl Index {
    pub(crate) fn insert(&mut self, pattern: &Pattern, session: SessionId, id: SubscriptionId) {
        let mut node = self;
        for step in pattern.steps() {
            node = match step {
                Some(name) => node.named.entry(name.clone()).or_default(),
                None => node.any.get_or_insert_default(),
            };
        }
        node.ends(pattern).insert((session, id));
    }

    fn ends(&mut self, pattern: &Pattern) -> &mut BTreeSet<(SessionId, SubscriptionId)> {
        if pattern.is_deep() { &mut self.deep } else { &mut self.here }
    }

    pub(crate) fn remove(&mut self, pattern: &Pattern, session: &SessionId, id: SubscriptionId) {
        self.remove_below(pattern, pattern.steps(), &(session.clone(), id));
    }

    fn remove_below(
        &mut self,
        pattern: &Pattern,
        steps: &[Option<Segment>],
        entry: &(SessionId, SubscriptionId),
    ) {
        match steps.split_first() {
            None => {
                self.ends(pattern).remove(entry);
            }
            Some((Some(name), rest)) => {
                if let Some(node) = self.named.get_mut(name) {
                    node.remove_below(pattern, rest, entry);
                    if node.is_empty() {
                        self.named.remove(name);
                    }
                }
            }
            Some((None, rest)) => {
                if let Some(node) = &mut self.any {
                    node.remove_below(pattern, rest, entry);
                    if node.is_empty() {
                        self.any = None;
                    }
                }
            }
        }
    }

    fn is_empty(&self) -> bool {
        let has_below = !self.named.is_empty() || self.any.is_some();
        !has_below && self.here.is_empty() && self.deep.is_empty()
    }

    /// Finds those about `path`, what contains it, or something below it.
    pub(crate) fn near(
        &self,
        path: &[Segment],
        found: &mut impl FnMut(&SessionId, SubscriptionId),
    ) {
        let Some((step, rest)) = path.split_first() else { return self.all(found) };
        self.deep.iter().for_each(|(session, id)| found(session, *id));
        if rest.is_empty() {
            // A new node is also the business of who watches what contains it.
            self.here.iter().for_each(|(session, id)| found(session, *id));
        }
        if let Some(node) = self.named.get(step) {
            node.near(rest, found);
        }
        if let Some(node) = &self.any {
            node.near(rest, found);
        }
    }

    fn all(&self, found: &mut impl FnMut(&SessionId, SubscriptionId)) {
        self.here.iter().chain(&self.deep).for_each(|(session, id)| found(session, *id));
        self.named.values().chain(self.any.as_deref()).for_each(|it| it.all(found));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{path, pattern};

    const PATTERNS: &[&str] =
        &["", "**", "a", "a/**", "a/b", "a/*", "a/*/c", "*/b", "*/b/**", "b", "a/b/c/d"];

    #[test]
    fn all_that_can_matter_are_found() {
        let mut index = Index::default();
        for (id, text) in PATTERNS.iter().enumerate() {
            index.insert(&pattern(text), "s".into(), id as u64);
        }
        for at in ["", "a", "a/b", "a/x", "a/b/c", "a/b/c/d/e", "b", "c/b/d"] {
            let (mut found, at) = (BTreeSet::new(), path(at));
            index.near(&at, &mut |_, id| {
                found.insert(id as usize);
            });
            for (id, text) in PATTERNS.iter().enumerate() {
                let pattern = pattern(text);
                let holds = at.split().is_some_and(|(parent, _)| {
                    parent.len() == pattern.steps().len() && pattern.agrees(&parent)
                });
                let is_near = pattern.leads_along(&at)
                    || pattern.steps().len() > at.len() && pattern.agrees(&at)
                    || holds;
                assert_eq!(found.contains(&id), is_near, "{text} at {at:?}");
            }
        }
    }

    #[test]
    fn what_is_removed_leaves_nothing() {
        let mut index = Index::default();
        for (id, text) in PATTERNS.iter().enumerate() {
            index.insert(&pattern(text), "s".into(), id as u64);
        }
        for (id, text) in PATTERNS.iter().enumerate() {
            index.remove(&pattern(text), &"s".into(), id as u64);
        }
        assert!(index.is_empty());
    }
}
