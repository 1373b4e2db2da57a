//! Snapshots that nobody asks for: the journal behind them goes, and the next start is short.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use tokio::{sync::Notify, task::spawn_blocking};

use super::{Server, upkeep::write_snapshot};

/// When the next one is due.
#[derive(Debug)]
pub(crate) struct Snapshots {
    /// After so many bytes of records.
    every: u64,
    since: AtomicU64,
    due: Notify,
}

impl Snapshots {
    pub(crate) fn new(every: u64, since: u64) -> Self {
        let snapshots = Self { every, since: AtomicU64::new(0), due: Notify::new() };
        snapshots.note(since);
        snapshots
    }

    /// Counts records that are durable.
    pub(crate) fn note(&self, bytes: u64) {
        if self.since.fetch_add(bytes, Relaxed) + bytes >= self.every {
            self.due.notify_one();
        }
    }

    /// There is one now.
    pub(crate) fn begin(&self) {
        self.since.store(0, Relaxed);
    }
}

impl Server {
    /// Makes a snapshot whenever one is due.
    pub(super) async fn keep_snapshots(&self) {
        loop {
            self.snapshots.due.notified().await;
            if self.snapshots.since.load(Relaxed) < self.snapshots.every {
                continue;
            }
            self.snapshots.begin();
            let (journal, state) = (Arc::clone(&self.journal), self.commits().durable().clone());
            let rev = state.revision();
            match spawn_blocking(move || write_snapshot(&journal, &state)).await {
                Ok(Ok(bytes)) => tracing::info!(rev, bytes, "a snapshot is made"),
                // The next is tried when as much has been written again.
                Ok(Err(failure)) => tracing::warn!(rev, message = failure.detail(), "no snapshot"),
                Err(error) => tracing::error!(rev, %error, "no snapshot"),
            }
        }
    }
}
