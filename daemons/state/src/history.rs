//! Which of several pasts a revision is of.
//!
//! A backup that is restored goes on behind its last revision, and gives numbers again that were
//! given to what is lost. Whoever comes back with such a number has to say which of the two it is
//! of; the store knows only the one that it has.

use serde::{Deserialize, Serialize};

use crate::{map::Map, node::Revision};

/// The name of a history: random, so that no two have the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct History(String);

impl History {
    /// The one that is called `name`.
    pub fn new(name: String) -> Self {
        Self(name)
    }

    /// What it is called.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The histories through which a store came, each by its first revision. The first of all has no
/// name: it began with nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Histories(Map<Revision, History>);

impl Histories {
    /// Begins another one.
    pub(crate) fn begin(&mut self, first: Revision, history: History) {
        self.0.set(first, history);
    }

    /// The one that goes on; `None` is the first of all.
    pub(crate) fn current(&self) -> Option<&History> {
        self.0.iter().last().map(|it| it.1)
    }

    /// Whether what `history` was at `revision` is a part of what has become of it here.
    pub(crate) fn has(&self, history: Option<&History>, revision: Revision) -> bool {
        let mut later = self.0.iter();
        let is_known = history.is_none_or(|wanted| later.any(|it| it.1 == wanted));
        is_known && later.next().is_none_or(|(first, _)| revision < *first)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Revision, &History)> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_is_known_until_the_next_history_begins() {
        let history = |name: &str| History::new(name.to_owned());
        let (a, b) = (history("a"), history("b"));
        let mut histories = Histories::default();
        assert!(histories.has(None, 100) && !histories.has(Some(&a), 1));
        histories.begin(11, a.clone());
        histories.begin(21, b.clone());
        assert_eq!(histories.current(), Some(&b));
        assert!(histories.has(None, 10) && !histories.has(None, 11));
        assert!(histories.has(Some(&a), 20) && !histories.has(Some(&a), 21));
        assert!(histories.has(Some(&a), 5), "what was before it is a part of it");
        assert!(histories.has(Some(&b), 1000) && !histories.has(Some(&history("c")), 1));
    }
}
