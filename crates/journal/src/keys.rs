use std::{collections::HashMap, iter, mem, sync::Arc};

use crate::{AppendError, Expected, Revision};

type Table = HashMap<Box<str>, Revision>;

/// The last revision of each key: of what is durable, of the group on its way to the disk, of the
/// next.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    durable: Durable,
    group: Table,
    next: Table,
}

/// What is durable. A clone costs nothing, so that nobody who appends waits for who reads all of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Durable {
    /// Changed only while nobody else has it.
    base: Arc<Table>,
    /// What came while somebody had.
    recent: Table,
}

impl Durable {
    fn last(&self, key: &str) -> Option<Revision> {
        self.recent.get(key).or_else(|| self.base.get(key)).copied()
    }

    fn extend(&mut self, news: impl Iterator<Item = (Box<str>, Revision)>) {
        match Arc::get_mut(&mut self.base) {
            None => self.recent.extend(news),
            Some(base) => base.extend(self.recent.drain().chain(news)),
        }
    }

    /// Each key once, with its last revision.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, Revision)> {
        let old = self.base.iter().filter(|(key, _)| !self.recent.contains_key(*key));
        old.chain(&self.recent).map(|(key, revision)| (&**key, *revision))
    }
}

impl Keys {
    /// The last revision of `key`; 0 when it has none.
    pub(crate) fn last(&self, key: &str) -> Revision {
        let waiting = [&self.next, &self.group].into_iter().find_map(|it| it.get(key).copied());
        waiting.or_else(|| self.durable.last(key)).unwrap_or(0)
    }

    /// Whether a record of `key` may be appended, when the last revision of the log is `last`.
    pub(crate) fn check(
        &self,
        last: Revision,
        key: &str,
        expected: Expected,
    ) -> Result<(), AppendError> {
        let (expected, found) = match expected {
            Expected::Any => return Ok(()),
            Expected::Last(revision) => (revision, last),
            Expected::OfKey(revision) => (revision, self.last(key)),
        };
        if expected == found { Ok(()) } else { Err(AppendError::Unexpected { found }) }
    }

    /// A record of `key` is in line.
    pub(crate) fn append(&mut self, key: &str, revision: Revision) {
        put(&mut self.next, key, revision);
    }

    /// A record of `key` was found durable.
    pub(crate) fn found(&mut self, key: &str, revision: Revision) {
        if !key.is_empty() && self.durable.last(key).is_none_or(|it| it < revision) {
            self.durable.extend(iter::once((key.into(), revision)));
        }
    }

    /// What is in line is the group now. There must be none on its way.
    pub(crate) fn take(&mut self) {
        mem::swap(&mut self.group, &mut self.next);
    }

    /// The group is durable.
    pub(crate) fn settle(&mut self) {
        self.durable.extend(self.group.drain());
    }

    /// What is not durable is lost.
    pub(crate) fn lose(&mut self) {
        self.group.clear();
        self.next.clear();
    }

    /// What is durable.
    pub(crate) fn durable(&self) -> Durable {
        self.durable.clone()
    }
}

/// Allocates only for a key that is new. Records without a key have none.
fn put(table: &mut Table, key: &str, revision: Revision) {
    match table.get_mut(key) {
        _ if key.is_empty() => {}
        Some(last) => *last = revision,
        None => drop(table.insert(key.into(), revision)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_falls_back_to_what_is_durable() {
        let mut keys = Keys::default();
        keys.found("a", 1);
        for revision in 2..=4 {
            keys.append("a", revision);
            assert_eq!(keys.last("a"), revision);
            keys.take();
            if revision < 4 {
                keys.settle();
            }
        }
        keys.append("a", 5);
        keys.lose();
        assert_eq!(keys.last("a"), 3);
        assert_eq!(keys.last("b"), 0);
    }

    #[test]
    fn who_reads_all_keys_sees_none_that_come_later() {
        let mut keys = Keys::default();
        keys.found("a", 1);
        keys.found("b", 2);
        let before = keys.durable();
        for (key, revision) in [("b", 3), ("c", 4)] {
            keys.append(key, revision);
            keys.take();
            keys.settle();
        }
        let all = |durable: &Durable| {
            let mut all: Vec<_> = durable.iter().map(|(key, at)| (key.to_owned(), at)).collect();
            all.sort();
            all
        };
        let pairs = |of: &[(&str, Revision)]| -> Vec<_> {
            of.iter().map(|(key, at)| ((*key).to_owned(), *at)).collect()
        };
        assert_eq!(all(&before), pairs(&[("a", 1), ("b", 2)]));
        assert_eq!(all(&keys.durable()), pairs(&[("a", 1), ("b", 3), ("c", 4)]));
        drop(before);
        keys.append("a", 5);
        keys.take();
        keys.settle();
        assert!(keys.durable.recent.is_empty(), "it is one table again");
        assert_eq!(all(&keys.durable()), pairs(&[("a", 5), ("b", 3), ("c", 4)]));
    }
}
