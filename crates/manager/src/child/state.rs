//! Where one daemon stands, and what of it the table must know.

use std::{fmt, time::Duration};

use tokio::time::Instant;

use crate::proc::Pid;

/// One setting of a child's timer. A later one replaces it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timer(pub(crate) u64);

/// Where one daemon stands. What is true only in one state is a field of that state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// At rest, as it should be.
    Down,
    /// Waits for a slot: for those before it, and for fewer to be starting.
    Pending,
    /// Spawned or about to be, not ready.
    Starting {
        /// Absent until the keeper has spawned it.
        pid: Option<Pid>,
        /// When it is too late; or, with `delay=`, when it counts as ready.
        timer: Timer,
    },
    /// Ready.
    Up {
        /// Its leader.
        pid: Pid,
        /// Where it listens, if that is known.
        port: Option<u16>,
        /// When it will have been stable; absent once it is.
        stable: Option<Timer>,
    },
    /// Ready once, but does not answer any more. Still running.
    Sick {
        /// As in `Up`.
        pid: Pid,
        /// As in `Up`.
        port: Option<u16>,
        /// As in `Up`.
        stable: Option<Timer>,
    },
    /// Its tree is being ended, by signal or by force.
    Stopping {
        /// Absent while the keeper still owes the answer to a spawn.
        pid: Option<Pid>,
        /// How far it has come.
        phase: Phase,
        /// What comes when the tree has ended.
        then: Then,
        /// When the next phase begins.
        timer: Timer,
    },
    /// Will be started again.
    Waiting {
        /// Ends the wait.
        timer: Timer,
        /// When that is.
        until: Instant,
    },
    /// At rest, and nothing but a request brings it back.
    Failed,
}

/// How far a stop has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The stop signal is sent, the grace runs.
    Asked,
    /// The tree has been killed.
    Killed,
    /// It was killed and is still there; killed again from time to time.
    Stuck,
}

/// What comes after a stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// `down`.
    Down,
    /// `down`, and the daemon is forgotten.
    Gone,
    /// `failed`.
    Fail,
    /// `waiting` for so long.
    Retry(Duration),
    /// `pending` again.
    Start(Cause),
}

/// Why a daemon becomes `pending`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A start was asked for, or it is `up` and the daemon enabled.
    Start,
    /// A restart was asked for.
    Restart,
    /// Nobody asked: it crashed, or what it follows came back.
    Itself,
}

impl State {
    /// The word for it: in listings, events and on the wire.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Pending => "pending",
            Self::Starting { .. } => "starting",
            Self::Up { .. } => "up",
            Self::Sick { .. } => "sick",
            Self::Stopping { .. } => "stopping",
            Self::Waiting { .. } => "waiting",
            Self::Failed => "failed",
        }
    }

    /// The leader of its tree; while stopping it may be gone already.
    pub fn pid(&self) -> Option<Pid> {
        match *self {
            Self::Starting { pid, .. } | Self::Stopping { pid, .. } => pid,
            Self::Up { pid, .. } | Self::Sick { pid, .. } => Some(pid),
            Self::Down | Self::Pending | Self::Waiting { .. } | Self::Failed => None,
        }
    }

    /// Where it listens.
    pub fn port(&self) -> Option<u16> {
        match *self {
            Self::Up { port, .. } | Self::Sick { port, .. } => port,
            _ => None,
        }
    }

    /// What it waits for.
    pub fn timer(&self) -> Option<Timer> {
        match *self {
            Self::Starting { timer, .. }
            | Self::Stopping { timer, .. }
            | Self::Waiting { timer, .. } => Some(timer),
            Self::Up { stable, .. } | Self::Sick { stable, .. } => stable,
            Self::Down | Self::Pending | Self::Failed => None,
        }
    }

    /// Whether nothing of it runs and nothing will, unless somebody asks.
    pub fn is_at_rest(&self) -> bool {
        matches!(self, Self::Down | Self::Failed)
    }

    /// Whether it counts among those that start at once, or wants to.
    pub(super) fn wants_slot(&self) -> bool {
        matches!(self, Self::Pending | Self::Starting { .. })
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}
