//! Who is told that a daemon has gone from one state to another, in this order: the history,
//! watchers, waiters, and those that need or follow it.

use common_tcp::Failure;
use serde_json::{Map, Value};

use super::{Manager, entry::Entry, listing, waiters::Waiter};
use crate::{
    child::{Event, Phase, State},
    events::{Kind, What},
    name::Name,
    order::Link,
};

impl Manager {
    /// Tells everybody of a transition.
    pub(super) fn went(&mut self, name: &Name, from: State, to: State, note: Option<String>) {
        let Some(entry) = self.entries.get_mut(name) else { return };
        entry.went(from, to, note.clone());
        tracing::info!(daemon = %name, from = from.word(), to = to.word(), note, "transition");
        let end = entry.end.as_mut().and_then(|end| end.tell(from));
        self.record(transition(name, from, to, note, end));
        self.tell_watchers(name, from, to);
        self.settle_waiters(name, to);
        self.tell_linked(name, from, to);
    }

    fn tell_watchers(&mut self, name: &Name, from: State, to: State) {
        let Some(entry) = self.entries.get(name) else { return };
        let listed = self.listed(name, entry);
        self.watchers.tell(name.as_str(), "state", &listed);
        let is_ready = |state| matches!(state, State::Up { .. } | State::Sick { .. });
        match (is_ready(from), is_ready(to)) {
            (false, true) => self.watchers.tell(name.as_str(), "up", &listed),
            (true, false) => self.watchers.tell(name.as_str(), "gone", &listed),
            _ => {}
        }
    }

    fn settle_waiters(&mut self, name: &Name, to: State) {
        let settled = self.waiters.settle(name, to);
        for (waiter, is_reached) in settled {
            self.answer_waiter(name, waiter, is_reached);
        }
    }

    pub(super) fn answer_waiter(&self, name: &Name, waiter: Waiter, is_reached: bool) {
        let Some(entry) = self.entries.get(name) else { return };
        let result = match is_reached {
            true => Ok(self.listed(name, entry)),
            false => Err(self.missed(name, entry)),
        };
        waiter.answer.send(result);
    }

    /// Why a daemon is not what somebody waited for, with the last lines that it printed since it
    /// was to start: those of processes before it are no reason.
    fn missed(&self, name: &Name, entry: &Entry) -> Failure {
        let state = entry.child.state();
        let code = match state {
            State::Stopping { phase: Phase::Stuck, .. } => "unavailable",
            State::Failed | State::Waiting { .. } if entry.spawn_failure.is_some() => {
                "spawn-failed"
            }
            State::Down | State::Stopping { .. } => "stopped",
            _ => "not-ready",
        };
        let why = entry.child.note().unwrap_or("somebody stopped it");
        let message = format!("`{name}` is {state}: {why}");
        let mut failure = listing::about(code, name, message).with("state", state.word());
        if let Some((step, errno)) = entry.spawn_failure.as_ref().filter(|_| code == "spawn-failed")
        {
            failure = failure.with("step", step.as_str()).with("errno", *errno);
        }
        let output = listing::last_output(&self.paths.daemon_logs(name), 10, entry.start_ms());
        if output.is_empty() { failure } else { failure.with("output", output) }
    }

    /// Tells those who need or follow this daemon.
    fn tell_linked(&mut self, name: &Name, from: State, to: State) {
        let linked =
            |link| -> Vec<Name> { self.order.linked_to(name, link).into_iter().cloned().collect() };
        let has_failed = matches!(to, State::Failed);
        let is_lost = matches!(to, State::Down | State::Failed) && !matches!(from, State::Down);
        if is_lost {
            for other in linked(Link::Needs) {
                self.step(&other, Event::NeedLost { need: name.clone(), has_failed });
            }
            return;
        }
        let has_come_back = matches!((from, to), (State::Starting { .. }, State::Up { .. }));
        if has_come_back {
            let mut followers = linked(Link::Follows);
            followers.retain(|it| self.has_missed(it, name));
            for other in followers {
                self.step(&other, Event::Returned { followed: name.clone() });
            }
        }
    }

    /// Whether `follower` has yet to be restarted after `followed`, which is ready: not if
    /// `followed` has only been found again by a new manager, unless it had come back just before
    /// that.
    fn has_missed(&self, follower: &Name, followed: &Name) -> bool {
        let spawned = |name| self.identity_of(name).map(|it| it.start_ticks);
        let is_adopted = self.entries.get(followed).is_some_and(|it| it.is_adopted);
        !is_adopted || spawned(follower) < spawned(followed)
    }
}

fn transition(
    name: &Name,
    from: State,
    to: State,
    note: Option<String>,
    end: Option<Map<String, Value>>,
) -> What {
    let mut members = Map::new();
    members.insert("from".to_owned(), from.word().into());
    members.insert("to".to_owned(), to.word().into());
    if let Some(pid) = to.pid().or(from.pid()) {
        members.insert("pid".to_owned(), pid.into());
    }
    if let Some(note) = note {
        members.insert("note".to_owned(), note.into());
    }
    members.extend(end.into_iter().flatten());
    What { kind: Kind::Transition, name: Some(name.to_string()), by: None, members }
}
