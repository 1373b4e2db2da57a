//! What waits to be sent to one session, and what happens when it reads too slowly.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use serde::Serialize;

use crate::{
    account::Time,
    decide::Sent,
    event::{Event, Happening, SubscriptionId},
    name::UserName,
    operation::Message,
    path::Path,
    payload::Payload,
};

/// A free message as those read it who are told it.
#[derive(Serialize)]
struct Notice<'a> {
    name: &'a str,
    /// Nobody if the server itself does.
    src: Option<&'a UserName>,
    payload: &'a Payload,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'a Path>,
}

/// A message as it is told: written once, however many hear it.
#[derive(Debug)]
pub struct Told {
    text: String,
    /// How many bytes of it each session is charged with that is told it.
    share: usize,
}

impl Told {
    /// The data of a `message` event.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What is `sent`, to so many sessions.
    pub fn new(sent: &Sent, sessions: usize) -> Self {
        let Message { name, payload, path, .. } = &sent.message;
        let notice = Notice { name, src: sent.src.as_ref(), payload, path: path.as_ref() };
        let mut text = Vec::with_capacity(payload.len() + NOTICE_BYTES);
        serde_json::to_writer(&mut text, &notice).expect("names, a path and JSON are JSON");
        let text = String::from_utf8(text).expect("JSON is UTF-8");
        let share = text.capacity() / sessions.max(1);
        Self { text, share }
    }
}

/// Something that is sent unasked.
#[derive(Clone, Debug)]
pub enum Item {
    /// A change of the tree. On the heap, so that a queue of messages is a few cache lines.
    Change(Box<Event>),
    /// A free message, which all who are told it share.
    Message(Arc<Told>),
}

/// What stands around what a message says, mostly.
const NOTICE_BYTES: usize = 96;

/// What stands around a message on the wire, about.
const AROUND_BYTES: usize = 32;

impl Item {
    /// About how many bytes it has on the wire.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Change(event) => event.bytes(),
            Self::Message(told) => told.as_str().len() + AROUND_BYTES,
        }
    }

    /// About how many bytes of memory it takes; of what is shared, a share.
    fn held(&self) -> usize {
        size_of::<Self>()
            + match self {
                Self::Change(event) => event.bytes(),
                Self::Message(told) => told.share,
            }
    }

    /// Whether it tells of the end of a subscription, which nothing later tells.
    fn is_last(&self) -> bool {
        matches!(self, Self::Change(it) if matches!(it.happening, Happening::Revoked { .. }))
    }
}

/// A `sync` that is to be sent. It is made when the reader takes it, so that however large a value
/// is, it never waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owed {
    /// Of what.
    pub path: Path,
    /// For which subscriptions; for none if it was asked for by itself.
    pub subs: BTreeSet<SubscriptionId>,
    /// Events before it were dropped.
    pub is_lagged: bool,
}

/// What is sent next.
#[derive(Clone, Debug)]
pub enum Next {
    /// What has waited.
    Item(Item),
    /// A `sync` of how things are now.
    Owed(Owed),
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
/// When it would hold more than its limits, all that waits is dropped but the ends of
/// subscriptions, and what comes is dropped too, until the reader asks for more; then it is owed
/// one `sync` for each prefix that it watches. What happens to something of which a `sync` is owed
/// is not told: the `sync` tells it. If the reader takes nothing within its patience, the stream
/// is over.
#[derive(Clone, Debug)]
pub struct Queue {
    limits: QueueLimits,
    items: VecDeque<Item>,
    bytes: usize,
    held: usize,
    owed: VecDeque<Owed>,
    /// Since when things are dropped.
    lagging: Option<Time>,
    /// When the reader last took something, if it has to catch up.
    catching_up: Option<Time>,
    dropped: u64,
}

/// A reader asks for more than it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too much is owed already")]
pub struct Full;

impl Queue {
    /// An empty one.
    pub fn new(limits: QueueLimits) -> Self {
        Self {
            limits,
            items: VecDeque::new(),
            bytes: 0,
            held: 0,
            owed: VecDeque::new(),
            lagging: None,
            catching_up: None,
            dropped: 0,
        }
    }

    /// Adds the events of one commit. Those that a `sync` tells which is owed are left out.
    pub fn push_events(&mut self, events: Vec<Event>, now: Time) {
        let mut told: Vec<Event> = events.into_iter().filter_map(|it| self.not_owed(it)).collect();
        let last = told.len().saturating_sub(1);
        told.iter_mut().enumerate().for_each(|(at, it)| it.has_more = at < last);
        for event in told {
            self.push(Item::Change(Box::new(event)), now);
        }
    }

    /// Adds something; false if it is dropped.
    pub fn push(&mut self, item: Item, now: Time) -> bool {
        if self.lagging.is_some() && !item.is_last() {
            self.dropped += 1;
            return false;
        }
        self.bytes += item.bytes();
        self.held += item.held();
        self.items.push_back(item);
        // However large something is, it may wait if it waits alone.
        let is_too_much = self.items.len() > 1 && self.bytes > self.limits.bytes;
        if is_too_much || self.items.len() > self.limits.items {
            self.lag(now);
        }
        self.lagging.is_none()
    }

    /// The event without the subscriptions to which a `sync` is owed.
    fn not_owed(&mut self, mut event: Event) -> Option<Event> {
        if let Happening::Revoked { .. } = event.happening {
            self.owed.retain_mut(|owed| {
                let is_alone = owed.subs.is_empty();
                owed.subs.retain(|it| !event.subs.contains(it));
                is_alone || !owed.subs.is_empty()
            });
            return Some(event);
        }
        event.subs.retain(|sub| !self.owed.iter().any(|it| it.subs.contains(sub)));
        (!event.subs.is_empty()).then_some(event)
    }

    fn lag(&mut self, now: Time) {
        let before = self.items.len();
        self.items.retain(Item::is_last);
        self.dropped += (before - self.items.len()) as u64;
        self.bytes = self.items.iter().map(Item::bytes).sum();
        self.held = self.items.iter().map(Item::held).sum();
        self.owed.retain(|it| it.subs.is_empty());
        // Who begins and loses more subscriptions than may wait, and reads of none, is not waited
        // for.
        let is_hopeless = self.items.len() >= self.limits.items.max(1);
        self.lagging = Some(if is_hopeless { 0 } else { now });
    }

    /// Owes a `sync` to subscriptions. Who lags is owed all of them anyway.
    pub fn owe_subs(&mut self, owed: Owed) {
        let is_known = self.owed.iter().any(|it| it.subs.is_superset(&owed.subs));
        if !is_known && self.lagging.is_none() {
            self.owed.push_back(owed);
        }
    }

    /// Owes a `sync` of `path` that is for no subscription.
    ///
    /// # Errors
    /// If as many are owed as may wait.
    pub fn owe(&mut self, path: Path) -> Result<(), Full> {
        if self.owed.iter().filter(|it| it.subs.is_empty()).count() >= self.limits.items {
            return Err(Full);
        }
        self.owed.push_back(Owed { path, subs: BTreeSet::new(), is_lagged: false });
        Ok(())
    }

    /// What is sent next. The reader asks for it when it has taken all before. If it was left
    /// behind, `all` tells what it watches.
    pub fn pop(&mut self, now: Time, all: impl FnOnce() -> Vec<Owed>) -> Option<Next> {
        if self.lagging.take().is_some() {
            self.owed.extend(all().into_iter().map(|it| Owed { is_lagged: true, ..it }));
        }
        let next = self.pop_item().or_else(|| self.owed.pop_front().map(Next::Owed));
        self.catching_up = self.owed.iter().any(|it| it.is_lagged).then_some(now);
        next
    }

    fn pop_item(&mut self) -> Option<Next> {
        let item = self.items.pop_front()?;
        self.bytes -= item.bytes();
        self.held -= item.held();
        Some(Next::Item(item))
    }

    /// When the stream is over unless the reader asks for more before.
    pub fn deadline(&self) -> Option<Time> {
        self.lagging.or(self.catching_up).map(|it| it.saturating_add(self.limits.patience))
    }

    /// About how many bytes of memory wait, of what others wait for as well a share.
    pub fn held(&self) -> usize {
        self.held
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
    use crate::fixture::path;

    fn event(sub: SubscriptionId, rev: u64) -> Event {
        Event::new(vec![sub], rev, Happening::Delete { path: path("a") })
    }

    fn owed(sub: SubscriptionId) -> Owed {
        Owed { path: path("a"), subs: [sub].into(), is_lagged: false }
    }

    fn message(len: usize) -> Item {
        let (user, payload) = (UserName::new("bob").unwrap(), json!("x".repeat(len)).into());
        let message = Message { user, name: "m".to_owned(), payload, path: None };
        Item::Message(Arc::new(Told::new(&Sent { message, src: None }, 1)))
    }

    /// What comes out: the revision of an event, or the subscriptions of a `sync`.
    fn drained(queue: &mut Queue, all: &[Owed]) -> Vec<String> {
        let mut popped = Vec::new();
        while let Some(next) = queue.pop(7, || all.to_vec()) {
            popped.push(match next {
                Next::Item(Item::Change(it)) if it.has_more => format!("{}…", it.rev),
                Next::Item(Item::Change(it)) => it.rev.to_string(),
                Next::Item(Item::Message(it)) => it.as_str().to_owned(),
                Next::Owed(it) if it.is_lagged => format!("lagged {:?}", it.subs),
                Next::Owed(it) => format!("sync {:?}", it.subs),
            });
        }
        popped
    }

    fn queue(items: usize) -> Queue {
        Queue::new(QueueLimits { items, ..QueueLimits::default() })
    }

    #[test]
    fn who_reads_in_time_gets_everything_in_order() {
        let mut queue = queue(3);
        queue.push_events(vec![event(1, 1), event(1, 1)], 0);
        queue.push_events(vec![event(1, 2)], 0);
        assert_eq!(drained(&mut queue, &[]), ["1…", "1", "2"]);
        assert!(
            queue.deadline().is_none()
                && queue.dropped() == 0
                && queue.bytes == 0
                && queue.held() == 0
        );
    }

    #[test]
    fn who_falls_behind_gets_what_is_there_now() {
        let mut queue = queue(2);
        (1..=5).for_each(|rev| queue.push_events(vec![event(1, rev)], rev * 10));
        assert_eq!((queue.deadline(), queue.dropped()), (Some(30_030), 5));
        assert!(!queue.push(message(1), 60), "it would not be told");
        let Some(Next::Owed(first)) = queue.pop(70, || vec![owed(1), owed(2)]) else { panic!() };
        assert!(first.is_lagged && first.subs == [1].into());
        assert_eq!(queue.deadline(), Some(30_070), "one is owed still");
        // What happens to the second is told by its `sync`, what happens to the first is not.
        queue.push_events(vec![event(1, 7), event(2, 7)], 80);
        assert_eq!(drained(&mut queue, &[]), ["7", "lagged {2}"]);
        assert_eq!(queue.deadline(), None);
    }

    #[test]
    fn the_end_of_a_subscription_is_never_lost() {
        let mut queue = queue(4);
        let revoked = |sub| Event::new(vec![sub], 9, Happening::Revoked { path: path("a") });
        queue.owe_subs(owed(3));
        queue.push_events(vec![revoked(3)], 0);
        (1..=9).for_each(|rev| queue.push_events(vec![event(1, rev)], 0));
        queue.push_events(vec![revoked(2)], 0);
        assert_eq!(drained(&mut queue, &[owed(1)]), ["9", "9", "lagged {1}"]);
        (0..5).for_each(|sub| queue.push_events(vec![revoked(sub)], 100_000));
        assert_eq!(queue.deadline(), Some(30_000), "that is over");
    }

    #[test]
    fn what_is_asked_for_by_itself_is_owed_as_often() {
        let mut queue = queue(2);
        assert_eq!([(); 3].map(|()| queue.owe(path("a"))), [Ok(()), Ok(()), Err(Full)]);
        (1..=3).for_each(|rev| queue.push_events(vec![event(1, rev)], 0));
        assert_eq!(drained(&mut queue, &[]), ["sync {}", "sync {}"]);
    }

    #[test]
    fn bytes_count_as_well_as_items_but_one_may_be_large() {
        let mut queue = Queue::new(QueueLimits { bytes: 1000, ..QueueLimits::default() });
        assert!(queue.push(message(5000), 0));
        assert_eq!(drained(&mut queue, &[]).len(), 1);
        assert!(queue.push(message(500), 0) && !queue.push(message(500), 0));
        assert!(queue.deadline().is_some());
    }
}
