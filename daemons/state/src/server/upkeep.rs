//! What the keeper of the server asks for: snapshots and counters.

use std::{io::BufWriter, sync::Arc, time::Duration};

use daemon::{Failure, Guest, Session};
use journal::{Journal, Keep, SnapshotError, Store};
use serde_json::{Value, json};
use state::{State, decide::Sent, operation::Message, payload::Payload};
use tokio::task::spawn_blocking;

use super::{Server, visitor::Visitor};

/// What is kept of the journal behind a snapshot, for those who follow it.
const KEPT: Keep = Keep { bytes: 64 << 20, age: Duration::from_secs(3600) };

type Me = Session<Visitor>;

impl Server {
    pub(super) async fn save(&self, guest: Guest, me: Me) -> Result<Value, Failure> {
        let (state, user) = {
            let commits = self.commits();
            self.needs_root(&guest, &me, commits.durable())?;
            (commits.durable().clone(), me.login().map(|it| it.user))
        };
        let (journal, rev) = (Arc::clone(&self.journal), state.revision());
        self.snapshots.begin();
        let work = spawn_blocking(move || write_snapshot(&journal, &state));
        let bytes = work.await.map_err(|error| Failure::internal(error.to_string()))??;
        if let Some(user) = user {
            let (name, payload) =
                ("saveStateFinished".to_owned(), Payload::from(json!({ "rev": rev })));
            let message = Message { user, name, payload, path: None };
            self.commits().watchers.send(&Sent { message, src: None });
        }
        Ok(json!({ "rev": rev, "bytes": bytes }))
    }

    pub(super) fn stats(&self, guest: Guest, me: Me) -> Result<Value, Failure> {
        let mut commits = self.commits();
        self.needs_root(&guest, &me, commits.durable())?;
        commits.watchers.forget_all_ended();
        // Each session holds one end of what tells that it is over.
        let all = self.departed.strong_count().saturating_sub(1);
        let state = commits.durable();
        let totals = state.root().totals();
        Ok(json!({
            "rev": state.revision(),
            "nodes": totals.nodes,
            "bytes": totals.bytes,
            "users": state.accounts().count(),
            "sessions": commits.visitors.len(),
            "anonymous": all.saturating_sub(commits.visitors.len()),
            "subscriptions": commits.watchers.subscriptions().len(),
            "commits": commits.counters.commits,
            "events": commits.watchers.told(),
            "eventsDropped": commits.watchers.dropped(),
            "refused": commits.counters.refused,
            "loginFailures": commits.counters.login_failures,
            "gc": { "fired": commits.counters.fired, "dropped": commits.counters.not_allowed },
            "groups": commits.counters.groups(),
            "readOnly": commits.is_read_only,
        }))
    }
}

/// Makes a snapshot of `state`; how many bytes it has.
pub(super) fn write_snapshot(journal: &Store, state: &State) -> Result<u64, Failure> {
    let failed = |error: &dyn std::error::Error| Failure::internal(daemon::causes(error));
    let snapshot = journal.write_snapshot(state.revision()).map_err(|it| match it {
        SnapshotError::Busy => Failure::new("busy", "a snapshot is being made"),
        other => failed(&other),
    })?;
    let mut counted = Counted { inner: BufWriter::new(snapshot), bytes: 0 };
    state.write(&mut counted).map_err(|it| failed(&it))?;
    let Counted { inner, bytes } = counted;
    let snapshot = inner.into_inner().map_err(|it| failed(it.error()))?;
    snapshot.finish().map_err(|it| failed(&it))?;
    journal.trim(KEPT).map_err(|it| failed(&it))?;
    Ok(bytes)
}

/// Counts what is written.
struct Counted<W> {
    inner: W,
    bytes: u64,
}

impl<W: std::io::Write> std::io::Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}
