//! The table: one line a transition, in the order of a life.
//!
//! After the crash of a stable child there is nothing to wait for, so it is `pending` at once.
//! Whether to give up is decided at the failure, so a child that is given up never comes to
//! `waiting`.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    Action, Cause, Child, Event, Phase, Pid,
    State::{self, Down, Failed, Pending, Sick, Starting, Stopping, Up, Waiting},
    Then, Timer,
};
use crate::{
    definition::{Leftovers, Ready, Restart},
    name::Name,
    policy::{self, Exit, Verdict, is_lasting},
};

/// How long a killed tree may take to end. The kernel needs milliseconds; more is a process in a
/// system call that cannot be interrupted.
const KILL: Duration = Duration::from_secs(5);

/// How often a tree that does not end is killed again: something may have been forked just then.
const KILL_AGAIN: Duration = Duration::from_secs(30);

pub(super) fn step(child: &mut Child, event: Event, now: Instant, random: u64) -> Vec<Action> {
    if is_late(&child.state, &event) {
        return vec![];
    }
    let mut step = Step { child, now, random, actions: vec![] };
    step.take(event);
    step.actions
}

/// Whether `event` speaks of a process or a timer that is no longer the child's.
fn is_late(state: &State, event: &Event) -> bool {
    match event {
        Event::Elapsed(timer) => state.timer() != Some(*timer),
        Event::Ready { pid, .. }
        | Event::Found { pid, .. }
        | Event::Exited { pid, .. }
        | Event::Empty { pid }
        | Event::Sick { pid, .. }
        | Event::Well { pid } => state.pid() != Some(*pid),
        _ => false,
    }
}

/// What it says about a stop that does not come to an end.
pub(super) fn stuck(pid: Option<Pid>) -> &'static str {
    if pid.is_some() { "unkillable (D state)" } else { "the keeper does not answer" }
}

/// One event on its way through the table.
struct Step<'a> {
    child: &'a mut Child,
    now: Instant,
    random: u64,
    actions: Vec<Action>,
}

impl Step<'_> {
    #[rustfmt::skip] // one line a transition
    fn take(&mut self, event: Event) {
        match (self.child.state, event) {
            // At rest.
            (Down | Failed, Event::Start | Event::Restart)           => self.pend(Cause::Start),
            (Failed, Event::Stop)                                    => self.rest(Then::Down, None),
            (Down | Failed, Event::Remove)                           => self.act(Action::Removed),

            // Wants to run.
            (Pending, Event::Granted)                                => self.spawn(),
            (Waiting { .. }, Event::Elapsed(_))                      => self.pend(Cause::Itself),
            (Waiting { .. }, Event::Start)                           => self.pend(Cause::Start),
            (Waiting { .. }, Event::Restart)                         => self.pend(Cause::Restart),
            (Pending | Waiting { .. }, Event::Stop)                  => self.rest(Then::Down, None),
            (Pending | Waiting { .. }, Event::Remove)                => self.rest(Then::Gone, None),
            (Pending | Waiting { .. }, Event::NeedLost { need, has_failed }) => self.rest(Then::Down, lost(&need, has_failed)),

            // Found running when the manager came.
            (Down | Failed | Pending | Waiting { .. }, Event::Adopted { pid, port, is_ready: true }) => self.up(pid, port, None),
            (Down | Failed | Pending | Waiting { .. }, Event::Adopted { pid, .. })                   => self.adopt(pid),

            (Down | Failed | Pending | Waiting { .. }, Event::AdoptedEarly)                          => self.adopt_early(),

            (Down | Failed | Pending | Waiting { .. }, Event::AdoptedStopping { pid })               => self.adopt_stopping(pid),
            (Down | Failed | Pending | Waiting { .. }, Event::Unverified { pid })                    => self.child.note = Some(format!("cannot tell whether pid {pid} is it")),

            // Between spawn and ready.
            (Starting { pid: None, .. }, Event::Spawned { pid })                       => self.spawned(pid),
            (Starting { pid: None, .. }, Event::SpawnFailed { step, errno }) if is_lasting(errno) => self.rest(Then::Fail, Some(policy::spawn_note(&step, errno))),
            (Starting { pid: None, .. }, Event::SpawnFailed { step, errno })           => self.spawn_failed(policy::spawn_note(&step, errno)),
            (Starting { .. }, Event::Found { what, .. })                               => self.child.found = Some(what),
            (Starting { .. }, Event::Ready { pid, port, note })                        => self.up(pid, port, note),
            (Starting { .. }, Event::Exited { exit, is_empty, .. }) if exit.is_lasting() => self.vain(exit, is_empty),
            (Starting { pid: Some(pid), .. }, Event::Elapsed(_)) if self.is_delayed()  => self.up(pid, None, None),
            (Starting { .. }, Event::Elapsed(_))                                       => self.too_late(),

            // Ready.
            (Up { port: None, stable, .. }, Event::Ready { pid, port, .. }) => self.child.state = Up { pid, port, stable },
            (Up { pid, port, .. }, Event::Elapsed(_))                => self.stable(Up { pid, port, stable: None }),
            (Sick { pid, port, .. }, Event::Elapsed(_))              => self.stable(Sick { pid, port, stable: None }),
            (Up { port, stable, .. }, Event::Sick { pid, note })     => self.go(Sick { pid, port, stable }, Some(note)),
            (Sick { port, stable, .. }, Event::Well { pid })         => self.go(Up { pid, port, stable }, None),

            // Running in whatever way.
            (Starting { .. } | Up { .. } | Sick { .. }, Event::Exited { exit, is_empty, .. }) => self.exited(exit, is_empty),
            (Starting { .. } | Up { .. } | Sick { .. }, Event::Stop)     => self.stop(Then::Down, None),
            (Starting { .. } | Up { .. } | Sick { .. }, Event::Remove)   => self.stop(Then::Gone, None),
            (Starting { .. } | Up { .. } | Sick { .. }, Event::Restart)  => self.stop(Then::Start(Cause::Restart), None),
            (Starting { .. } | Up { .. } | Sick { .. }, Event::Returned { followed }) => self.stop(Then::Start(Cause::Itself), Some(format!("follows `{followed}`, which came back"))),
            (Starting { .. } | Up { .. } | Sick { .. }, Event::NeedLost { need, has_failed }) => self.stop(Then::Down, lost(&need, has_failed)),

            // Being stopped.
            (Stopping { then, .. }, Event::Exited { is_empty: true, exit, .. }) => self.ended(exit, true, then),
            (Stopping { .. }, Event::Exited { exit, .. })                    => self.child.exit = Some(exit),
            (Stopping { then, .. }, Event::Empty { .. })                     => self.settle(then),
            (Stopping { pid: None, then, .. }, Event::Spawned { pid })       => self.terminate(Some(pid), then),
            (Stopping { pid: None, then, .. }, Event::SpawnFailed { .. })    => self.settle(then),
            (Stopping { pid: Some(pid), phase: Phase::Asked, then, .. }, Event::Elapsed(_) | Event::Hurry) => self.kill(pid, then),
            (Stopping { pid, then, .. }, Event::Elapsed(_))                  => self.stuck(pid, then),
            (Stopping { then: Then::Gone, .. }, Event::Start | Event::Restart) => self.act(Action::Refuse { reason: "it is being uninstalled" }),
            (Stopping { phase: Phase::Stuck, pid, .. }, Event::Start | Event::Restart) => self.act(Action::Refuse { reason: stuck(pid) }),
            (Stopping { then: Then::Start(_), .. }, Event::Start)            => {}
            (Stopping { .. }, Event::Start)                                  => self.then(Then::Start(Cause::Start), None),
            (Stopping { .. }, Event::Restart)                                => self.then(Then::Start(Cause::Restart), None),
            (Stopping { .. }, Event::Remove)                                 => self.then(Then::Gone, None),
            (Stopping { then: Then::Down | Then::Gone, .. }, Event::Stop)    => {}
            (Stopping { .. }, Event::Stop)                                   => self.then(Then::Down, None),
            (Stopping { then: Then::Retry(_) | Then::Start(_), .. }, Event::NeedLost { need, has_failed }) => self.then(Then::Down, lost(&need, has_failed)),

            // What is already so, what comes too early, and what makes no sense.
            _ => {}
        }
    }

    /// Wants a slot. Who was asked for begins anew; who comes back by itself carries its failures
    /// along.
    fn pend(&mut self, cause: Cause) {
        let restarts = &mut self.child.restarts;
        match cause {
            Cause::Start => {}
            Cause::Restart => restarts.asked += 1,
            Cause::Itself => restarts.automatic += 1,
        }
        let note = if cause == Cause::Itself { self.child.note.take() } else { None };
        if cause != Cause::Itself {
            self.child.failures = policy::Failures::default();
        }
        self.go(Pending, note);
    }

    fn spawn(&mut self) {
        self.child.definition = self.child.defined.clone();
        self.child.found = None;
        let note = self.child.note.take();
        let timer = self.timer(self.child.definition.start_timeout);
        self.go(Starting { pid: None, timer }, note);
        self.act(Action::Spawn);
    }

    fn adopt_early(&mut self) {
        let timer = self.timer(self.child.definition.start_timeout);
        self.go(Starting { pid: None, timer }, None);
    }

    /// It has been asked already, and is given its whole grace, since nobody knows how much is
    /// left.
    fn adopt_stopping(&mut self, pid: Pid) {
        let timer = self.timer(self.child.definition.grace);
        let to = Stopping { pid: Some(pid), phase: Phase::Asked, then: Then::Down, timer };
        self.go(to, None);
    }

    fn adopt(&mut self, pid: Pid) {
        let timer = self.timer(self.child.definition.start_timeout);
        self.go(Starting { pid: Some(pid), timer }, None);
        self.spawned(pid);
    }

    /// Waits for readiness in the way of the definition.
    fn spawned(&mut self, pid: Pid) {
        let Starting { timer, .. } = self.child.state else { return };
        match self.child.definition.ready {
            Ready::None => self.up(pid, None, None),
            Ready::Delay(delay) => {
                let timer = self.timer(delay);
                self.child.state = Starting { pid: Some(pid), timer };
            }
            Ready::Dae | Ready::Port | Ready::Notify => {
                self.child.state = Starting { pid: Some(pid), timer };
                self.act(Action::ProbeReady { pid });
            }
        }
    }

    fn is_delayed(&self) -> bool {
        matches!(self.child.definition.ready, Ready::Delay(_))
    }

    fn up(&mut self, pid: Pid, port: Option<u16>, note: Option<String>) {
        let stable = self.timer(self.child.definition.stable);
        self.go(Up { pid, port, stable: Some(stable) }, note);
    }

    fn stable(&mut self, state: State) {
        self.child.failures.clear();
        self.child.state = state;
    }

    /// Ended by itself: what now is the policy's matter.
    fn exited(&mut self, exit: Exit, is_empty: bool) {
        let then = match policy::verdict(&self.child.definition, exit) {
            Verdict::Restart => self.again(exit.to_string()),
            Verdict::Down => self.noted(Then::Down, exit.to_string()),
            Verdict::Failed => self.noted(Then::Fail, exit.to_string()),
        };
        self.ended(exit, is_empty, then);
    }

    /// Its leader is gone. What it left behind is stopped too, before anything else, unless it may
    /// stay.
    fn ended(&mut self, exit: Exit, is_empty: bool, then: Then) {
        self.child.exit = Some(exit);
        if is_empty || self.child.definition.leftovers == Leftovers::Keep {
            self.settle(then);
        } else {
            self.terminate(self.child.state.pid(), then);
        }
    }

    /// It says itself that trying again is vain.
    fn vain(&mut self, exit: Exit, is_empty: bool) {
        let then = self.noted(Then::Fail, format!("{exit}: it cannot run as it is configured"));
        self.ended(exit, is_empty, then);
    }

    fn spawn_failed(&mut self, why: String) {
        let then = self.start_failed(why);
        self.settle(then);
    }

    /// It is not ready in time: what there is of it is stopped first.
    fn too_late(&mut self) {
        let then = self.start_failed(self.silence());
        self.terminate(self.child.state.pid(), then);
    }

    fn start_failed(&mut self, why: String) -> Then {
        match self.child.definition.restart {
            Restart::Never => self.noted(Then::Fail, why),
            Restart::Always | Restart::OnFailure => self.again(why),
        }
    }

    /// Counts a failure, unless it had been stable, and decides when to try again, or to give up.
    fn again(&mut self, last: String) -> Then {
        let (now, definition) = (self.now, self.child.definition.clone());
        let failures = &mut self.child.failures;
        let is_stable =
            matches!(self.child.state, Up { stable: None, .. } | Sick { stable: None, .. });
        if !is_stable {
            failures.add(now);
        }
        if let Some(limit) = definition.give_up.filter(|&it| failures.is_too_many(it, now)) {
            return self.noted(Then::Fail, format!("gave up: more than {limit}, last: {last}"));
        }
        let wait = policy::delay(definition.backoff, failures.count(), self.random);
        let note = failures.note(&last, now);
        let then = if is_stable { Then::Start(Cause::Itself) } else { Then::Retry(wait) };
        self.noted(then, note)
    }

    fn noted(&mut self, then: Then, note: String) -> Then {
        self.child.note = Some(note);
        then
    }

    /// The note for a start that took too long.
    fn silence(&self) -> String {
        let definition = &self.child.definition;
        let missed = match (self.child.state.pid(), definition.ready) {
            (None, _) => "was not spawned",
            (_, Ready::Dae) => "did not answer `dae`",
            (_, Ready::Notify) => "did not send READY=1",
            _ => "did not listen",
        };
        let waited = definition.start_timeout.as_secs_f64();
        let found = self.child.found.as_deref().unwrap_or("listens on nothing");
        format!("{missed} within {waited} s; {found}")
    }

    /// Goes from where no process is to where none will be.
    fn rest(&mut self, then: Then, note: Option<String>) {
        self.child.note = note;
        self.settle(then);
    }

    fn stop(&mut self, then: Then, note: Option<String>) {
        self.child.note = note;
        self.terminate(self.child.state.pid(), then);
    }

    /// Asks the tree to end. If it is still being spawned, that comes when it has been.
    fn terminate(&mut self, pid: Option<Pid>, then: Then) {
        let timer = self.timer(self.child.definition.grace);
        let note = self.child.note.take();
        self.go(Stopping { pid, phase: Phase::Asked, then, timer }, note);
        if let Some(pid) = pid {
            self.act(Action::Signal { pid, signal: self.child.definition.stop_signal });
        }
    }

    fn kill(&mut self, pid: Pid, then: Then) {
        let timer = self.timer(KILL);
        self.child.state = Stopping { pid: Some(pid), phase: Phase::Killed, then, timer };
        self.act(Action::Kill { pid });
    }

    /// Says so, keeps watching, and tries again.
    fn stuck(&mut self, pid: Option<Pid>, then: Then) {
        let from = self.child.state;
        let to = Stopping { pid, phase: Phase::Stuck, then, timer: self.timer(KILL_AGAIN) };
        self.child.state = to;
        if !matches!(from, Stopping { phase: Phase::Stuck, .. }) {
            self.act(Action::Transition { from, to, note: Some(stuck(pid).to_owned()) });
        }
        if let Some(pid) = pid {
            self.act(Action::Kill { pid });
        }
    }

    /// Something else was asked while it is being stopped.
    fn then(&mut self, then: Then, note: Option<String>) {
        let Stopping { pid, phase, timer, .. } = self.child.state else { return };
        self.child.state = Stopping { pid, phase, then, timer };
        self.child.note = note;
    }

    /// Nothing of it runs any more: what was to come, comes.
    fn settle(&mut self, then: Then) {
        let note = self.child.note.take();
        match then {
            Then::Down => self.go(Down, note),
            Then::Fail => self.go(Failed, note),
            Then::Gone => {
                self.go(Down, note);
                self.act(Action::Removed);
            }
            Then::Retry(wait) => {
                let timer = self.timer(wait);
                self.go(Waiting { timer, until: self.now + wait }, note);
            }
            Then::Start(cause) => {
                self.child.note = note;
                self.pend(cause);
            }
        }
    }

    /// Enters a state: what leaving the old one and being in the new one always takes is done here.
    fn go(&mut self, to: State, note: Option<String>) {
        let from = std::mem::replace(&mut self.child.state, to);
        self.child.note = note.clone();
        if let (Some(pid), None) = (from.pid(), to.pid()) {
            self.act(Action::Forget { pid });
        }
        if from.wants_slot() && !to.wants_slot() {
            self.act(Action::ReleaseSlot);
        }
        self.act(Action::Transition { from, to, note });
        if to == Pending {
            self.act(Action::AskSlot);
        }
    }

    fn timer(&mut self, after: Duration) -> Timer {
        self.child.timers += 1;
        let timer = Timer(self.child.timers);
        self.act(Action::SetTimer { timer, at: self.now + after });
        timer
    }

    fn act(&mut self, action: Action) {
        self.actions.push(action);
    }
}

fn lost(need: &Name, has_failed: bool) -> Option<String> {
    let how = if has_failed { "has failed" } else { "was stopped" };
    Some(format!("needs `{need}`, which {how}"))
}
