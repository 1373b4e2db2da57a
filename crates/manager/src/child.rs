//! The life of one daemon, as a pure table: (state, event, now, chance) → (state, actions). The
//! table is `child/table.rs`; here are the words it is written in.
//!
//! Knows no clock, no process and no socket. The manager tells what happened by [`Child::on`] and
//! performs what comes back, in order.
//!
//! What it promises, and a model test holds it to:
//! * There is never a second process of one daemon: it is spawned only when the tree before has
//!   ended (or was let go by `leftovers = "keep"`) and no spawn is under way.
//! * What was asked last decides: a stop ends in `down`, whatever is running, starting or being
//!   stopped.
//! * Each state that waits for a process or a time has a timer; there is at most one, and the
//!   newest [`SetTimer`](Action::SetTimer) replaces it. An event for another timer or another pid
//!   is late and changes nothing.
//! * Actions come with a change of state only; but [`Refuse`](Action::Refuse) and
//!   [`Removed`](Action::Removed).
//!
//! What the manager keeps in return:
//! * `Spawn` is answered by `Spawned` or `SpawnFailed`, always, even if the keeper dies over it.
//! * `Exited` comes before `Empty`, once each for a pid; or `Exited` alone with `empty`.
//! * A slot is granted, by [`Event::Granted`], when [`Order::before`](crate::order::Order::before)
//!   is ready and fewer than the limit hold one. `ReleaseSlot` gives it back or withdraws the wish.
//! * When a child goes from `starting` to `up`, those that follow it hear `Returned`; when one is
//!   stopped or fails, those that need it hear `NeedLost`.
//!
//! A daemon that was installed and could not start stays installed: `failed` if trying again is
//! vain, else `waiting`.

#[cfg(test)]
mod model;
mod state;
mod table;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use tokio::time::Instant;

pub use self::state::{Cause, Phase, State, Then, Timer};
use crate::{
    definition::{Definition, StopSignal},
    name::Name,
    policy::{Exit, Failures},
    proc::Pid,
};

/// Everything that can happen to a daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A start was asked for.
    Start,
    /// A stop was asked for.
    Stop,
    /// A restart was asked for; of what is at rest, a start.
    Restart,
    /// The definition is removed: stop, then forget.
    Remove,
    /// Whoever waits for the stop has no more patience: no grace.
    Hurry,
    /// All that come before it are ready, and a slot is free.
    Granted,
    /// The keeper has spawned it.
    Spawned {
        /// The leader.
        pid: Pid,
    },
    /// The keeper could not, or is not there.
    SpawnFailed {
        /// Which step, as the note begins: `cannot exec`.
        step: String,
        /// What the kernel said.
        errno: i32,
    },
    /// The keeper, or what is left of it, has a process of ours from before this manager.
    Adopted {
        /// The leader.
        pid: Pid,
        /// Where it listens, if that was known or has been found.
        port: Option<u16>,
        /// Whether it has answered; otherwise it is `starting`.
        is_ready: bool,
    },
    /// As `Adopted`; the manager before has told it to end, and it was not to come again.
    AdoptedStopping {
        /// The leader.
        pid: Pid,
    },
    /// A process from before this manager may be it, which cannot be told just now.
    Unverified {
        /// The process.
        pid: Pid,
    },
    /// The keeper is about to spawn one that was asked for before this manager; `Spawned` or
    /// `SpawnFailed` follows.
    AdoptedEarly,
    /// It is ready, and that is verified.
    Ready {
        /// The leader.
        pid: Pid,
        /// Where it listens.
        port: Option<u16>,
        /// What is odd about it, such as another name.
        note: Option<String>,
    },
    /// It is not ready; that is what was found instead.
    Found {
        /// The leader.
        pid: Pid,
        /// For the note: `listens on nothing`, `port 4000 answers with another secret`.
        what: String,
    },
    /// The leader has ended.
    Exited {
        /// The leader.
        pid: Pid,
        /// How.
        exit: Exit,
        /// Whether its whole tree is known to have ended; if not, `Empty` follows.
        is_empty: bool,
    },
    /// The whole tree has ended.
    Empty {
        /// Its leader, which exited before.
        pid: Pid,
    },
    /// The timer is over.
    Elapsed(Timer),
    /// Another daemon that it needs is no more.
    NeedLost {
        /// Which one.
        need: Name,
        /// Whether it failed; otherwise it was stopped.
        has_failed: bool,
    },
    /// Another daemon has come back.
    Returned {
        /// The one that it follows.
        followed: Name,
    },
    /// It missed its pings.
    Sick {
        /// The leader.
        pid: Pid,
        /// What was seen, for the note.
        note: String,
    },
    /// It answered a ping.
    Well {
        /// The leader.
        pid: Pid,
    },
}

/// What the manager is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Queue for a slot; `Granted` answers.
    AskSlot,
    /// Give the slot back, or leave the queue. Harmless where there is neither.
    ReleaseSlot,
    /// Have the keeper spawn [`Child::definition`].
    Spawn,
    /// Find out when it is ready, in the way of its definition, until it is no longer `starting`.
    ProbeReady {
        /// The leader.
        pid: Pid,
    },
    /// Send its group the stop signal. The leader may be gone already, and the group with it: then
    /// nobody gets it.
    Signal {
        /// The leader.
        pid: Pid,
        /// From its definition.
        signal: StopSignal,
    },
    /// Kill the whole tree: cgroup, group, and whoever holds its secret.
    Kill {
        /// The leader.
        pid: Pid,
    },
    /// Its tree has ended or is let go: drain its pipes, remove its identity.
    Forget {
        /// The leader.
        pid: Pid,
    },
    /// Send `Elapsed` with this timer then; the one before is void.
    SetTimer {
        /// To be handed back.
        timer: Timer,
        /// When; may be past already.
        at: Instant,
    },
    /// Answer the request that was just made: not possible, and why.
    Refuse {
        /// For people.
        reason: &'static str,
    },
    /// Tell watchers, history and those who wait. From `stopping` to `stopping`: the note has
    /// changed.
    Transition {
        /// Where it stood.
        from: State,
        /// Where it stands now.
        to: State,
        /// Why.
        note: Option<String>,
    },
    /// It has been removed and is down: drop it.
    Removed,
}

/// How often a daemon was started again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restarts {
    /// By the manager: after a crash, or following another.
    pub automatic: u32,
    /// Because somebody asked.
    pub asked: u32,
}

/// One daemon.
#[derive(Clone, Debug)]
pub struct Child {
    state: State,
    /// What it was started with last.
    definition: Arc<Definition>,
    /// What it will be started with next.
    defined: Arc<Definition>,
    failures: Failures,
    restarts: Restarts,
    note: Option<String>,
    /// What the search for readiness found last.
    found: Option<String>,
    exit: Option<Exit>,
    timers: u64,
}

impl Child {
    /// A daemon at rest.
    pub fn new(definition: Arc<Definition>) -> Self {
        Self {
            state: State::Down,
            defined: definition.clone(),
            definition,
            failures: Failures::default(),
            restarts: Restarts::default(),
            note: None,
            found: None,
            exit: None,
            timers: 0,
        }
    }

    /// Takes the daemon one step further. `random` is any number, each time another; it jitters
    /// delays.
    pub fn on(&mut self, event: Event, now: Instant, random: u64) -> Vec<Action> {
        table::step(self, event, now, random)
    }

    /// Where it stands.
    pub fn state(&self) -> State {
        self.state
    }

    /// What there is to say about its state, for listings.
    pub fn note(&self) -> Option<&str> {
        match self.state {
            State::Stopping { phase: Phase::Stuck, pid, .. } => Some(table::stuck(pid)),
            _ => self.note.as_deref(),
        }
    }

    /// How often it came back.
    pub fn restarts(&self) -> Restarts {
        self.restarts
    }

    /// How often it failed in a row.
    pub fn failures(&self) -> u32 {
        self.failures.count()
    }

    /// How it ended last.
    pub fn last_exit(&self) -> Option<Exit> {
        self.exit
    }

    /// What it runs with; at rest, what it ran with last.
    pub fn definition(&self) -> &Arc<Definition> {
        &self.definition
    }

    /// What it will run with from its next start on.
    pub fn defined(&self) -> &Arc<Definition> {
        &self.defined
    }

    /// Takes a new definition, which is obeyed from the next start on.
    pub fn define(&mut self, definition: Arc<Definition>) {
        // What is for the next manager alone makes no difference to what runs.
        let enabled = self.definition.enabled;
        let is_same = *self.definition == Definition { enabled, ..(*definition).clone() };
        if is_same || self.state.is_at_rest() {
            self.definition = definition.clone();
        }
        self.defined = definition;
    }

    /// Whether its definition has been changed since it was started, so that only its next start
    /// obeys it.
    ///
    /// Whether it starts with the manager does not count: that is so at once.
    pub fn is_changed(&self) -> bool {
        let enabled = self.definition.enabled;
        !Arc::ptr_eq(&self.definition, &self.defined)
            && *self.definition != Definition { enabled, ..(*self.defined).clone() }
    }
}
