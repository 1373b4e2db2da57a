//! From a commit to what each session is told of it.
//!
//! A commit is told as one step from the state before it to the state after it, at most one event
//! for each place that it changed. In between a value may have been readable that was never meant
//! to be, as when a batch creates a node and then hides it. What a subscriber can't see of a batch
//! makes no difference for him, not even for the form in which he is told the rest.

mod place;
mod view;

use std::collections::BTreeMap;

use crate::{
    actor::SessionId,
    deliver::{
        place::{Numbered, Place},
        view::{Placed, View},
    },
    event::{Event, EventName, Happening, SubscriptionId},
    name::UserName,
    path::Path,
    pattern::Pattern,
    permission::Cap,
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
///
/// What one user may see of a pattern is found out once, however many of his sessions watch it.
pub fn deliver(
    before: &State,
    after: &State,
    record: &Record,
    subscriptions: &Subscriptions,
) -> Vec<Delivery> {
    let mut known = Known { before, after, record, by_viewer: BTreeMap::new() };
    let deliveries =
        near(before, record, subscriptions).into_iter().filter_map(|(session, ids)| {
            let subscriber = subscriptions.subscriber(&session)?;
            let is_own = record.session.as_ref() == Some(&session);
            let mut told = Told { is_own, ..Told::default() };
            for (id, acts) in ids {
                let subscription = subscriber.subscription(id)?;
                told.take(id, subscription, known.events(subscriber, &subscription.pattern, &acts));
            }
            told.finish(session, after)
        });
    deliveries.collect()
}

/// What `record` means to one subscription alone, whatever session did it.
pub(crate) fn retell(
    before: &State,
    after: &State,
    record: &Record,
    subscriber: &Subscriber,
    (id, subscription): (SubscriptionId, &Subscription),
) -> Vec<Event> {
    let is_near = |number: &usize| {
        let act = &record.acts[*number];
        let place = Place::of((*number, act), before);
        place.is_some_and(|it| subscription.pattern.agrees(&it.reach))
            || changed_rank(act).is_some_and(|it| Some(it) == subscriber.user())
    };
    let acts: Vec<usize> = (0..record.acts.len()).filter(is_near).collect();
    if acts.is_empty() {
        return Vec::new();
    }
    let mut known = Known { before, after, record, by_viewer: BTreeMap::new() };
    let mut told = Told::default();
    told.take(id, subscription, known.events(subscriber, &subscription.pattern, &acts));
    told.finish(SessionId::from(""), after).map(|it| it.events).unwrap_or_default()
}

/// The subscriptions that a commit may be about, with the numbers of the acts near them.
fn near(before: &State, record: &Record, subscriptions: &Subscriptions) -> Found {
    let mut found = Found::new();
    for (number, act) in record.acts.iter().enumerate() {
        if let Some(place) = Place::of((number, act), before) {
            subscriptions.near(&place.reach, number, &mut found);
        }
        if let Some(user) = changed_rank(act) {
            subscriptions.of_user(user, number, &mut found);
        }
    }
    found
}

/// Whose rights at all paths `act` may have changed.
fn changed_rank(act: &Act) -> Option<&UserName> {
    match &act.change {
        Change::Account { user, .. } | Change::DeleteUser { user } => Some(user),
        _ => None,
    }
}

/// Who looks at what: all for whom this is the same see the same.
type Viewer<'a> = (Option<&'a UserName>, Option<&'a Cap>, &'a Pattern);

/// What is known by now of what a commit looks like.
struct Known<'a> {
    before: &'a State,
    after: &'a State,
    record: &'a Record,
    by_viewer: BTreeMap<Viewer<'a>, Vec<Placed>>,
}

impl<'a> Known<'a> {
    fn events(
        &mut self,
        subscriber: &'a Subscriber,
        pattern: &'a Pattern,
        numbers: &[usize],
    ) -> &[Placed] {
        let viewer = (subscriber.user(), subscriber.cap(), pattern);
        self.by_viewer.entry(viewer).or_insert_with(|| {
            let numbered = numbers.iter().map(|it| (*it, &self.record.acts[*it]));
            let acts: Vec<Numbered<'_>> = numbered.collect();
            View::new(subscriber, self.before, self.after).events(pattern, &acts)
        })
    }
}

/// What tells two events of one session apart. Those for which it is the same have the same value,
/// being of one path at one time for one user.
type Key = (EventName, Path, bool, bool, Option<(bool, usize)>);

/// The events for one session, as they gather.
#[derive(Default)]
struct Told {
    is_own: bool,
    events: BTreeMap<Key, Placed>,
    ended: Vec<SubscriptionId>,
}

impl Told {
    /// Adds what a subscription lets through, to events that are the same if there are such.
    fn take(&mut self, id: SubscriptionId, subscription: &Subscription, placed: &[Placed]) {
        for (place, event) in placed {
            if self.ended.contains(&id) || !self.lets_through(subscription, event) {
                continue;
            }
            if matches!(event.happening, Happening::Revoked { .. }) {
                self.ended.push(id);
            }
            let fresh = || (*place, event.clone());
            let (_, told) = self.events.entry(key(*place, event)).or_insert_with(fresh);
            told.subs.push(id);
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

    fn finish(self, session: SessionId, after: &State) -> Option<Delivery> {
        let mut placed: Vec<Placed> = self.events.into_values().collect();
        placed.sort_by_key(|it| it.0);
        let last = placed.len().checked_sub(1)?;
        let events = placed.into_iter().enumerate().map(|(at, (_, event))| Event {
            rev: after.revision,
            has_more: at < last,
            ..event
        });
        Some(Delivery { session, events: events.collect(), ended: self.ended })
    }
}

fn key(place: (bool, usize), event: &Event) -> Key {
    let happening = &event.happening;
    let path = match happening {
        Happening::Create { path, name, .. } => path.below(name.clone()),
        other => Ok(other.path().clone()),
    };
    // Of permissions each change is told for itself.
    let number = (happening.name() == EventName::UpdatePerms).then_some(place);
    let path = path.unwrap_or_default();
    (happening.name(), path, event.is_sync, event.is_by_perms, number)
}

#[cfg(test)]
mod tests;
