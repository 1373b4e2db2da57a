use std::{collections::HashMap, mem};

use crate::{AppendError, Expected, Revision};

type Table = HashMap<Box<str>, Revision>;

/// The last revision of each key: of what is durable, of the group on its way to the disk, of the
/// next.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    durable: Table,
    group: Table,
    next: Table,
}

impl Keys {
    /// The last revision of `key`; 0 when it has none.
    pub(crate) fn last(&self, key: &str) -> Revision {
        let tables = [&self.next, &self.group, &self.durable];
        tables.into_iter().find_map(|it| it.get(key)).copied().unwrap_or(0)
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
        if self.durable.get(key).is_none_or(|it| *it < revision) {
            put(&mut self.durable, key, revision);
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
    pub(crate) fn durable(&self) -> impl Iterator<Item = (&str, Revision)> {
        self.durable.iter().map(|(key, revision)| (&**key, *revision))
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
}
