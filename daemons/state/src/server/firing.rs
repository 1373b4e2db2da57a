//! What time, messages and departures have made due, until it is done.

use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use daemon::Failure;
use state::{
    Operation, Request, Step, actor::Actor, gc::Occasion, name::UserName, trigger::RegistrationId,
};
use tokio::{sync::Notify, time::sleep};

use super::{Server, commits::Decided, now};

/// How many registrations fire in one commit. Each leaves its path and its id in the record, so
/// even the longest paths fit into one.
const AT_ONCE: usize = 256;

/// How soon it is tried again, after the journal took nothing: nothing tells that it does.
const RETRY: Duration = Duration::from_secs(1);

/// Registrations that are due. There are never more than registrations.
#[derive(Debug, Default)]
pub(crate) struct Firing {
    due: Mutex<BTreeSet<RegistrationId>>,
    changed: Notify,
}

impl Firing {
    /// Has `ids` be fired by who does nothing else.
    fn add(&self, ids: impl IntoIterator<Item = RegistrationId>) {
        self.due().extend(ids);
        self.changed.notify_one();
    }

    /// The next ones, which stay until they are done.
    fn next(&self) -> Vec<RegistrationId> {
        self.due().iter().copied().take(AT_ONCE).collect()
    }

    fn done(&self, ids: &[RegistrationId]) {
        let mut due = self.due();
        due.retain(|it| !ids.contains(it));
    }

    fn due(&self) -> MutexGuard<'_, BTreeSet<RegistrationId>> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Server {
    /// Has all be fired that waits for `occasion`; waits for nothing.
    pub(super) fn make_due(&self, occasion: &Occasion) {
        let due = self.commits().newest().due(occasion);
        if !due.is_empty() {
            self.firing.add(due);
        }
    }

    /// Fires what `user` himself has registered for `occasion`, before he is answered. What others
    /// have registered costs him nothing.
    pub(super) async fn fire_own(&self, user: &UserName, occasion: &Occasion) {
        self.fire_all(&self.make_others_due(user, occasion)).await;
    }

    /// Has all be fired that others than `user` have registered for `occasion`, and tells what he
    /// has.
    pub(super) fn make_others_due(
        &self,
        user: &UserName,
        occasion: &Occasion,
    ) -> Vec<RegistrationId> {
        let (own, others): (Vec<_>, Vec<_>) = {
            let commits = self.commits();
            let state = commits.newest();
            let is_own =
                |id: &RegistrationId| state.registration(*id).is_some_and(|it| it.user == *user);
            state.due(occasion).into_iter().partition(is_own)
        };
        if !others.is_empty() {
            self.firing.add(others);
        }
        own
    }

    /// Fires what somebody has registered himself.
    pub(super) async fn fire_all(&self, own: &[RegistrationId]) {
        for ids in own.chunks(AT_ONCE) {
            if self.fire(ids).await.is_err() {
                self.firing.add(ids.iter().copied());
            }
        }
    }

    /// Fires what is due, until it is done; what can't be written now is tried again.
    pub(super) async fn keep_firing(&self) {
        loop {
            self.firing.changed.notified().await;
            while let ids = self.firing.next()
                && !ids.is_empty()
            {
                match self.fire(&ids).await {
                    Ok(()) => self.firing.done(&ids),
                    Err(failure) => {
                        tracing::warn!(message = failure.message(), "what is due is not done yet");
                        sleep(RETRY).await;
                    }
                }
            }
        }
    }

    /// Puts in line all that is still due: nobody would do it at the next start.
    pub(super) fn fire_rest(&self) {
        while let ids = self.firing.next()
            && !ids.is_empty()
        {
            if self.submit_fires(&ids).is_err() {
                return;
            }
            self.firing.done(&ids);
        }
    }

    /// Fires `ids` in one commit.
    async fn fire(&self, ids: &[RegistrationId]) -> Result<(), Failure> {
        let (verdict, _) = self.submit_fires(ids)?.settled().await?;
        self.commits().counters.count_fired(&verdict.answers);
        Ok(())
    }

    fn submit_fires(&self, ids: &[RegistrationId]) -> Result<Decided, Failure> {
        let steps = ids.iter().map(|id| Step::from(Operation::Fire { id: *id })).collect();
        let request = Request { is_batch: false, ..Request::batch(steps, now()) };
        self.commits().submit(&*self.journal, &self.limits, &Actor::server(), &request)
    }
}
