use std::{collections::BTreeSet, thread};

use crate::name::Name;

/// Who may start: few at once, so that those that start get ready instead of all being slow
/// together.
#[derive(Debug)]
pub(super) struct Slots {
    limit: usize,
    held: BTreeSet<Name>,
    waiting: BTreeSet<Name>,
}

impl Slots {
    /// Twice as many slots as processors, at least four.
    pub(super) fn new() -> Self {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        Self { limit: (2 * processors).max(4), held: BTreeSet::new(), waiting: BTreeSet::new() }
    }

    /// Queues.
    pub(super) fn ask(&mut self, name: &Name) {
        self.waiting.insert(name.clone());
    }

    /// Gives a slot back, or leaves the queue.
    pub(super) fn release(&mut self, name: &Name) {
        self.held.remove(name);
        self.waiting.remove(name);
    }

    /// Hands a slot to the first by name that `may_start`, if one is free.
    pub(super) fn grant(&mut self, may_start: impl Fn(&Name) -> bool) -> Option<Name> {
        if self.held.len() >= self.limit {
            return None;
        }
        let next = self.waiting.iter().find(|name| may_start(name)).cloned()?;
        self.waiting.remove(&next);
        self.held.insert(next.clone());
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_goes_to_the_first_who_may_and_comes_back() {
        let name = |text: &str| Name::new(text).unwrap();
        let mut slots = Slots { limit: 1, held: BTreeSet::new(), waiting: BTreeSet::new() };
        slots.ask(&name("b"));
        slots.ask(&name("a"));
        assert_eq!(slots.grant(|it| *it != name("a")), Some(name("b")));
        assert_eq!(slots.grant(|_| true), None);
        slots.release(&name("b"));
        assert_eq!(slots.grant(|_| true), Some(name("a")));
        slots.release(&name("a"));
        assert_eq!(slots.grant(|_| true), None);
    }
}
