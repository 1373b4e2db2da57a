use std::{collections::VecDeque, sync::Arc};

use crate::PeerId;

/// The last messages of a database, for guests that come back and say how far they had got.
#[derive(Debug, Default)]
pub struct History {
    kept: VecDeque<Kept>,
    bytes: usize,
}

/// A message that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its number in the database.
    pub n: u64,
    /// Who sent it.
    pub from: PeerId,
    /// To whom; `None` for all.
    pub to: Option<Arc<str>>,
    /// What.
    pub text: Arc<str>,
}

/// So many are kept, of so many bytes together.
const MOST: usize = 1024;
const MOST_BYTES: usize = 4 << 20;

/// What one takes beside its texts.
const EACH_BYTES: usize = size_of::<Kept>() + 64;

impl History {
    /// Adds the next message; the oldest go when there is no room.
    pub fn add(&mut self, message: Kept) {
        self.bytes += message.bytes();
        self.kept.push_back(message);
        while self.kept.len() > MOST || self.bytes > MOST_BYTES {
            let Some(oldest) = self.kept.pop_front() else { break };
            self.bytes -= oldest.bytes();
        }
    }

    /// The messages after number `n` that are still there.
    pub fn after(&self, n: u64) -> impl Iterator<Item = &Kept> {
        let first = self.kept.partition_point(|it| it.n <= n);
        self.kept.range(first..)
    }
}

impl Kept {
    fn bytes(&self) -> usize {
        EACH_BYTES + self.text.len() + self.to.as_ref().map_or(0, |it| it.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(n: u64, bytes: usize) -> Kept {
        let from = PeerId::read("sender").unwrap();
        Kept { n, from, to: None, text: "x".repeat(bytes).into() }
    }

    fn numbers(history: &History, after: u64) -> Vec<u64> {
        history.after(after).map(|it| it.n).collect()
    }

    #[test]
    fn the_last_are_kept_as_many_as_have_room() {
        let mut history = History::default();
        (1..=2000).for_each(|n| history.add(message(n, 10)));
        assert_eq!(numbers(&history, 0), (977..=2000).collect::<Vec<_>>());
        assert_eq!(numbers(&history, 1998), [1999, 2000]);
        assert!(numbers(&history, 2000).is_empty());
        (2001..=2004).for_each(|n| history.add(message(n, 1 << 20)));
        assert_eq!(numbers(&history, 0), [2002, 2003, 2004]);
        history.add(message(2005, 5 << 20));
        assert!(numbers(&history, 0).is_empty());
        assert_eq!(history.bytes, 0);
    }
}
