//! From the journal to the state, at the start.

use std::{io::BufReader, path::Path, sync::Arc};

use journal::{
    AppendError, Expected, Follow, FollowError, Journal, Look, Lost, OpenError, Options,
    Record as Entry, Snapshot, SnapshotError, Store,
};
use state::{
    ApplyError, Record, Revision, State,
    history::History,
    log::ChangeLog,
    record::{Act, Change, RecordError},
};

use super::{now, password::random_hex};

/// Why the state can't be had from the journal.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error(transparent)]
    Open(#[from] OpenError),

    #[error("cannot read the snapshot")]
    Snapshot(#[from] SnapshotError),

    #[error("cannot use the snapshot")]
    Unreadable(#[from] state::snapshot::SnapshotError),

    #[error(transparent)]
    Follow(#[from] FollowError),

    #[error("record {revision} can't be read")]
    Record { revision: Revision, source: RecordError },

    #[error("record {revision} does not fit the state before it")]
    Misfit { revision: Revision, source: ApplyError },
}

/// Why no other history can begin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BeginError {
    #[error("cannot write the record with which another history begins")]
    Append(#[from] AppendError),

    #[error("cannot make durable that another history begins")]
    Lost(#[from] Lost),
}

impl LoadError {
    /// Whether what is stored is not what was written, which no second try changes.
    pub(crate) fn is_damage(&self) -> bool {
        match self {
            Self::Open(error) => matches!(error, OpenError::Damaged(_) | OpenError::Gone { .. }),
            Self::Snapshot(error) => matches!(error, SnapshotError::Damaged(_)),
            Self::Follow(error) => matches!(error, FollowError::Damaged(_)),
            // What a newer program wrote is as it should be.
            Self::Unreadable(error) => !matches!(error, state::snapshot::SnapshotError::Start),
            Self::Record { source, .. } => !matches!(source, RecordError::Version(_)),
            Self::Misfit { .. } => true,
        }
    }
}

/// The journal in `path`, the state that it tells of, and how many bytes there are behind the
/// snapshot; what these say is put into `past`, for those who come back.
pub(crate) async fn open(
    path: &Path,
    options: Options,
    past: &mut ChangeLog,
) -> Result<(Store, State, u64), LoadError> {
    let journal = Store::open(path, options)?;
    let keep = |before, after: &State, record, bytes| {
        past.push(before, after.clone(), Arc::new(record), bytes);
    };
    let (snapshot, last) = (journal.snapshot()?, journal.last().revision);
    let (state, bytes) = replay(snapshot, last, |from| journal.follow(from), keep).await?;
    Ok((journal, state, bytes))
}

/// Has another history begin behind what `journal` has: the revisions that follow may have been
/// given to others already, by who had it before.
pub(crate) async fn begin_history(journal: &Store) -> Result<(), BeginError> {
    let change = Change::Begin { history: History::new(random_hex(8)) };
    let record = Record::new(now(), None, vec![Act { change, src: None, req: None }]);
    let receipt = journal.append(Entry::new(&record.encode()), Expected::Any)?;
    Ok(journal.progress().reached(receipt).await?)
}

/// The state that the journal tells of, and how many bytes there are behind the snapshot.
pub(crate) async fn load(journal: &Store) -> Result<(State, u64), LoadError> {
    let (snapshot, last) = (journal.snapshot()?, journal.last().revision);
    replay(snapshot, last, |from| journal.follow(from), |_, _, _, _| {}).await
}

/// The state of a journal that is only looked at.
pub(crate) async fn view(look: &Look) -> Result<State, LoadError> {
    let (snapshot, last) = (look.snapshot()?, look.report().last);
    let loaded = replay(snapshot, last, |from| Ok(look.follow(from)), |_, _, _, _| {});
    loaded.await.map(|(state, _)| state)
}

/// The state of the snapshot, and all records after it; how many bytes these have. Tells `note` of
/// each of them: the states around it, and its length.
async fn replay(
    snapshot: Option<Snapshot>,
    last: Revision,
    follow: impl FnOnce(Revision) -> Result<Follow, FollowError>,
    mut note: impl FnMut(State, &State, Record, usize),
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
            let before = state.clone();
            state.apply(&record).map_err(|source| LoadError::Misfit { revision, source })?;
            note(before, &state, record, entry.bytes.len());
        }
    }
    Ok((state, bytes))
}
