//! What ends the daemon although nobody asked it to.

use std::sync::{Mutex, PoisonError};

use state::Revision;
use tokio::sync::oneshot;

/// Why nothing can ever be written again by this process.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    #[error("the journal can be used no more; `state check` tells all")]
    Journal(#[from] journal::Failure),

    #[error("the journal is at revision {durable}, and the state at {newest}")]
    Astray { durable: Revision, newest: Revision },
}

/// Says once that it is so.
#[derive(Debug)]
pub(super) struct Breakdown(Mutex<Option<oneshot::Sender<Broken>>>);

impl Breakdown {
    /// One that can be told, and where it is heard.
    pub(super) fn new() -> (Self, oneshot::Receiver<Broken>) {
        let (sender, heard) = oneshot::channel();
        (Self(Mutex::new(Some(sender))), heard)
    }

    pub(super) fn tell(&self, why: Broken) {
        let sender = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Nobody hears it when the daemon ends anyway.
        sender.map(|it| it.send(why).ok());
    }
}
