//! Sessions with an open stream: what each watches, and what waits for it.

use std::{collections::BTreeSet, sync::Arc};

use daemon::{Guest, Source, Stream};
use state::{
    Path, Record, State,
    account::Time,
    actor::SessionId,
    decide::Sent,
    deliver::deliver,
    event::Event,
    name::UserName,
    permission::Cap,
    queue::{Full, Item, Next, Owed, Queue, QueueLimits, Told},
    subscription::Subscriptions,
};
use tokio::sync::Notify;

use super::{
    by_session::{BySession, Place},
    commits::Flow,
    now,
};

/// All who watch.
#[derive(Debug)]
pub(crate) struct Watchers {
    limits: QueueLimits,
    subscriptions: Subscriptions,
    feeds: BySession<Feed>,
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
    queue: Queue,
    /// The connection asks for what waits, and will until it has been told that nothing does.
    is_awake: bool,
    /// How many bytes waited when it was to know that last.
    weighed: usize,
}

impl Feed {
    /// Has the connection ask, which costs nothing while it does anyway; false if there is nobody
    /// to ask any more.
    fn wake(&mut self) -> bool {
        if self.is_awake {
            self.weigh();
            return true;
        }
        self.stream.wake();
        self.is_awake = true;
        !self.stream.has_ended()
    }

    /// Who reads nothing counts with all that waits for it.
    fn weigh(&mut self) {
        let bytes = self.queue.held();
        if bytes >= self.weighed + Stream::UNWEIGHED_BYTES {
            self.weighed = bytes;
            self.stream.weigh();
        }
    }
}

impl Watchers {
    pub(crate) fn new(limits: QueueLimits, timers_changed: Arc<Notify>) -> Self {
        Self {
            limits,
            subscriptions: Subscriptions::default(),
            feeds: BySession::default(),
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
        source: impl FnOnce(Place) -> Arc<dyn Source>,
    ) -> Result<(), daemon::Failure> {
        if self.feeds.get(session).is_some_and(|it| !it.stream.has_ended()) {
            return Ok(());
        }
        self.close(session);
        let (stream, queue) = (guest.feed()?, Queue::new(self.limits));
        self.subscriptions.open(session.clone(), user.clone(), cap);
        let feed = Feed { stream, queue, is_awake: false, weighed: 0 };
        let place = self.feeds.insert(session.clone(), user, feed);
        if let Some(feed) = self.feeds.at_mut(place, session) {
            feed.stream.draw_from(source(place));
        }
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

    /// How much may wait for a session.
    pub(crate) fn limits(&self) -> QueueLimits {
        self.limits
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
        self.dropped + self.feeds.iter().map(|it| it.1.queue.dropped()).sum::<u64>()
    }

    /// How many bytes wait for a session.
    pub(crate) fn held_bytes(&self, session: &SessionId) -> usize {
        self.feeds.get(session).map_or(0, |it| it.queue.held())
    }

    /// Tells everybody whom it concerns of a commit that is durable.
    pub(crate) fn tell(&mut self, before: &State, after: &State, record: &Record) {
        if self.feeds.is_empty() {
            return;
        }
        for delivery in deliver(before, after, record, &self.subscriptions) {
            self.tell_one(&delivery.session, delivery.events);
            for id in delivery.ended {
                self.subscriptions.unsubscribe(&delivery.session, id);
            }
        }
    }

    /// Tells one session of what happened at once.
    pub(crate) fn tell_one(&mut self, session: &SessionId, events: Vec<Event>) {
        self.told += events.len() as u64;
        self.with(session, |queue, now| queue.push_events(events, now));
    }

    /// Owes a `sync` to subscriptions of one session, as many as it has.
    pub(crate) fn owe_all(&mut self, session: &SessionId, owed: Owed) {
        self.with(session, |queue, _| queue.owe_subs(owed));
    }

    /// Owes one session a `sync` that it has asked for by itself.
    pub(crate) fn owe(&mut self, session: &SessionId, path: Path) -> Result<(), Full> {
        self.with(session, |queue, _| queue.owe(path)).unwrap_or(Ok(()))
    }

    /// Sends a message to all sessions of its user; to how many that are told it.
    pub(crate) fn send(&mut self, sent: &Sent) -> usize {
        let message = &sent.message;
        let told = Told::new(sent, self.feeds.count_of(&message.user));
        let (item, now) = (Item::Message(Arc::new(told)), now());
        let (mut reached, mut gone, mut lagging) = (0, vec![], vec![]);
        self.feeds.each_of(&message.user, |session, feed| {
            self.told += 1;
            let is_told = feed.queue.push(item.clone(), now);
            match feed.wake() {
                true => reached += usize::from(is_told),
                false => gone.push(session.clone()),
            }
            if !is_told {
                lagging.push(session.clone());
            }
        });
        gone.iter().for_each(|it| self.close(it));
        lagging.iter().for_each(|it| self.note_lag(it));
        reached
    }

    /// Whether a session is told what is sent to its user.
    pub(crate) fn is_open(&self, session: &SessionId) -> bool {
        self.feeds.get(session).is_some()
    }

    /// Changes the queue of a session, unless its stream has ended.
    fn with<T>(
        &mut self,
        session: &SessionId,
        change: impl FnOnce(&mut Queue, Time) -> T,
    ) -> Option<T> {
        self.forget_ended(session);
        let feed = self.feeds.get_mut(session)?;
        let result = change(&mut feed.queue, now());
        feed.wake();
        self.note_lag(session);
        Some(result)
    }

    /// Closes the session if its stream has ended, as by `cancel`: its subscriptions have, too.
    pub(crate) fn forget_ended(&mut self, session: &SessionId) {
        if self.feeds.get(session).is_some_and(|it| it.stream.has_ended()) {
            self.close(session);
        }
    }

    /// The same of all sessions.
    pub(crate) fn forget_all_ended(&mut self) {
        let ended = self.feeds.iter().filter(|it| it.1.stream.has_ended());
        for session in ended.map(|it| it.0.clone()).collect::<Vec<_>>() {
            self.close(&session);
        }
    }

    /// Keeps in mind whose patience runs.
    fn note_lag(&mut self, session: &SessionId) {
        let lags = self.feeds.get(session).is_some_and(|it| it.queue.deadline().is_some());
        if !lags {
            self.lagging.remove(session);
        } else if self.lagging.insert(session.clone()) {
            self.timers_changed.notify_one();
        }
    }

    /// Gives what waits for a session until `give` has enough. If the session was left behind,
    /// that is how things are now.
    pub(crate) fn give(
        &mut self,
        (place, session): (Place, &SessionId),
        durable: &State,
        now: Time,
        mut give: impl FnMut(&Item) -> Flow,
    ) {
        let Some(feed) = self.feeds.at_mut(place, session) else { return };
        let subscriptions = &self.subscriptions;
        let subscriber = || subscriptions.subscriber(session);
        let all = || subscriber().map(|it| it.owed()).unwrap_or_default();
        feed.is_awake = false;
        while let Some(next) = feed.queue.pop(now, all) {
            let item = match next {
                Next::Item(item) => Some(item),
                Next::Owed(owed) => {
                    let sync = subscriber().and_then(|it| it.sync(owed, durable));
                    sync.map(|it| Item::Change(Box::new(it)))
                }
            };
            if item.is_some_and(|it| give(&it).is_break()) {
                feed.is_awake = true;
                break;
            }
        }
        feed.weighed = feed.queue.held();
        let is_known_to_lag = !self.lagging.is_empty() && self.lagging.contains(session);
        if is_known_to_lag || feed.queue.deadline().is_some() {
            self.note_lag(session);
        }
    }

    /// When the next of those who lag loses its stream.
    pub(crate) fn deadline(&self) -> Option<Time> {
        let lagging = self.lagging.iter().filter_map(|it| self.feeds.get(it));
        lagging.filter_map(|it| it.queue.deadline()).min()
    }

    /// Ends the streams of those who have not read for too long.
    pub(crate) fn end_lagging(&mut self, now: Time) {
        let is_over = |feed: &Feed| feed.queue.deadline().is_some_and(|it| it <= now);
        let over = self.lagging.iter().filter(|it| self.feeds.get(it).is_some_and(is_over));
        for session in over.cloned().collect::<Vec<_>>() {
            if let Some(feed) = self.take(&session) {
                let missed = feed.queue.dropped();
                feed.stream.lag(missed);
            }
        }
    }

    /// Ends the stream of a session to which the next event can't be sent.
    pub(crate) fn end(&mut self, session: &SessionId, reason: &str) {
        if let Some(feed) = self.take(session) {
            feed.stream.end(reason);
        }
    }
}
