//! Where the connection of a session draws its events from.

use std::sync::{Mutex, PoisonError, Weak};

use daemon::{EventWriter, Source};
use state::{Event, actor::SessionId, node::Totals, queue::Item};

use super::{
    bounded,
    by_session::Place,
    commits::{Commits, Flow},
};

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
    place: Place,
    /// The longest payload, in bytes: as long as a result may be.
    limit: usize,
}

impl Tap {
    pub(super) fn new(
        commits: Weak<Mutex<Commits>>,
        (place, session): (Place, SessionId),
        limit: usize,
    ) -> Self {
        Self { commits, session, place, limit }
    }

    /// Writes `item`; false if it is too long for that.
    fn write(&self, item: &Item, events: &mut EventWriter<'_>) -> bool {
        match item {
            Item::Message(told) => events.push("message", told.as_str()),
            Item::Change(event) if self.fits(event) => {
                if let Ok(payload) = serde_json::to_string(event) {
                    events.push("change", &payload);
                }
            }
            Item::Change(_) => return false,
        }
        true
    }

    /// Whether a payload is as short as it has to be.
    fn fits(&self, event: &Event) -> bool {
        let totals = Totals { bytes: event.bytes(), ..Totals::default() };
        bounded::fits(event, totals, self.limit)
    }

    fn with<T>(&self, look: impl FnOnce(&mut Commits) -> T) -> Option<T> {
        let commits = self.commits.upgrade()?;
        let mut commits = commits.lock().unwrap_or_else(PoisonError::into_inner);
        Some(look(&mut commits))
    }
}

impl Source for Tap {
    fn fill(&self, events: &mut EventWriter<'_>) {
        if events.is_full() {
            return;
        }
        self.with(|commits| {
            let mut fits = true;
            commits.give(self.place, &self.session, |item| {
                fits = self.write(item, events);
                if fits && !events.is_full() { Flow::Continue(()) } else { Flow::Break(()) }
            });
            if !fits {
                commits.watchers.end(&self.session, "too-large");
            }
        });
    }

    fn held_bytes(&self) -> usize {
        self.with(|it| it.watchers.held_bytes(&self.session)).unwrap_or_default()
    }
}
