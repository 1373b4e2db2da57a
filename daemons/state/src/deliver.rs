//! From a commit to what each session is told of it.
//!
//! A commit that changes no permission is told act by act, each with the values after it. One that
//! does is told as one step from the state before to the state after: in between a value may have
//! been readable that was never meant to be, as when a batch creates a node and then hides it.

mod place;
mod view;

use crate::{
    actor::SessionId,
    deliver::{
        place::{Place, places},
        view::View,
    },
    event::{Event, Happening, SubscriptionId},
    name::UserName,
    record::{Act, Change, Record},
    state::State,
    subscription::{Found, Subscriber, Subscription, Subscriptions},
};

/// What one session is told of one commit.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// To whom.
    pub session: SessionId,
    /// What, in order.
    pub events: Vec<Event>,
    /// Subscriptions that have ended with it; the caller ends them.
    pub ended: Vec<SubscriptionId>,
}

/// What `record` means to all who watch, `before` and `after` being the states around it.
pub fn deliver(
    before: &State,
    after: &State,
    record: &Record,
    subscriptions: &Subscriptions,
) -> Vec<Delivery> {
    let mut found = Found::new();
    for act in &record.acts {
        if let Some(place) = Place::of(act, before) {
            subscriptions.near(&place.reach, &mut found);
        }
        if let Some(user) = changed_rank(act) {
            subscriptions.of_user(user, &mut found);
        }
    }
    let steps = steps(before, after, record);
    let deliveries = found.into_iter().filter_map(|(session, ids)| {
        let subscriber = subscriptions.subscriber(&session)?;
        let subscriptions: Vec<_> =
            ids.iter().filter_map(|id| Some((*id, subscriber.subscription(*id)?))).collect();
        let mut told = Told::new(session, subscriber, record);
        steps.iter().for_each(|it| told.step(it, &subscriptions));
        told.finish(after)
    });
    deliveries.collect()
}

/// What `record` means to one subscription alone, whatever session did it.
pub(crate) fn retell(
    before: &State,
    after: &State,
    record: &Record,
    subscriber: &Subscriber,
    subscription: (SubscriptionId, &Subscription),
) -> Vec<Event> {
    let mut told = Told::new(SessionId::from(""), subscriber, record);
    told.is_own = false;
    steps(before, after, record).iter().for_each(|it| told.step(it, &[subscription]));
    told.finish(after).map(|it| it.events).unwrap_or_default()
}

/// Whose rights at all paths `act` may have changed.
fn changed_rank(act: &Act) -> Option<&UserName> {
    match &act.change {
        Change::Account { user, .. } | Change::DeleteUser { user } => Some(user),
        _ => None,
    }
}

/// What happened between two states, in places that don't contain each other unless told apart.
struct Span<'a> {
    before: State,
    after: State,
    places: Vec<Place<'a>>,
    /// What may have changed somebody's rank.
    ranks: Vec<&'a Act>,
}

fn steps<'a>(before: &State, after: &State, record: &'a Record) -> Vec<Span<'a>> {
    let has_perms = record.acts.iter().any(|it| matches!(it.change, Change::Permit { .. }));
    let is_one = record.acts.len() == 1;
    if has_perms || is_one {
        let ranks = record.acts.iter().filter(|it| changed_rank(it).is_some()).collect();
        let places = places(&record.acts, before, after);
        return vec![Span { before: before.clone(), after: after.clone(), places, ranks }];
    }
    let mut state = State { revision: after.revision, ..before.clone() };
    let mut spans = Vec::new();
    for act in &record.acts {
        let before = state.clone();
        if state.change(&act.change).is_err() {
            // Not the record of these states: nothing true can be told.
            return Vec::new();
        }
        let places = Place::of(act, &before).into_iter().collect();
        let ranks = changed_rank(act).map(|_| act).into_iter().collect();
        spans.push(Span { before, after: state.clone(), places, ranks });
    }
    spans
}

/// The events for one session, as they gather.
struct Told<'a> {
    session: SessionId,
    subscriber: &'a Subscriber,
    is_own: bool,
    events: Vec<Event>,
    ended: Vec<SubscriptionId>,
}

impl<'a> Told<'a> {
    fn new(session: SessionId, subscriber: &'a Subscriber, record: &Record) -> Self {
        let is_own = record.session.as_ref() == Some(&session);
        Self { session, subscriber, is_own, events: Vec::new(), ended: Vec::new() }
    }

    fn step(&mut self, span: &Span<'_>, subscriptions: &[(SubscriptionId, &Subscription)]) {
        let view = View::new(self.subscriber, &span.before, &span.after);
        let is_own = |act: &&&Act| changed_rank(act) == self.subscriber.user();
        let ranked = span.ranks.iter().find(is_own).filter(|_| view.has_other_rank());
        let whole = ranked.map(|act| Place::everywhere(act));
        for place in whole.iter().chain(&span.places) {
            let mut events: Vec<Event> = Vec::new();
            for (id, subscription) in subscriptions {
                for event in view.events(place, subscription) {
                    self.take(*id, subscription, event, &mut events);
                }
            }
            self.events.extend(events);
        }
    }

    /// Adds `event` for the subscription, to one that is the same if there is one.
    fn take(
        &mut self,
        id: SubscriptionId,
        subscription: &Subscription,
        event: Event,
        events: &mut Vec<Event>,
    ) {
        let is_revoked = matches!(event.happening, Happening::Revoked { .. });
        if self.ended.contains(&id) || !self.lets_through(subscription, &event) {
            return;
        }
        if is_revoked {
            self.ended.push(id);
        }
        match events.iter_mut().find(|it| is_same(it, &event)) {
            Some(known) => known.subs.push(id),
            None => events.push(Event { subs: vec![id], ..event }),
        }
    }

    /// What a session has done itself it knows, if it wants to; what it may read after that it
    /// can't know by itself.
    fn lets_through(&self, subscription: &Subscription, event: &Event) -> bool {
        let filter = &subscription.filter;
        let is_revoked = matches!(event.happening, Happening::Revoked { .. });
        if is_revoked || event.is_by_perms {
            return true;
        }
        let is_left_out = self.is_own && !filter.has_echo;
        !is_left_out && (event.is_sync || filter.lets_through(event))
    }

    fn finish(mut self, after: &State) -> Option<Delivery> {
        let last = self.events.len().checked_sub(1)?;
        for (at, event) in self.events.iter_mut().enumerate() {
            event.rev = after.revision;
            event.has_more = at < last;
        }
        Some(Delivery { session: self.session, events: self.events, ended: self.ended })
    }
}

/// Whether both tell a session the same. Then their values are the same as well, being of one path
/// at one time for one user.
fn is_same(a: &Event, b: &Event) -> bool {
    a.happening.name() == b.happening.name()
        && a.happening.path() == b.happening.path()
        && a.is_sync == b.is_sync
        && a.is_by_perms == b.is_by_perms
}

#[cfg(test)]
mod tests;
