//! Who watches what.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    actor::SessionId,
    event::{Event, EventName, SubscriptionId},
    failure::Refusal,
    index::Index,
    name::UserName,
    path::{Path, Segment},
    pattern::Pattern,
    permission::{Cap, Subject},
    queue::Owed,
    state::State,
};

/// What a subscription lets through. `sync`, `revoked` and events by permissions always come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// Only events of these names.
    pub names: Option<BTreeSet<EventName>>,
    /// Only what this user does.
    pub src: Option<UserName>,
    /// Commits of the same session come as well.
    pub has_echo: bool,
}

impl Default for Filter {
    fn default() -> Self {
        Self { names: None, src: None, has_echo: true }
    }
}

impl Filter {
    /// Whether `event` of one of the filtered kinds comes through.
    pub fn lets_through(&self, event: &Event) -> bool {
        let is_named = self.names.as_ref().is_none_or(|it| it.contains(&event.happening.name()));
        let src = event.origin.as_ref().and_then(|it| it.src.as_ref());
        is_named && (self.src.is_none() || self.src.as_ref() == src)
    }
}

/// One subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// About what.
    pub pattern: Pattern,
    /// Which of it.
    pub filter: Filter,
}

/// A session that watches.
#[derive(Clone, Debug)]
pub struct Subscriber {
    user: Option<UserName>,
    cap: Option<Cap>,
    subscriptions: BTreeMap<SubscriptionId, Subscription>,
    /// Of all patterns together: each is a node of the index.
    steps: usize,
    next: SubscriptionId,
}

/// Steps of a pattern, on the average of as many as a session may have.
const STEPS: usize = 8;

impl Subscriber {
    fn known(&self, subscription: &Subscription) -> Option<SubscriptionId> {
        let known = self.subscriptions.iter().find(|(_, it)| *it == subscription);
        known.map(|(id, _)| *id)
    }

    fn has_room(&self, subscription: &Subscription, limit: usize) -> Result<(), Refusal> {
        let steps = self.steps + subscription.pattern.steps().len();
        if self.known(subscription).is_some() {
            return Ok(());
        }
        if self.subscriptions.len() >= limit {
            return Err(Refusal::Quota("subscriptions of a session"));
        }
        if steps > limit.saturating_mul(STEPS) {
            return Err(Refusal::Quota("steps in the patterns of a session"));
        }
        Ok(())
    }

    fn remove(&mut self, id: SubscriptionId) -> Option<Subscription> {
        let subscription = self.subscriptions.remove(&id)?;
        self.steps -= subscription.pattern.steps().len();
        Some(subscription)
    }

    /// How permissions see it by `state`.
    pub fn subject(&self, state: &State) -> Subject {
        Subject { cap: self.cap.clone(), ..state.subject(self.user.as_ref()) }
    }

    /// As whom it is logged in.
    pub fn user(&self) -> Option<&UserName> {
        self.user.as_ref()
    }

    /// What the token allows by which it came, if that is less than everything.
    pub fn cap(&self) -> Option<&Cap> {
        self.cap.as_ref()
    }

    /// What it watches.
    pub fn subscriptions(&self) -> impl Iterator<Item = (SubscriptionId, &Subscription)> {
        self.subscriptions.iter().map(|(id, it)| (*id, it))
    }

    /// One of them.
    pub fn subscription(&self, id: SubscriptionId) -> Option<&Subscription> {
        self.subscriptions.get(&id)
    }

    /// A `sync` for each prefix, for who has lost the thread.
    pub fn owed(&self) -> Vec<Owed> {
        let mut by_prefix: BTreeMap<Path, BTreeSet<SubscriptionId>> = BTreeMap::new();
        for (id, subscription) in self.subscriptions() {
            by_prefix.entry(subscription.pattern.prefix()).or_default().insert(id);
        }
        let owed = |(path, subs)| Owed { path, subs, is_lagged: false };
        by_prefix.into_iter().map(owed).collect()
    }

    /// The `sync` that is owed, as `state` has it; none if all have ended for which it was.
    pub fn sync(&self, owed: Owed, state: &State) -> Option<Event> {
        let Owed { path, subs, is_lagged } = owed;
        let left: Vec<_> =
            subs.iter().filter(|it| self.subscriptions.contains_key(it)).copied().collect();
        if left.is_empty() && !subs.is_empty() {
            return None;
        }
        let value = self.subject(state).readable(state.root(), &path);
        Some(Event { is_lagged, ..Event::sync(left, state.revision(), path, value) })
    }
}

/// All subscriptions of all sessions, found by what they are about.
#[derive(Clone, Debug, Default)]
pub struct Subscriptions {
    sessions: BTreeMap<SessionId, Subscriber>,
    by_user: BTreeMap<UserName, BTreeSet<SessionId>>,
    index: Index,
}

impl Subscriptions {
    /// A session that may subscribe from now on, as `user` with `cap`. Whatever it had is gone.
    pub fn open(&mut self, session: SessionId, user: Option<UserName>, cap: Option<Cap>) {
        self.close(&session);
        if let Some(user) = &user {
            self.by_user.entry(user.clone()).or_default().insert(session.clone());
        }
        let subscriptions = BTreeMap::new();
        let subscriber = Subscriber { user, cap, subscriptions, steps: 0, next: 1 };
        self.sessions.insert(session, subscriber);
    }

    /// A session that is over, or not logged in any more.
    pub fn close(&mut self, session: &SessionId) {
        let Some(subscriber) = self.sessions.remove(session) else { return };
        for (id, subscription) in subscriber.subscriptions {
            self.index.remove(&subscription.pattern, session, id);
        }
        if let Some(user) = &subscriber.user
            && let Some(sessions) = self.by_user.get_mut(user)
        {
            sessions.remove(session);
            if sessions.is_empty() {
                self.by_user.remove(user);
            }
        }
    }

    /// Whether a session may have one more subscription, be it open or not.
    ///
    /// # Errors
    /// As of [`Subscriptions::subscribe`].
    pub fn has_room(
        &self,
        session: &SessionId,
        subscription: &Subscription,
        limit: usize,
    ) -> Result<(), Refusal> {
        let subscriber = self.sessions.get(session);
        subscriber.map_or(Ok(()), |it| it.has_room(subscription, limit))
    }

    /// Adds a subscription of an open session, and tells its id. The same one made again has the
    /// same id.
    ///
    /// # Errors
    /// If the session is not open, or would have more than `limit`.
    pub fn subscribe(
        &mut self,
        session: &SessionId,
        subscription: Subscription,
        limit: usize,
    ) -> Result<SubscriptionId, Refusal> {
        let subscriber = self.sessions.get_mut(session).ok_or(Refusal::AuthRequired)?;
        if let Some(id) = subscriber.known(&subscription) {
            return Ok(id);
        }
        subscriber.has_room(&subscription, limit)?;
        let id = subscriber.next;
        subscriber.next += 1;
        subscriber.steps += subscription.pattern.steps().len();
        self.index.insert(&subscription.pattern, session.clone(), id);
        subscriber.subscriptions.insert(id, subscription);
        Ok(id)
    }

    /// Ends a subscription; tells whether there was one.
    pub fn unsubscribe(&mut self, session: &SessionId, id: SubscriptionId) -> bool {
        let subscriber = self.sessions.get_mut(session);
        let Some(subscription) = subscriber.and_then(|it| it.remove(id)) else { return false };
        self.index.remove(&subscription.pattern, session, id);
        true
    }

    /// Ends those of `pattern`, if names are given only those for exactly these; tells how many.
    pub fn unsubscribe_all(
        &mut self,
        session: &SessionId,
        pattern: &Pattern,
        names: Option<&BTreeSet<EventName>>,
    ) -> usize {
        let Some(subscriber) = self.sessions.get(session) else { return 0 };
        let is_meant = |it: &Subscription| {
            it.pattern == *pattern && (names.is_none() || it.filter.names.as_ref() == names)
        };
        let meant: Vec<_> =
            subscriber.subscriptions().filter(|it| is_meant(it.1)).map(|it| it.0).collect();
        meant.into_iter().filter(|id| self.unsubscribe(session, *id)).count()
    }

    /// An open session.
    pub fn subscriber(&self, session: &SessionId) -> Option<&Subscriber> {
        self.sessions.get(session)
    }

    /// How many subscriptions there are.
    pub fn len(&self) -> usize {
        self.sessions.values().map(|it| it.subscriptions.len()).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Those that a change at `path` can matter to; perhaps some others.
    /// The act is that of the `number`.
    pub(crate) fn near(&self, path: &[Segment], number: usize, found: &mut Found) {
        self.index.near(path, &mut |session, id| {
            found.entry(session.clone()).or_default().entry(id).or_default().push(number);
        });
    }

    /// All of the sessions of `user`.
    pub(crate) fn of_user(&self, user: &UserName, number: usize, found: &mut Found) {
        for session in self.by_user.get(user).into_iter().flatten() {
            let Some(subscriber) = self.sessions.get(session) else { continue };
            let ids = found.entry(session.clone()).or_default();
            subscriber.subscriptions.keys().for_each(|id| ids.entry(*id).or_default().push(number));
        }
    }
}

/// Subscriptions by session, each with the numbers of the acts near it.
pub(crate) type Found = BTreeMap<SessionId, BTreeMap<SubscriptionId, Vec<usize>>>;
