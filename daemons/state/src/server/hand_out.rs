//! What runs beside the commands: it settles what has become durable, and does what time and
//! departures bring about.

use std::time::Duration;

use daemon::Shutdown;
use journal::Journal;
use state::{account::Time, actor::SessionId, gc::Occasion, name::UserName};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};

use super::{Server, breakdown::Broken, commits::settle_rest, now};

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
            () = self.keep_firing() => {}
            () = self.keep_snapshots() => {}
            () = shutdown.requested() => {}
        }
        self.refusals().tell_counted(Time::MAX);
        self.fire_rest();
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
                Err(error) => daemon::causes(&error),
            };
            if self.is_outage_told() && error != said {
                tracing::warn!(error, "nothing can be written yet");
                said = error;
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_RETRY);
        };
        self.commits().mended(durable)
    }

    /// Whether the log tells of the outage that there is; it may be time to.
    fn is_outage_told(&self) -> bool {
        let outages = &mut self.commits().outages;
        outages.say(Instant::now());
        outages.is_told()
    }

    /// Sees to what is due by time, or because a session is over. Waits for no disk.
    async fn keep_time(&self, departures: &mut mpsc::UnboundedReceiver<SessionId>) {
        self.make_due(&Occasion::Started(now()));
        loop {
            let seen = self.pass_time();
            let next = self.commits().next_time(seen + 1);
            let next = [next, self.refusals().next()].into_iter().flatten().min();
            tokio::select! {
                () = until(next) => {}
                () = self.timers_changed.notified() => {}
                departed = departures.recv() => match departed {
                    Some(session) => self.make_due(&self.end(&session)),
                    None => return,
                }
            }
        }
    }

    /// Does what is due by time, and tells what time that was.
    fn pass_time(&self) -> Time {
        let now = now();
        self.refusals().tell_counted(now);
        {
            let mut commits = self.commits();
            commits.watchers.end_lagging(now);
            let expired = commits.visitors.expired(now);
            expired.iter().for_each(|it| commits.expel(it, None));
        }
        self.make_due(&Occasion::Time(now));
        now
    }

    /// Ends all that lasts as long as a login.
    pub(super) async fn depart(&self, user: &UserName, session: &SessionId) {
        let occasion = self.end(session);
        self.fire_own(user, &occasion).await;
    }

    /// Ends what a session watches; what waits for that is due.
    fn end(&self, session: &SessionId) -> Occasion {
        let mut commits = self.commits();
        commits.watchers.close(session);
        commits.visitors.leave(session);
        Occasion::Disconnected(session.clone())
    }
}

async fn until(time: Option<Time>) {
    match time {
        None => std::future::pending().await,
        Some(time) => sleep(Duration::from_millis(time.saturating_sub(now()))).await,
    }
}
