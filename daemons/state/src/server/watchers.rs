//! Sessions with an open stream: what each watches, and what waits for it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use daemon::{Guest, Source, Stream};
use state::{
    Record, State,
    account::Time,
    actor::SessionId,
    decide::Sent,
    deliver::deliver,
    event::Event,
    name::UserName,
    permission::Cap,
    queue::{Item, Notice, Queue, QueueLimits},
    subscription::Subscriptions,
};
use tokio::sync::Notify;

use super::now;

/// All who watch.
#[derive(Debug)]
pub(crate) struct Watchers {
    limits: QueueLimits,
    subscriptions: Subscriptions,
    feeds: BTreeMap<SessionId, Feed>,
    /// Whose queue was dropped, until they read again.
    lagging: BTreeSet<SessionId>,
    /// Told when somebody begins to lag.
    timers_changed: Arc<Notify>,
    told: u64,
    /// Of sessions that are gone.
    dropped: u64,
}

#[derive(Debug)]
struct Feed {
    stream: Stream,
    user: Option<UserName>,
    queue: Queue,
}

impl Watchers {
    pub(crate) fn new(limits: QueueLimits, timers_changed: Arc<Notify>) -> Self {
        Self {
            limits,
            subscriptions: Subscriptions::default(),
            feeds: BTreeMap::new(),
            lagging: BTreeSet::new(),
            timers_changed,
            told: 0,
            dropped: 0,
        }
    }

    /// Opens the stream of a session unless it is open; `source` is its end of the queue.
    pub(crate) fn open(
        &mut self,
        session: &SessionId,
        guest: &Guest,
        user: Option<UserName>,
        cap: Option<Cap>,
        source: impl FnOnce() -> Arc<dyn Source>,
    ) -> Result<(), daemon::Failure> {
        if self.feeds.get(session).is_some_and(|it| !it.stream.has_ended()) {
            return Ok(());
        }
        self.close(session);
        let (stream, queue) = (guest.feed()?, Queue::new(self.limits));
        stream.draw_from(source());
        self.subscriptions.open(session.clone(), user.clone(), cap);
        self.feeds.insert(session.clone(), Feed { stream, user, queue });
        Ok(())
    }

    /// The session watches nothing any more.
    pub(crate) fn close(&mut self, session: &SessionId) {
        drop(self.take(session));
    }

    /// The same for who must leave: he hears `last`, and nothing of what waits for him.
    pub(crate) fn silence(&mut self, session: &SessionId, last: Option<&serde_json::Value>) {
        if let Some(feed) = self.take(session) {
            // Whoever has ended the stream does not listen.
            last.map(|it| feed.stream.emit("message", it).ok());
            feed.stream.fall_silent();
        }
    }

    fn take(&mut self, session: &SessionId) -> Option<Feed> {
        self.subscriptions.close(session);
        self.lagging.remove(session);
        let feed = self.feeds.remove(session)?;
        self.dropped += feed.queue.dropped();
        Some(feed)
    }

    pub(crate) fn subscriptions(&self) -> &Subscriptions {
        &self.subscriptions
    }

    pub(crate) fn subscriptions_mut(&mut self) -> &mut Subscriptions {
        &mut self.subscriptions
    }

    /// How many events and messages there were.
    pub(crate) fn told(&self) -> u64 {
        self.told
    }

    /// How many of them were dropped, since somebody read too slowly.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped + self.feeds.values().map(|it| it.queue.dropped()).sum::<u64>()
    }

    /// How many bytes wait for a session.
    pub(crate) fn held_bytes(&self, session: &SessionId) -> usize {
        self.feeds.get(session).map_or(0, |it| it.queue.bytes())
    }

    /// Tells everybody whom it concerns of a commit that is durable.
    pub(crate) fn tell(&mut self, before: &State, after: &State, record: &Record) {
        if self.feeds.is_empty() {
            return;
        }
        for delivery in deliver(before, after, record, &self.subscriptions) {
            self.put(&delivery.session, delivery.events.into_iter().map(Item::Change));
            for id in delivery.ended {
                self.subscriptions.unsubscribe(&delivery.session, id);
            }
        }
    }

    /// Tells one session something.
    pub(crate) fn push(&mut self, session: &SessionId, event: &Event) {
        self.put(session, [Item::Change(event.clone())]);
    }

    /// Sends a message to all sessions of its user; to how many.
    pub(crate) fn send(&mut self, sent: &Sent) -> usize {
        let message = &sent.message;
        let meant = self.feeds.iter().filter(|(_, it)| it.user.as_ref() == Some(&message.user));
        let meant: Vec<_> = meant.map(|(session, _)| session.clone()).collect();
        let notice = Notice {
            name: message.name.clone(),
            src: sent.src.clone(),
            payload: message.payload.clone(),
            path: message.path.clone(),
        };
        meant.iter().filter(|it| self.put(it, [Item::Message(notice.clone())])).count()
    }

    /// Puts something into the queue of a session; false if its stream has ended.
    fn put(&mut self, session: &SessionId, items: impl IntoIterator<Item = Item>) -> bool {
        let Some(feed) = self.feeds.get_mut(session) else { return false };
        if feed.stream.has_ended() {
            self.close(session);
            return false;
        }
        feed.queue.push(items.into_iter().inspect(|_| self.told += 1), now());
        feed.stream.wake();
        if feed.queue.deadline().is_some() && self.lagging.insert(session.clone()) {
            self.timers_changed.notify_one();
        }
        true
    }

    /// The next that waits for a session. If it was left behind, that is how things are now.
    pub(crate) fn next(&mut self, session: &SessionId, durable: &State) -> Option<Item> {
        let (feed, subscriptions) = (self.feeds.get_mut(session)?, &self.subscriptions);
        let subscriber = subscriptions.subscriber(session);
        let syncs = || subscriber.map(|it| it.syncs(durable)).unwrap_or_default();
        let next = feed.queue.pop(syncs);
        self.lagging.remove(session);
        next.map(|(_, item)| item)
    }

    /// When the next of those who lag loses its stream.
    pub(crate) fn deadline(&self) -> Option<Time> {
        let lagging = self.lagging.iter().filter_map(|it| self.feeds.get(it));
        lagging.filter_map(|it| it.queue.deadline()).min()
    }

    /// Ends the streams of those who have not read for too long.
    pub(crate) fn end_lagging(&mut self, now: Time) {
        let is_over = |feed: &Feed| feed.queue.deadline().is_some_and(|it| it <= now);
        let over = self.lagging.iter().filter(|it| self.feeds.get(*it).is_some_and(is_over));
        for session in over.cloned().collect::<Vec<_>>() {
            if let Some(feed) = self.take(&session) {
                feed.stream.end("lagged");
            }
        }
    }
}
