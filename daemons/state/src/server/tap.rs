//! Where the connection of a session draws its events from.

use std::sync::{Mutex, PoisonError, Weak};

use daemon::{EventWriter, Source};
use serde::Serialize;
use state::{
    actor::SessionId,
    node::Totals,
    queue::{Item, Notice},
};

use super::{bounded, commits::Commits};

/// Lets what a session has caused to tell itself go out before the reply: while a command waits,
/// its connection sends what there is.
pub(super) async fn events_first() {
    tokio::task::yield_now().await;
}

/// One session's end of the queue that is kept for it.
#[derive(Debug)]
pub(super) struct Tap {
    commits: Weak<Mutex<Commits>>,
    session: SessionId,
    /// The longest payload, in bytes: as long as a result may be.
    limit: usize,
}

impl Tap {
    pub(super) fn new(commits: Weak<Mutex<Commits>>, session: SessionId, limit: usize) -> Self {
        Self { commits, session, limit }
    }

    /// Whether a payload is as short as it has to be.
    fn fits(&self, item: &Item) -> bool {
        match item {
            Item::Change(event) => {
                let totals = Totals { bytes: event.bytes(), ..Totals::default() };
                bounded::fits(event, totals, self.limit)
            }
            Item::Message(_) => true,
        }
    }

    fn with<T>(&self, look: impl FnOnce(&mut Commits) -> T) -> Option<T> {
        let commits = self.commits.upgrade()?;
        let mut commits = commits.lock().unwrap_or_else(PoisonError::into_inner);
        Some(look(&mut commits))
    }
}

impl Source for Tap {
    fn fill(&self, events: &mut EventWriter<'_>) {
        while !events.is_full() {
            // What is written out is a copy, so that nobody waits for it.
            let Some(item) = self.with(|it| it.next_for(&self.session)).flatten() else { return };
            if !self.fits(&item) {
                self.with(|it| it.watchers.end(&self.session, "too-large"));
                return;
            }
            let (topic, payload) = match &item {
                Item::Change(event) => ("change", serde_json::to_string(event)),
                Item::Message(it) => ("message", serde_json::to_string(&Message::from(&**it))),
            };
            if let Ok(payload) = payload {
                events.push(topic, &payload);
            }
        }
    }

    fn held_bytes(&self) -> usize {
        self.with(|it| it.watchers.held_bytes(&self.session)).unwrap_or_default()
    }
}

/// The data of a `message` event.
#[derive(Serialize)]
struct Message<'a> {
    name: &'a str,
    src: &'a Option<state::name::UserName>,
    payload: &'a state::payload::Payload,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: &'a Option<state::Path>,
}

impl<'a> From<&'a Notice> for Message<'a> {
    fn from(notice: &'a Notice) -> Self {
        let Notice { name, src, payload, path } = notice;
        Self { name, src, payload, path }
    }
}
