//! How the manager comes to its end: daemons in waves, with a limit for all of them.

use std::{future::pending, time::Duration};

use tokio::time::{Instant, sleep_until};

use super::{Manager, request::Answer};
use crate::{
    child::{self, State, Then},
    name::Name,
};

/// What a whole `down` may take beyond the longest grace of a daemon, unless it says so itself:
/// waves come one after another, but seldom does more than one of them need its grace.
const BEYOND_GRACE: Duration = Duration::from_secs(10);

/// That the manager is to end.
#[derive(Debug)]
pub(super) struct Ending {
    /// Whether daemons are left with the keeper.
    pub(super) keep: bool,
    /// Who asked.
    pub(super) answers: Vec<Answer>,
    pub(super) stopped: Vec<String>,
    /// When those that are left lose their grace; absent once they have.
    patience_ends: Option<Instant>,
}

/// Ends when no daemon has any grace left; never if there is nothing to wait for. Cancel safe.
pub(super) async fn patience_ends(ending: Option<&Ending>) {
    match ending {
        Some(Ending { keep: false, patience_ends: Some(at), .. }) => sleep_until(*at).await,
        _ => pending().await,
    }
}

impl Manager {
    /// Begins to stop everything, in waves; `keep` leaves daemons with the keeper.
    pub(super) fn begin_ending(
        &mut self,
        keep: bool,
        limit: Option<Duration>,
        answer: Option<Answer>,
    ) {
        if let Some(ending) = &mut self.ending {
            ending.answers.extend(answer);
            let asked = limit.and_then(|it| Instant::now().checked_add(it));
            ending.patience_ends = ending.patience_ends.map(|at| asked.map_or(at, |it| at.min(it)));
            return;
        }
        tracing::info!(keep, "ending");
        let stopped = match keep {
            true => vec![],
            false => self.running().map(|(name, _)| name.to_string()).collect(),
        };
        let patience = limit.unwrap_or_else(|| self.longest_grace().saturating_add(BEYOND_GRACE));
        let answers = answer.into_iter().collect();
        let patience_ends = Instant::now().checked_add(patience);
        self.ending = Some(Ending { keep, answers, stopped, patience_ends });
    }

    /// Stops those whom nobody else that still runs stands behind.
    pub(super) fn stop_next_wave(&mut self) {
        let Some(Ending { keep: false, .. }) = self.ending else { return };
        let left: Vec<Name> = self.running().map(|(name, _)| name.clone()).collect();
        let wave: Vec<Name> = match self.order.stop_waves(&left).first() {
            Some(wave) => wave.iter().map(|&name| name.clone()).collect(),
            None => return,
        };
        let is_asked = |name: &Name| {
            matches!(self.state(name), Some(State::Stopping { then: Then::Down | Then::Gone, .. }))
        };
        let unasked: Vec<Name> = wave.into_iter().filter(|name| !is_asked(name)).collect();
        for name in unasked {
            self.step(&name, child::Event::Stop);
        }
    }

    /// Spares all that are left the grace, whoever stands behind them.
    pub(super) fn hurry(&mut self) {
        if let Some(ending) = &mut self.ending {
            ending.patience_ends = None;
        }
        let left: Vec<Name> = self.running().map(|(name, _)| name.clone()).collect();
        for name in left {
            self.step(&name, child::Event::Stop);
            self.step(&name, child::Event::Hurry);
        }
    }

    fn longest_grace(&self) -> Duration {
        self.running().map(|(_, entry)| entry.child.definition().grace).max().unwrap_or_default()
    }

    pub(super) fn has_ended(&self) -> bool {
        match &self.ending {
            None => false,
            Some(Ending { keep: true, .. }) => true,
            Some(Ending { keep: false, .. }) => self.running().next().is_none(),
        }
    }

    /// Writes where everything stands into the log. Neither environments nor secrets: a log is not
    /// for them.
    pub(super) fn dump(&self) {
        tracing::info!(manager = %self.own_status(), ending = ?self.ending, "state");
        for (name, entry) in &self.entries {
            let (state, note) = (entry.child.state(), entry.child.note());
            tracing::info!(daemon = %name, ?state, note, exit = ?entry.child.last_exit(), "state");
        }
    }
}
