use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
};

use crate::PeerId;

/// The last messages of a database, for guests that come back and say how far they had got.
#[derive(Debug, Default)]
pub struct History {
    /// Each with when it was added to any of those on the shelf.
    kept: VecDeque<(u64, Kept)>,
    bytes: usize,
    shelf: Arc<Shelf>,
}

/// Where the histories of all databases are.
#[derive(Debug, Default)]
pub struct Shelf {
    bytes: AtomicUsize,
    added: AtomicU64,
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
const EACH_BYTES: usize = size_of::<(u64, Kept)>() + 64;

impl Shelf {
    /// How much all of them keep.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.load(Relaxed)
    }
}

impl History {
    /// An empty one beside others.
    #[must_use]
    pub fn on(shelf: &Arc<Shelf>) -> Self {
        Self { kept: VecDeque::new(), bytes: 0, shelf: Arc::clone(shelf) }
    }

    /// Adds the next message; the oldest go when there is no room.
    pub fn add(&mut self, message: Kept) {
        self.bytes += message.bytes();
        self.shelf.bytes.fetch_add(message.bytes(), Relaxed);
        self.kept.push_back((self.shelf.added.fetch_add(1, Relaxed), message));
        while self.kept.len() > MOST || self.bytes > MOST_BYTES {
            self.drop_oldest();
        }
    }

    /// When the oldest message was added to any on the shelf.
    #[must_use]
    pub fn oldest(&self) -> Option<u64> {
        self.kept.front().map(|(added, _)| *added)
    }

    /// Drops that.
    pub fn drop_oldest(&mut self) {
        if let Some((_, oldest)) = self.kept.pop_front() {
            self.bytes -= oldest.bytes();
            self.shelf.bytes.fetch_sub(oldest.bytes(), Relaxed);
        }
    }

    /// The messages after number `n` that are still there.
    pub fn after(&self, n: u64) -> impl Iterator<Item = &Kept> {
        let first = self.kept.partition_point(|(_, it)| it.n <= n);
        self.kept.range(first..).map(|(_, it)| it)
    }
}

impl Drop for History {
    fn drop(&mut self) {
        self.shelf.bytes.fetch_sub(self.bytes, Relaxed);
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
