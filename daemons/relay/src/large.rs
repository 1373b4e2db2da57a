use std::{
    collections::{HashMap, HashSet, VecDeque},
    time::Duration,
};

use bytes::Bytes;

/// Messages that wait to be fetched, each by those who were told of it. `F` is a file that holds
/// one.
///
/// There is room for what is stored before it is: a message that goes into a file is here until it
/// is there, so that it can be told of before those that come after it.
#[derive(Debug)]
pub struct Large<F> {
    entries: HashMap<String, Entry<F>>,
    /// In the order in which they came, which is that in which they go.
    order: VecDeque<(Duration, String)>,
    /// Bytes, reserved or taken.
    memory: usize,
    disk: usize,
    bounds: LargeBounds,
}

/// How much may wait, and how long.
#[derive(Clone, Copy, Debug)]
pub struct LargeBounds {
    /// Bytes in memory.
    pub memory: usize,
    /// Bytes in files, beyond that.
    pub disk: usize,
    /// How long a message may wait.
    pub time: Duration,
}

/// Where a message is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stored<F> {
    /// Here. A clone shares it.
    Memory(Bytes),
    /// Here as well, until it is in its file.
    Spilling(Bytes),
    /// In a file, so many bytes.
    File(F, usize),
}

/// Where a message may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// Into memory.
    Memory,
    /// Into a file.
    File,
}

#[derive(Debug)]
struct Entry<F> {
    stored: Stored<F>,
    /// By their numbers.
    receivers: HashSet<u64>,
}

impl<F: Clone> Large<F> {
    /// Nothing yet.
    #[must_use]
    pub fn new(bounds: LargeBounds) -> Self {
        Self { entries: HashMap::new(), order: VecDeque::new(), memory: 0, disk: 0, bounds }
    }

    /// Sets other bounds, for what comes from now on.
    pub fn set_bounds(&mut self, bounds: LargeBounds) {
        self.bounds = bounds;
    }

    /// How many wait, and their bytes in memory and in files.
    #[must_use]
    pub fn waiting(&self) -> (usize, usize, usize) {
        (self.entries.len(), self.memory, self.disk)
    }

    /// Reserves room for a message; `None` if there is none, or if what should be in files is in
    /// memory.
    pub fn reserve(&mut self, bytes: usize) -> Option<Room> {
        if self.memory + bytes <= self.bounds.memory {
            self.memory += bytes;
            return Some(Room::Memory);
        }
        if self.memory <= self.bounds.memory && self.disk + bytes <= self.bounds.disk {
            self.disk += bytes;
            return Some(Room::File);
        }
        None
    }

    /// Keeps a message, for which there is room, for its receivers; if there are none, its room is
    /// free again.
    pub fn keep(
        &mut self,
        id: String,
        stored: Stored<F>,
        receivers: HashSet<u64>,
        now: Duration,
    ) -> bool {
        if receivers.is_empty() {
            self.forget(&stored);
            return false;
        }
        self.order.push_back((now + self.bounds.time, id.clone()));
        self.entries.insert(id, Entry { stored, receivers });
        true
    }

    /// What is to be written into a file, if a message is.
    #[must_use]
    pub fn spilling(&self, id: &str) -> Option<Bytes> {
        match &self.entries.get(id)?.stored {
            Stored::Spilling(text) => Some(text.clone()),
            _ => None,
        }
    }

    /// A message is in its file now; without one it stays in memory, whether there is room or not:
    /// it has been told of.
    pub fn spilled(&mut self, id: &str, file: Option<F>) {
        // All may have fetched it meanwhile.
        let Some(entry) = self.entries.get_mut(id) else { return };
        let Stored::Spilling(text) = &entry.stored else { return };
        let bytes = text.len();
        if let Some(file) = file {
            entry.stored = Stored::File(file, bytes);
        } else {
            entry.stored = Stored::Memory(text.clone());
            (self.disk, self.memory) = (self.disk - bytes, self.memory + bytes);
        }
    }

    /// What a peer fetches: each may once, who was told of it.
    pub fn fetch(&mut self, id: &str, number: u64) -> Option<Stored<F>> {
        let entry = self.entries.get_mut(id)?;
        if !entry.receivers.remove(&number) {
            return None;
        }
        let stored = entry.stored.clone();
        self.remove_if_done(id);
        Some(stored)
    }

    /// A peer has gone, and fetches nothing any more.
    pub fn leave(&mut self, number: u64) {
        let mut done = Vec::new();
        for (id, entry) in &mut self.entries {
            if entry.receivers.remove(&number) && entry.receivers.is_empty() {
                done.push(id.clone());
            }
        }
        done.iter().for_each(|id| self.remove_if_done(id));
    }

    /// Forgets what has waited too long; how many those were.
    pub fn expire(&mut self, now: Duration) -> usize {
        let mut expired = 0;
        while let Some((_, id)) = self.order.pop_front_if(|(at, _)| *at <= now) {
            if let Some(entry) = self.entries.remove(&id) {
                self.forget(&entry.stored);
                expired += 1;
            }
        }
        expired
    }

    /// When the next has waited too long. What was fetched may still be counted.
    #[must_use]
    pub fn next_expiry(&self) -> Option<Duration> {
        self.order.front().map(|(at, _)| *at)
    }

    fn remove_if_done(&mut self, id: &str) {
        if self.entries.get(id).is_some_and(|it| it.receivers.is_empty())
            && let Some(entry) = self.entries.remove(id)
        {
            self.forget(&entry.stored);
        }
        // What is gone is not waited for.
        while self.order.front().is_some_and(|(_, id)| !self.entries.contains_key(id)) {
            self.order.pop_front();
        }
    }

    fn forget(&mut self, stored: &Stored<F>) {
        match stored {
            Stored::Memory(text) => self.memory -= text.len(),
            Stored::Spilling(text) => self.disk -= text.len(),
            Stored::File(_, bytes) => self.disk -= bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn large() -> Large<u8> {
        let time = Duration::from_secs(60);
        Large::new(LargeBounds { memory: 100, disk: 200, time })
    }

    fn keep(large: &mut Large<u8>, id: &str, bytes: usize, receivers: &[u64], at: u64) -> bool {
        let stored = match large.reserve(bytes) {
            Some(Room::Memory) => Stored::Memory("x".repeat(bytes).into()),
            Some(Room::File) => Stored::File(1, bytes),
            None => return false,
        };
        let receivers = receivers.iter().copied().collect();
        large.keep(id.to_owned(), stored, receivers, Duration::from_secs(at))
    }

    #[test]
    fn each_receiver_fetches_once_and_the_last_makes_it_go() {
        let mut large = large();
        assert!(keep(&mut large, "one", 60, &[1, 2], 0));
        assert_eq!(large.fetch("one", 3), None);
        assert_eq!(large.fetch("two", 1), None);
        assert!(large.fetch("one", 1).is_some());
        assert_eq!(large.fetch("one", 1), None);
        assert_eq!(large.waiting(), (1, 60, 0));
        assert!(large.fetch("one", 2).is_some());
        assert_eq!((large.waiting(), large.next_expiry()), ((0, 0, 0), None));
    }

    #[test]
    fn memory_comes_first_then_files_then_nothing() {
        let mut large = large();
        assert!(keep(&mut large, "one", 60, &[1], 0));
        assert!(keep(&mut large, "two", 60, &[1], 0));
        assert_eq!(large.waiting(), (2, 60, 60));
        assert!(keep(&mut large, "three", 140, &[1], 0));
        assert!(!keep(&mut large, "four", 41, &[1], 0));
        assert!(keep(&mut large, "five", 40, &[1], 0));
        assert_eq!(large.fetch("two", 1), Some(Stored::File(1, 60)));
        assert_eq!(large.waiting(), (3, 100, 140));
    }

    #[test]
    fn what_goes_into_a_file_can_be_fetched_before_it_is_there() {
        let mut large = large();
        let text = Bytes::from("x".repeat(150));
        let spill = |large: &mut Large<u8>, id: &str, receivers: &[u64]| {
            assert_eq!(large.reserve(150), Some(Room::File));
            let receivers = receivers.iter().copied().collect();
            large.keep(id.to_owned(), Stored::Spilling(text.clone()), receivers, Duration::ZERO);
        };
        spill(&mut large, "one", &[1, 2]);
        assert_eq!(large.fetch("one", 1), Some(Stored::Spilling(text.clone())));
        large.spilled("one", Some(7));
        assert_eq!(
            (large.waiting(), large.fetch("one", 2)),
            ((1, 0, 150), Some(Stored::File(7, 150)))
        );
        spill(&mut large, "two", &[1]);
        assert!(large.fetch("two", 1).is_some());
        large.spilled("two", Some(7));
        assert_eq!(large.waiting(), (0, 0, 0));
        // What can't be written is there all the same, and nothing else comes before it is gone.
        spill(&mut large, "three", &[1]);
        large.spilled("three", None);
        assert_eq!((large.waiting(), large.reserve(1)), ((1, 150, 0), None));
        assert_eq!(large.fetch("three", 1), Some(Stored::Memory(text.clone())));
        assert_eq!((large.waiting(), large.reserve(1)), ((0, 0, 0), Some(Room::Memory)));
    }

    #[test]
    fn what_nobody_fetches_goes_after_its_time_and_what_nobody_is_told_of_at_once() {
        let mut large = large();
        assert!(!keep(&mut large, "none", 60, &[], 0));
        assert_eq!(large.waiting(), (0, 0, 0));
        assert!(keep(&mut large, "one", 60, &[1, 2], 0));
        assert!(keep(&mut large, "two", 30, &[2], 10));
        assert_eq!(large.next_expiry(), Some(Duration::from_secs(60)));
        assert_eq!(large.expire(Duration::from_secs(59)), 0);
        large.leave(1);
        assert_eq!(large.waiting().0, 2);
        assert_eq!(large.expire(Duration::from_secs(60)), 1);
        assert_eq!(large.waiting(), (1, 30, 0));
        large.leave(2);
        assert_eq!((large.waiting(), large.next_expiry()), ((0, 0, 0), None));
    }
}
