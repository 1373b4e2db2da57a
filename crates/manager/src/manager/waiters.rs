use std::collections::BTreeMap;

use super::request::{Answer, Target};
use crate::{
    child::{Phase, State, Then},
    name::Name,
};

/// Who waits for a daemon to come into a state.
#[derive(Debug, Default)]
pub(super) struct Waiters(BTreeMap<Name, Vec<Waiter>>);

/// One who waits.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) target: Target,
    /// Whether only the target ends the wait; else also what makes it unlikely: a start that
    /// failed.
    pub(super) is_patient: bool,
    pub(super) answer: Answer,
}

/// What a transition means to one who waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It has come.
    Reached,
    /// It will not come by itself, or not soon.
    Missed,
    /// Wait on.
    Open,
}

impl Waiters {
    pub(super) fn add(&mut self, name: &Name, waiter: Waiter) {
        let waiting = self.0.entry(name.clone()).or_default();
        // Not each time: anybody may wait, thousands of times.
        if waiting.len().is_power_of_two() {
            waiting.retain(|it| !it.answer.is_unwanted());
        }
        waiting.push(waiter);
    }

    /// Takes out those whom the state `to` answers, each with whether it is what it waited for.
    pub(super) fn settle(&mut self, name: &Name, to: State) -> Vec<(Waiter, bool)> {
        let Some(waiting) = self.0.remove(name) else { return vec![] };
        let mut settled = vec![];
        let mut open = vec![];
        for waiter in waiting {
            match verdict(waiter.target, waiter.is_patient, to) {
                Verdict::Open => open.push(waiter),
                verdict => settled.push((waiter, verdict == Verdict::Reached)),
            }
        }
        if !open.is_empty() {
            self.0.insert(name.clone(), open);
        }
        settled
    }

    /// Takes out those who wait for `name` to become ready, since it cannot start.
    pub(super) fn drain_ready(&mut self, name: &Name) -> Vec<Waiter> {
        let is_ready = |it: &Waiter| it.target == Target::Ready;
        let (ready, others): (_, Vec<_>) = self.drain(name).into_iter().partition(is_ready);
        if !others.is_empty() {
            self.0.insert(name.clone(), others);
        }
        ready
    }

    /// Takes out everybody who waits for `name`, since it is no more.
    pub(super) fn drain(&mut self, name: &Name) -> Vec<Waiter> {
        self.0.remove(name).unwrap_or_default()
    }
}

/// What `state` means to one who waits for `target`.
pub(super) fn verdict(target: Target, is_patient: bool, state: State) -> Verdict {
    use Verdict::{Missed, Open, Reached};
    let missed = if is_patient { Open } else { Missed };
    match (target, state) {
        (Target::Ready, State::Up { .. }) => Reached,
        (Target::Ready, State::Waiting { .. }) => missed,
        (Target::Ready, State::Down | State::Failed) => Missed,
        (Target::Ready, State::Stopping { then: Then::Down | Then::Gone, .. }) => Missed,
        (Target::Gone, State::Down | State::Failed) => Reached,
        // It is asked to end and does not: who waits is told, and may wait again.
        (Target::Gone, State::Stopping { phase: Phase::Stuck, .. }) => missed,
        (Target::Gone, State::Pending | State::Starting { .. } | State::Up { .. }) => missed,
        (Target::Failed, State::Failed) => Reached,
        _ => Open,
    }
}
