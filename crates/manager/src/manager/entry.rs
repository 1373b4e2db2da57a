use std::collections::VecDeque;

use tokio::{net::UnixDatagram, task::AbortHandle, time::Instant};

use super::{ended::End, request::Answer};
use crate::{
    child::{Child, State},
    identity::Identity,
    time,
};

/// One installed daemon, with what the manager knows of it beside its state.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) child: Child,
    /// The secret of the spawn that runs or is under way.
    pub(super) secret: Option<String>,
    /// The process that runs, once the keeper has told.
    pub(super) identity: Option<Identity>,
    /// When it came into its present state, in Unix ms.
    pub(super) since_ms: u64,
    /// The last transitions, oldest first.
    pub(super) past: VecDeque<Past>,
    /// Where it will tell that it is ready, from before it is spawned until the search for that
    /// begins.
    pub(super) notify: Option<UnixDatagram>,
    /// Which step of its last spawn failed, in words, and what the kernel said.
    pub(super) spawn_failure: Option<(String, i32)>,
    /// Whether its process is one that a manager before this one has spawned.
    pub(super) is_adopted: bool,
    /// Whether a process may be it that the keeper cannot tell from others just now.
    pub(super) unverified: Option<Unverified>,
    /// Whether the keeper knows that it is being stopped for good.
    pub(super) is_intended: bool,
    /// How its leader ended last, as the keeper saw it.
    pub(super) end: Option<End>,
    /// The search for its readiness.
    pub(super) probe: Option<AbortHandle>,
    /// When it was found last not to listen where it said; until it is up.
    pub(super) denied: Option<Instant>,
    /// A port that it told before the keeper told that it runs, and who waits for the answer to
    /// that.
    pub(super) announced: Option<(u16, Answer)>,
}

/// A process that may be a daemon's, and may be a stranger.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unverified {
    /// Whether a stop was asked for since, which it has to obey once it is known.
    pub(super) is_unwanted: bool,
}

/// A transition that has been.
#[derive(Clone, Debug)]
pub(super) struct Past {
    pub(super) at_ms: u64,
    pub(super) from: &'static str,
    pub(super) to: &'static str,
    pub(super) note: Option<String>,
}

/// How many transitions `status` shows.
const PAST: usize = 20;

impl Entry {
    pub(super) fn new(child: Child) -> Self {
        Self {
            child,
            secret: None,
            identity: None,
            since_ms: time::now_ms(),
            past: VecDeque::new(),
            notify: None,
            spawn_failure: None,
            is_adopted: false,
            unverified: None,
            is_intended: false,
            end: None,
            probe: None,
            denied: None,
            announced: None,
        }
    }

    /// Takes note of a transition.
    pub(super) fn went(&mut self, from: State, to: State, note: Option<String>) {
        self.since_ms = time::now_ms();
        if self.past.len() == PAST {
            self.past.pop_front();
        }
        self.past.push_back(Past { at_ms: self.since_ms, from: from.word(), to: to.word(), note });
        if !matches!(to, State::Starting { .. }) {
            self.end_probe();
        }
    }

    /// When it was to start last, in Unix ms, if that is known.
    pub(super) fn start_ms(&self) -> Option<u64> {
        let asked = self.past.iter().rev().find(|it| it.to == State::Pending.word());
        let spawned = || self.identity.as_ref().map(|it| it.spawned_at_ms);
        asked.map(|it| it.at_ms).or_else(spawned)
    }

    /// Begins a search for readiness in the place of the one before.
    pub(super) fn set_probe(&mut self, probe: AbortHandle) {
        self.end_probe();
        self.probe = Some(probe);
    }

    fn end_probe(&mut self) {
        if let Some(probe) = self.probe.take() {
            probe.abort();
        }
    }
}
