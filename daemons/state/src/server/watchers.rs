//! Sessions with an open stream: what each watches, and where its events go.

use std::collections::BTreeMap;

use daemon::{Guest, Stream};
use serde::Serialize;
use serde_json::value::to_raw_value;
use state::{
    Record, State, actor::SessionId, decide::Sent, deliver::deliver, event::Event, name::UserName,
    permission::Cap, subscription::Subscriptions,
};

/// All who watch.
#[derive(Debug, Default)]
pub(crate) struct Watchers {
    subscriptions: Subscriptions,
    feeds: BTreeMap<SessionId, Feed>,
    told: u64,
}

#[derive(Debug)]
struct Feed {
    stream: Stream,
    user: Option<UserName>,
}

impl Watchers {
    /// Opens the stream of a session unless it is open.
    pub(crate) fn open(
        &mut self,
        session: &SessionId,
        guest: &Guest,
        user: Option<UserName>,
        cap: Option<Cap>,
    ) -> Result<(), daemon::Failure> {
        if self.feeds.get(session).is_some_and(|it| !it.stream.has_ended()) {
            return Ok(());
        }
        self.close(session);
        let stream = guest.feed()?;
        self.subscriptions.open(session.clone(), user.clone(), cap);
        self.feeds.insert(session.clone(), Feed { stream, user });
        Ok(())
    }

    /// The session watches nothing any more.
    pub(crate) fn close(&mut self, session: &SessionId) {
        self.subscriptions.close(session);
        self.feeds.remove(session);
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

    /// Tells everybody whom it concerns of a commit that is durable.
    pub(crate) fn tell(&mut self, before: &State, after: &State, record: &Record) {
        if self.feeds.is_empty() {
            return;
        }
        for delivery in deliver(before, after, record, &self.subscriptions) {
            for event in &delivery.events {
                self.push(&delivery.session, event);
            }
            for id in delivery.ended {
                self.subscriptions.unsubscribe(&delivery.session, id);
            }
        }
    }

    /// Tells one session something.
    pub(crate) fn push(&mut self, session: &SessionId, event: &Event) {
        let Some(feed) = self.feeds.get(session) else { return };
        self.told += 1;
        if feed.stream.emit("change", event).is_err() {
            self.close(session);
        }
    }

    /// Sends a message to all sessions of its user; to how many.
    pub(crate) fn send(&mut self, sent: &Sent) -> usize {
        let Ok(payload) = to_raw_value(&Message::of(sent)) else { return 0 };
        let meant =
            self.feeds.iter().filter(|(_, it)| it.user.as_ref() == Some(&sent.message.user));
        let (reached, ended): (Vec<_>, Vec<_>) = meant
            .map(|(id, it)| (id.clone(), it.stream.emit_raw("message", &payload)))
            .partition(|it| it.1.is_ok());
        ended.iter().for_each(|(id, _)| self.close(id));
        reached.len()
    }
}

/// The data of a `message` event.
#[derive(Serialize)]
struct Message<'a> {
    name: &'a str,
    src: &'a Option<UserName>,
    payload: &'a serde_json::Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: &'a Option<state::Path>,
}

impl<'a> Message<'a> {
    fn of(sent: &'a Sent) -> Self {
        let message = &sent.message;
        Self { name: &message.name, src: &sent.src, payload: &message.payload, path: &message.path }
    }
}
