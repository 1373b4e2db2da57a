//! From the journal to the state, at the start.

use std::{io::BufReader, sync::Arc};

use journal::{FollowError, Journal, SnapshotError, Store};
use state::{ApplyError, Record, Revision, State, log::ChangeLog, record::RecordError};

/// Why the state can't be had from the journal.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error("cannot read the snapshot")]
    Snapshot(#[from] SnapshotError),

    #[error("cannot use the snapshot")]
    Unreadable(#[from] state::snapshot::SnapshotError),

    #[error("cannot read the journal")]
    Follow(#[from] FollowError),

    #[error("record {revision} can't be read")]
    Record { revision: Revision, source: RecordError },

    #[error("record {revision} does not fit the state before it")]
    Misfit { revision: Revision, source: ApplyError },
}

/// The state that the journal tells of: its snapshot, and all records after it; how many bytes
/// these have.
pub(crate) async fn load(journal: &Store) -> Result<(State, u64), LoadError> {
    load_with(journal, |_, _, _, _| {}).await
}

/// The same, with what came after the snapshot put into `past`, for those who come back.
pub(crate) async fn load_with_past(
    journal: &Store,
    past: &mut ChangeLog,
) -> Result<(State, u64), LoadError> {
    let keep = |before, after: &State, record, bytes| {
        past.push(before, after.clone(), Arc::new(record), bytes);
    };
    load_with(journal, keep).await
}

/// Tells `note` of each record that follows the snapshot: the states around it, and its length.
async fn load_with(
    journal: &Store,
    mut note: impl FnMut(State, &State, Record, usize),
) -> Result<(State, u64), LoadError> {
    let (mut state, mut bytes) = (State::default(), 0);
    if let Some(snapshot) = journal.snapshot()? {
        state = State::read(&mut BufReader::new(snapshot))?;
    }
    let last = journal.last().revision;
    let mut follow = journal.follow(state.revision() + 1)?;
    while follow.position() <= last {
        for entry in follow.next().await?.iter() {
            let revision = entry.revision;
            bytes += entry.bytes.len() as u64;
            let record = Record::decode(entry.bytes)
                .map_err(|source| LoadError::Record { revision, source })?;
            let before = state.clone();
            state.apply(&record).map_err(|source| LoadError::Misfit { revision, source })?;
            note(before, &state, record, entry.bytes.len());
        }
    }
    Ok((state, bytes))
}
