use std::{collections::VecDeque, time::Duration};

use tokio::sync::watch;

use crate::{Failure, FollowError, Lost, Revision};

/// How many failures are remembered: who asks later for a record of before is told that it is forgotten.
const REMEMBERED: usize = 1024;

/// A record that is in line: its revision, if it becomes durable.
///
/// After a failure the same revision is given again, to another record; so a receipt also knows
/// before which failure it was given, and only [`Progress`] can tell what became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Receipt {
    pub(crate) term: u64,
    /// The revision that it will have.
    pub revision: Revision,
}

/// How far the journal is durable: awaitable, once for as many records as there are.
#[derive(Clone, Debug)]
pub struct Progress(watch::Receiver<State>);

/// What is known of the last group; for statistics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Groups {
    /// How many groups were made durable since the journal was opened.
    pub count: u64,
    /// How many records the last one had.
    pub records: u64,
    /// How long it took to write and sync it.
    pub took: Duration,
}

/// What a journal tells all who wait.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    pub(crate) durable: Revision,
    pub(crate) groups: Groups,
    pub(crate) failure: Option<Failure>,
    term: u64,
    /// The last durable revision of each of the last terms.
    ends: VecDeque<(Revision, Failure)>,
}

impl State {
    pub(crate) fn at(durable: Revision) -> Self {
        Self { durable, ..Self::default() }
    }

    pub(crate) fn fail(&mut self, failure: Failure) {
        self.ends.truncate(REMEMBERED - 1);
        self.ends.push_front((self.durable, failure.clone()));
        self.failure = Some(failure);
        self.term += 1;
    }

    /// Whether nothing will ever change again.
    fn is_closed(&self) -> bool {
        matches!(self.failure, Some(Failure::Closed))
    }

    /// What became of a record, as soon as it is known.
    fn fate(&self, receipt: Receipt) -> Option<Result<(), Lost>> {
        let Some(ago) = self.term.checked_sub(receipt.term + 1) else {
            return (receipt.revision <= self.durable).then_some(Ok(()));
        };
        match self.ends.get(ago as usize) {
            Some((end, _)) if receipt.revision <= *end => Some(Ok(())),
            Some((end, failure)) => {
                Some(Err(Lost::Failed { durable: *end, source: failure.clone() }))
            }
            None => Some(Err(Lost::Forgotten)),
        }
    }
}

impl Progress {
    pub(crate) fn new(receiver: watch::Receiver<State>) -> Self {
        Self(receiver)
    }

    /// Of a journal to which nothing comes any more.
    pub(crate) fn ended(durable: Revision) -> Self {
        let mut state = State::at(durable);
        state.fail(Failure::Closed);
        Self(watch::Sender::new(state).subscribe())
    }

    /// The last durable revision; 0 when there is none.
    #[must_use]
    pub fn durable(&self) -> Revision {
        self.0.borrow().durable
    }

    /// Why nothing is taken, if that is so.
    #[must_use]
    pub fn failure(&self) -> Option<Failure> {
        self.0.borrow().failure.clone()
    }

    /// Both at one moment: while nothing is taken, this is the last revision that was durable before.
    ///
    /// Who asks one after the other may miss a group that became durable between, just before the
    /// next one failed.
    #[must_use]
    pub fn standing(&self) -> (Revision, Option<Failure>) {
        let state = self.0.borrow();
        (state.durable, state.failure.clone())
    }

    /// What is known of the last group.
    #[must_use]
    pub fn groups(&self) -> Groups {
        self.0.borrow().groups
    }

    /// Waits until a record is durable. Then all before it are too. Cancel safe.
    ///
    /// # Errors
    /// [`Lost::Failed`]: it is not durable and never will be. All that came after it is lost, too.
    pub async fn reached(&mut self, receipt: Receipt) -> Result<(), Lost> {
        loop {
            let known = self.0.borrow_and_update().fate(receipt);
            if let Some(fate) = known {
                return fate;
            }
            if self.0.changed().await.is_err() {
                let durable = self.durable();
                return Err(Lost::Failed { durable, source: Failure::Closed });
            }
        }
    }

    /// Waits until there is anything new: another durable revision, a failure, an end of it. Cancel
    /// safe.
    ///
    /// # Errors
    /// [`Failure::Closed`] when there will be nothing any more.
    pub async fn changed(&mut self) -> Result<(), Failure> {
        if self.0.borrow().is_closed() && !self.0.has_changed().unwrap_or(false) {
            return Err(Failure::Closed);
        }
        self.0.changed().await.map_err(|_| Failure::Closed)
    }

    /// Waits until `revision` is durable, whichever record that will be, and tells the last one
    /// that is.
    pub(crate) async fn passed(&mut self, revision: Revision) -> Result<Revision, FollowError> {
        let is_over = |it: &State| it.durable >= revision || it.is_closed();
        let state = self.0.wait_for(is_over).await.map_err(|_| FollowError::Closed)?;
        if state.durable >= revision { Ok(state.durable) } else { Err(FollowError::Closed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DiskError;

    #[test]
    fn a_revision_that_is_given_again_is_another_record() {
        let mut state = State::at(5);
        let [before, lost] = [5, 6].map(|revision| Receipt { term: 0, revision });
        assert!(state.fate(lost).is_none());
        state.fail(Failure::Closed);
        state.durable = 6;
        assert!(matches!(state.fate(before), Some(Ok(()))));
        assert!(matches!(state.fate(lost), Some(Err(Lost::Failed { durable: 5, .. }))));
        assert!(matches!(state.fate(Receipt { term: 1, revision: 6 }), Some(Ok(()))));
    }

    #[test]
    fn nothing_is_said_of_what_failed_too_long_ago() {
        let mut state = State::at(5);
        (0..=REMEMBERED).for_each(|_| state.fail(Failure::Closed));
        state.durable = 9;
        for revision in [5, 6] {
            let receipt = Receipt { term: 0, revision };
            assert!(matches!(state.fate(receipt), Some(Err(Lost::Forgotten))));
        }
    }

    #[test]
    fn how_far_it_is_durable_and_that_it_has_failed_are_seen_at_one_moment() {
        const ROUNDS: Revision = 20_000;
        // It names the revision behind which it failed.
        let failed = |durable: Revision| {
            let source = std::io::ErrorKind::Other.into();
            Failure::from(DiskError { act: "sync", file: durable.to_string().into(), source })
        };
        let sender = watch::Sender::new(State::at(0));
        let progress = Progress::new(sender.subscribe());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for durable in 1..=ROUNDS {
                    sender.send_modify(|state| {
                        state.durable = durable;
                        state.fail(failed(durable));
                    });
                }
            });
            loop {
                let (durable, failure) = progress.standing();
                let Some(Failure::Disk(error)) = failure else { continue };
                assert_eq!(error.file.to_str(), Some(&*durable.to_string()));
                if durable == ROUNDS {
                    break;
                }
            }
        });
    }
}
