//! What runs beside the commands: it settles what has become durable, and does what time and
//! departures bring about.

use std::time::Duration;

use daemon::{Failure, Guest, Shutdown};
use journal::Journal;
use state::{Operation, account::Time, actor::SessionId, decide::Answer, gc::Occasion};
use tokio::{sync::mpsc, time::sleep};

use super::{Server, breakdown::Broken, chain, commits::settle_rest, now};

/// How soon it is tried again to write, after a disk had no room: nothing tells that it has.
const RETRY: Duration = Duration::from_secs(1);

/// How long it takes at most until room that was made is seen.
const LONGEST_RETRY: Duration = Duration::from_secs(8);

impl Server {
    /// Serves those who wait, until the shutdown; then until nobody waits any more.
    pub(super) async fn hand_out(&self, mut shutdown: Shutdown) {
        let Some(mut departures) = self.take_departures() else { return };
        tokio::select! {
            () = self.settle_for_ever() => {}
            () = self.keep_time(&mut departures) => {}
            () = self.keep_snapshots() => {}
            () = shutdown.requested() => {}
        }
        self.commits().end();
        settle_rest(&self.commits, self.journal.progress()).await;
    }

    /// Hands out each group as soon as it is durable.
    pub(super) async fn settle_for_ever(&self) {
        let mut progress = self.journal.progress();
        loop {
            if self.commits().settle(&progress) {
                self.timers_changed.notify_one();
            }
            self.snapshots.note(self.commits().take_written());
            if self.commits().is_read_only
                && let Err(why) = self.mend().await
            {
                self.breakdown.tell(why);
                return std::future::pending().await;
            }
            if progress.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// Tries until something can be written again, less and less often; fails when no time heals
    /// it.
    async fn mend(&self) -> Result<(), Broken> {
        let (mut pause, mut said) = (RETRY, String::new());
        let durable = loop {
            let error = match self.journal.mend().await {
                Ok(durable) => break durable,
                Err(error @ (journal::Failure::Damaged(_) | journal::Failure::Closed)) => {
                    return Err(error.into());
                }
                Err(error) => chain(&error),
            };
            if error != said {
                tracing::warn!(error, "nothing can be written yet");
                said = error;
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_RETRY);
        };
        self.commits().mended(durable)?;
        tracing::info!("changes are taken again");
        Ok(())
    }

    /// Fires what is due, by time or because a session is over.
    async fn keep_time(&self, departures: &mut mpsc::UnboundedReceiver<SessionId>) {
        let mut is_done = self.fire(&Occasion::Started(now())).await;
        loop {
            let next = self.commits().next_time();
            // What could not be written is due at once, and would be for as long as that is so.
            let next = if is_done { next } else { Some(now() + RETRY.as_millis() as Time) };
            tokio::select! {
                () = until(next) => is_done = self.pass_time().await,
                () = self.timers_changed.notified() => {}
                departed = departures.recv() => match departed {
                    Some(session) => self.depart(&session).await,
                    None => return,
                }
            }
        }
    }

    /// Does what is due by time; false if some of it has to wait.
    async fn pass_time(&self) -> bool {
        let expired = {
            let mut commits = self.commits();
            commits.watchers.end_lagging(now());
            commits.visitors.expired(now())
        };
        expired.iter().for_each(Guest::leave);
        self.fire(&Occasion::Time(now())).await
    }

    /// Ends all that lasts as long as a session.
    pub(super) async fn depart(&self, session: &SessionId) {
        {
            let mut commits = self.commits();
            commits.watchers.close(session);
            commits.visitors.leave(session);
        }
        self.fire(&Occasion::Disconnected(session.clone())).await;
    }

    /// Does what waited for `occasion`; false if some of it could not be done now.
    pub(super) async fn fire(&self, occasion: &Occasion) -> bool {
        let due = self.commits().newest().due(occasion);
        for id in due {
            match self.perform_as_server(Operation::Fire { id }).await {
                Ok(commit) => {
                    let mut commits = self.commits();
                    commits.counters.fired += 1;
                    let was_dropped = commit.answers.contains(&Answer::Dropped);
                    commits.counters.not_allowed += u64::from(was_dropped);
                }
                Err(failure) => {
                    self.put_off(occasion, &failure);
                    return false;
                }
            }
        }
        true
    }

    /// What can't be written now fires when the daemon starts again, or when it is due again.
    fn put_off(&self, occasion: &Occasion, failure: &Failure) {
        tracing::warn!(?occasion, message = failure.message(), "what is due is not done yet");
    }
}

async fn until(time: Option<Time>) {
    match time {
        None => std::future::pending().await,
        Some(time) => sleep(Duration::from_millis(time.saturating_sub(now()))).await,
    }
}
