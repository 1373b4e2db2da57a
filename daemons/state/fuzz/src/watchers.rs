//! Those who watch, each with a mirror of what he may read.

use std::collections::BTreeMap;

use state::{
    Mirror, Path, Record, State, Subscription, Subscriptions,
    actor::{Actor, SessionId},
    deliver,
    event::{Event, SubscriptionId},
};

#[derive(Debug, Default)]
pub(crate) struct Watchers {
    subscriptions: Subscriptions,
    /// Of those subscriptions that are told everything of a part.
    mirrors: BTreeMap<(SessionId, SubscriptionId), (Actor, Path, Mirror)>,
}

impl Watchers {
    /// Begins a subscription, if it is allowed and there is room.
    pub(crate) fn watch(
        &mut self,
        state: &State,
        actor: &Actor,
        subscription: Subscription,
        most: usize,
    ) {
        let Some(session) = &actor.session else { return };
        let (prefix, subject) = (subscription.pattern.prefix(), state.judge(actor));
        if state.may_watch(&subject, &prefix).is_err() {
            return;
        }
        let subscriber = self.subscriptions.subscriber(session);
        if subscriber.is_some_and(|it| it.user() != actor.user.as_ref()) {
            // It has logged in as somebody else.
            self.leave(session);
        }
        if self.subscriptions.subscriber(session).is_none() {
            self.subscriptions.open(session.clone(), actor.user.clone(), actor.cap.clone());
        }
        let is_told_all = subscription.filter.has_echo
            && subscription.filter.names.is_none()
            && subscription.filter.src.is_none()
            && subscription.pattern.is_deep()
            && subscription.pattern.steps().len() == prefix.len();
        let Ok(id) = self.subscriptions.subscribe(session, subscription, most) else { return };
        let value = subject.readable(state.root(), &prefix);
        let sync = Event::sync(vec![id], state.revision(), prefix.clone(), value);
        if is_told_all {
            let mut mirror = Mirror::new(prefix.clone());
            mirror.apply(&sync).expect("a sync always fits");
            self.mirrors.insert((session.clone(), id), (actor.clone(), prefix, mirror));
        }
    }

    pub(crate) fn unwatch(&mut self, actor: &Actor, id: SubscriptionId) {
        if let Some(session) = &actor.session {
            self.subscriptions.unsubscribe(session, id);
            self.mirrors.remove(&(session.clone(), id));
        }
    }

    pub(crate) fn leave(&mut self, session: &SessionId) {
        self.subscriptions.close(session);
        self.mirrors.retain(|it, _| it.0 != *session);
    }

    /// Tells all who watch of a commit; those whose account is gone leave.
    pub(crate) fn tell(&mut self, before: &State, after: &State, record: &Record) {
        for delivery in deliver(before, after, record, &self.subscriptions) {
            for event in &delivery.events {
                assert_eq!(event.rev, after.revision());
                for id in &event.subs {
                    let mirror = self.mirrors.get_mut(&(delivery.session.clone(), *id));
                    if let Some((.., mirror)) = mirror {
                        mirror.apply(event).expect("an event fits what was told before it");
                    }
                }
            }
            for id in delivery.ended {
                self.subscriptions.unsubscribe(&delivery.session, id);
                let mirror = self.mirrors.remove(&(delivery.session.clone(), id));
                assert!(mirror.is_none_or(|it| it.2.has_ended()), "it ends without a word");
            }
        }
        let gone =
            |actor: &Actor| actor.user.as_ref().is_some_and(|it| after.account(it).is_none());
        let gone =
            self.mirrors.values().filter(|it| gone(&it.0)).filter_map(|it| it.0.session.clone());
        for session in gone.collect::<Vec<_>>() {
            self.leave(&session);
        }
    }

    /// Whether each mirror is what `get` gives.
    pub(crate) fn check(&self, state: &State) {
        for ((session, id), (actor, prefix, mirror)) in &self.mirrors {
            let there = state.judge(actor).readable(state.root(), prefix);
            let text = |it: &state::Node| serde_json::to_string(it).expect("it is JSON");
            let (found, expected) = (mirror.value().map(text), there.as_ref().map(text));
            assert_eq!(found, expected, "{session:?} {id} at {prefix:?}");
        }
    }
}
