//! Where the connection of a session draws its events from.

use std::sync::{Mutex, PoisonError, Weak};

use daemon::{EventWriter, Source};
use serde::Serialize;
use state::{
    actor::SessionId,
    queue::{Item, Notice},
};

use super::commits::Commits;

/// One session's end of the queue that is kept for it.
#[derive(Debug)]
pub(super) struct Tap {
    commits: Weak<Mutex<Commits>>,
    session: SessionId,
}

impl Tap {
    pub(super) fn new(commits: Weak<Mutex<Commits>>, session: SessionId) -> Self {
        Self { commits, session }
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
            let (topic, payload) = match &item {
                Item::Change(event) => ("change", serde_json::to_string(event)),
                Item::Message(notice) => ("message", serde_json::to_string(&Message::from(notice))),
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
    payload: &'a serde_json::Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: &'a Option<state::Path>,
}

impl<'a> From<&'a Notice> for Message<'a> {
    fn from(notice: &'a Notice) -> Self {
        let Notice { name, src, payload, path } = notice;
        Self { name, src, payload, path }
    }
}
