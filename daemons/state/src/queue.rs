//! What waits to be sent to one session, and what happens when it reads too slowly.

use std::collections::VecDeque;

use crate::{account::Time, event::Event, name::UserName, path::Path, payload::Payload};

/// A free message on its way to a session.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    /// What it is called.
    pub name: String,
    /// Who sends it; nobody if the server itself does.
    pub src: Option<UserName>,
    /// What it says.
    pub payload: Payload,
    /// What it is about.
    pub path: Option<Path>,
}

/// Something that is sent unasked.
#[derive(Clone, Debug)]
pub enum Item {
    /// A change of the tree.
    Change(Event),
    /// A free message.
    Message(Notice),
}

impl Item {
    fn bytes(&self) -> usize {
        match self {
            Self::Change(event) => event.bytes(),
            Self::Message(notice) => notice.payload.len() + notice.name.len() + 128,
        }
    }
}

/// How much may wait, and how long.
#[derive(Clone, Copy, Debug)]
pub struct QueueLimits {
    /// Items.
    pub items: usize,
    /// About so many bytes on the wire.
    pub bytes: usize,
    /// Milliseconds that a reader who was left behind has to catch up.
    pub patience: Time,
}

impl Default for QueueLimits {
    fn default() -> Self {
        Self { items: 4096, bytes: 8 << 20, patience: 30_000 }
    }
}

/// What waits for one session. Nobody who puts something in ever waits.
///
/// When it would hold more than its limits, all that waits is dropped, and what comes is dropped
/// too, until the reader asks for more; then it gets one `sync` for each prefix that it watches. If
/// that is not within its patience, the stream is over.
#[derive(Clone, Debug)]
pub struct Queue {
    limits: QueueLimits,
    items: VecDeque<Item>,
    bytes: usize,
    /// Since when things are dropped.
    lagging: Option<Time>,
    seq: u64,
    dropped: u64,
}

impl Queue {
    /// An empty one.
    pub fn new(limits: QueueLimits) -> Self {
        Self { limits, items: VecDeque::new(), bytes: 0, lagging: None, seq: 0, dropped: 0 }
    }

    /// Adds what belongs together: all of it waits, or none.
    pub fn push(&mut self, items: impl IntoIterator<Item = Item>, now: Time) {
        for item in items {
            if self.lagging.is_some() {
                self.dropped += 1;
                continue;
            }
            self.add(item);
            if self.items.len() > self.limits.items || self.bytes > self.limits.bytes {
                self.lag(now);
            }
        }
    }

    fn add(&mut self, item: Item) {
        self.bytes += item.bytes();
        self.items.push_back(item);
    }

    fn lag(&mut self, now: Time) {
        self.dropped += self.items.len() as u64;
        self.items.clear();
        self.bytes = 0;
        self.lagging = Some(now);
    }

    /// The next item with its number in the stream, from 1. The reader asks for it when it has
    /// taken all before. If it was left behind, `syncs` tells how things are now.
    pub fn pop(&mut self, syncs: impl FnOnce() -> Vec<Event>) -> Option<(u64, Item)> {
        if self.lagging.take().is_some() {
            // However large they are: what is there is what has to be told.
            for event in syncs() {
                self.add(Item::Change(Event { is_lagged: true, ..event }));
            }
        }
        let item = self.items.pop_front()?;
        self.bytes -= item.bytes();
        self.seq += 1;
        Some((self.seq, item))
    }

    /// When the stream is over unless the reader asks for more before.
    pub fn deadline(&self) -> Option<Time> {
        self.lagging.map(|it| it.saturating_add(self.limits.patience))
    }

    /// Whether [`Queue::pop`] would give something, or ask for it.
    pub fn is_waiting(&self) -> bool {
        !self.items.is_empty() || self.lagging.is_some()
    }

    /// About how many bytes wait.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many items were dropped so far.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{event::Happening, fixture::path};

    fn event(rev: u64) -> Event {
        Event::new(vec![1], rev, Happening::Delete { path: path("a") })
    }

    fn change(rev: u64) -> Item {
        Item::Change(event(rev))
    }

    fn revs(queue: &mut Queue) -> Vec<(u64, u64, bool)> {
        let mut popped = Vec::new();
        while let Some((seq, item)) = queue.pop(|| vec![event(99)]) {
            if let Item::Change(event) = item {
                popped.push((seq, event.rev, event.is_lagged));
            }
        }
        popped
    }

    #[test]
    fn who_reads_in_time_gets_everything_in_order() {
        let mut queue = Queue::new(QueueLimits { items: 3, ..QueueLimits::default() });
        queue.push([change(1), change(2), change(3)], 0);
        assert_eq!(revs(&mut queue), [(1, 1, false), (2, 2, false), (3, 3, false)]);
        queue.push([change(4)], 0);
        assert_eq!(revs(&mut queue), [(4, 4, false)]);
        assert!(!queue.is_waiting() && queue.deadline().is_none() && queue.dropped() == 0);
    }

    #[test]
    fn who_falls_behind_gets_what_is_there_now() {
        let mut queue = Queue::new(QueueLimits { items: 2, ..QueueLimits::default() });
        queue.push([change(1), change(2)], 10);
        queue.push([change(3), change(4)], 20);
        queue.push([change(5)], 30);
        assert_eq!((queue.deadline(), queue.dropped()), (Some(30_020), 5));
        assert!(queue.is_waiting());
        assert_eq!(revs(&mut queue), [(1, 99, true)]);
        queue.push([change(100)], 40);
        assert_eq!((queue.deadline(), revs(&mut queue)), (None, vec![(2, 100, false)]));
    }

    #[test]
    fn bytes_count_as_well_as_items() {
        let mut queue = Queue::new(QueueLimits { bytes: 1000, ..QueueLimits::default() });
        let notice = |len| {
            let (name, payload) = ("m".to_owned(), json!("x".repeat(len)).into());
            Item::Message(Notice { name, src: None, payload, path: None })
        };
        queue.push([notice(500)], 0);
        assert_eq!(queue.deadline(), None);
        queue.push([notice(500)], 0);
        assert!(queue.deadline().is_some());
    }
}
