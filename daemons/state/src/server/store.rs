//! From the journal to the state, at the start.

use std::{io::BufReader, path::Path};

use journal::{
    Follow, FollowError, Journal, Look, OpenError, Options, Snapshot, SnapshotError, Store,
};
use state::{ApplyError, Record, Revision, State, record::RecordError};

/// Why the state can't be had from the journal.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error("cannot open the journal")]
    Open(#[from] OpenError),

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

impl LoadError {
    /// Whether what is stored is not what was written, which no second try changes.
    pub(crate) fn is_damage(&self) -> bool {
        match self {
            Self::Open(error) => matches!(error, OpenError::Damaged(_) | OpenError::Gone { .. }),
            Self::Snapshot(error) => matches!(error, SnapshotError::Damaged(_)),
            Self::Follow(error) => matches!(error, FollowError::Damaged(_)),
            Self::Unreadable(_) | Self::Record { .. } | Self::Misfit { .. } => true,
        }
    }
}

/// The journal in `path`, the state that it tells of, and how many bytes there are behind the
/// snapshot.
pub(crate) async fn open(path: &Path, options: Options) -> Result<(Store, State, u64), LoadError> {
    let journal = Store::open(path, options)?;
    let (state, bytes) = load(&journal).await?;
    Ok((journal, state, bytes))
}

/// The state that the journal tells of, and how many bytes there are behind the snapshot.
pub(crate) async fn load(journal: &Store) -> Result<(State, u64), LoadError> {
    let (snapshot, last) = (journal.snapshot()?, journal.last().revision);
    replay(snapshot, last, |from| journal.follow(from)).await
}

/// The state of a journal that is only looked at.
pub(crate) async fn view(look: &Look) -> Result<State, LoadError> {
    let loaded = replay(look.snapshot()?, look.report().last, |from| Ok(look.follow(from)));
    loaded.await.map(|(state, _)| state)
}

/// The state of the snapshot, and all records after it; how many bytes these have.
async fn replay(
    snapshot: Option<Snapshot>,
    last: Revision,
    follow: impl FnOnce(Revision) -> Result<Follow, FollowError>,
) -> Result<(State, u64), LoadError> {
    let (mut state, mut bytes) = (State::default(), 0);
    if let Some(snapshot) = snapshot {
        state = State::read(&mut BufReader::new(snapshot))?;
    }
    let mut follow = follow(state.revision() + 1)?;
    while follow.position() <= last {
        for entry in follow.next().await?.iter() {
            let revision = entry.revision;
            bytes += entry.bytes.len() as u64;
            let record = Record::decode(entry.bytes)
                .map_err(|source| LoadError::Record { revision, source })?;
            state.apply(&record).map_err(|source| LoadError::Misfit { revision, source })?;
        }
    }
    Ok((state, bytes))
}
