use std::{sync::Arc, time::Duration};

use common_tcp::Failure;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::{
    Manager,
    ended::End,
    entry::Entry,
    listing, plan, readiness,
    request::{Answer, Target},
    waiters::Waiter,
};
use crate::{
    child::{Action, Event, Phase, State, Then},
    definition::Ready,
    events::{Kind, What},
    identity::Identity,
    keeper::protocol::Report,
    name::Name,
    order::Link,
    scan::{self, Belonging},
};

/// How soon the kernel is asked again about a daemon that said that it listens, and did not: that
/// takes a look at all its processes, and it could say so without end.
const AGAIN: Duration = Duration::from_millis(100);

impl Manager {
    /// Takes a daemon one step further and performs what its table says.
    pub(super) fn step(&mut self, name: &Name, event: Event) {
        let Some(name) = self.entries.get_key_value(name).map(|(name, _)| name.clone()) else {
            return;
        };
        let Some(entry) = self.entries.get_mut(&name) else { return };
        let actions = entry.child.on(event, Instant::now(), random());
        for action in actions {
            self.act(&name, action);
        }
        self.intend(&name);
    }

    /// Tells the keeper of a stop that a manager after this one has to see through. When all are
    /// stopped that is this manager's end, and not for the next one.
    fn intend(&mut self, name: &Name) {
        let is_ending = self.ending.is_some();
        let Some(entry) = self.entries.get_mut(name) else { return };
        let stop = matches!(
            entry.child.state(),
            State::Stopping { pid: Some(_), then: Then::Down | Then::Gone, .. }
        );
        let is_known = std::mem::replace(&mut entry.is_intended, stop);
        let is_wanted = if stop { !is_ending } else { entry.child.state().pid().is_some() };
        if is_known != stop && is_wanted {
            self.keeper.intend(name.as_str(), stop);
        }
    }

    fn act(&mut self, name: &Name, action: Action) {
        match action {
            Action::AskSlot => self.ask_slot(name),
            Action::ReleaseSlot => self.slots.release(name),
            Action::Spawn => self.spawn(name),
            Action::ProbeReady { pid } => self.search_readiness(name, pid),
            Action::Signal { signal, .. } => self.keeper.signal(name.as_str(), signal.number()),
            Action::Kill { .. } => self.keeper.kill(name.as_str()),
            Action::Forget { .. } => self.forget(name),
            Action::SetTimer { timer, at } => self.timers.set(name, timer, at),
            Action::Refuse { reason } => self.refuse(name, reason),
            Action::Transition { from, to, note } => self.went(name, from, to, note),
            Action::Removed => self.removed(name),
        }
    }

    /// Queues a daemon, and starts what it needs; what it needs and can't have is its end.
    fn ask_slot(&mut self, name: &Name) {
        self.slots.ask(name);
        // What it is at its next start, which this is.
        let Some(entry) = self.entries.get(name) else { return };
        let definition = Arc::clone(entry.child.defined());
        for need in &definition.needs {
            match self.state(need) {
                Some(State::Down) => self.step(need, Event::Start),
                Some(State::Failed) => {
                    let event = Event::NeedLost { need: need.clone(), has_failed: true };
                    self.step(name, event);
                }
                _ => {}
            }
        }
    }

    /// Lets those start whose turn it is.
    pub(super) fn grant_slots(&mut self) {
        loop {
            let (order, entries) = (&self.order, &self.entries);
            let is_settled = |other: &Name| {
                let state = entries.get(other).map(|entry| entry.child.state());
                // Who is at rest is not waited for: `after` is about order alone.
                matches!(
                    state,
                    None | Some(
                        State::Up { .. } | State::Sick { .. } | State::Down | State::Failed
                    )
                )
            };
            let may_start = |name: &Name| order.before(name).into_iter().all(is_settled);
            let Some(next) = self.slots.grant(may_start) else { return };
            let Some(entry) = self.entries.get_mut(&next) else { continue };
            for action in entry.child.on(Event::Granted, Instant::now(), random()) {
                self.act(&next, action);
            }
        }
    }

    pub(super) fn spawn(&mut self, name: &Name) {
        self.last_spawn += 1;
        let secret = secret();
        let socket = self.socket_of(name);
        let Some(definition) = self.definition(name) else { return };
        let planned = plan::spawn(&plan::Plan {
            id: self.last_spawn,
            name,
            definition: &definition,
            base: &self.base_environment,
            paths: &self.paths,
            manager_port: self.port,
            nofile: self.nofile,
            socket: socket.as_deref(),
            secret: &secret,
        });
        let notify = (definition.ready == Ready::Notify)
            .then(|| plan::listen(&readiness::notify_path(&self.paths, name)));
        let Some(entry) = self.entries.get_mut(name) else { return };
        entry.secret = Some(secret);
        entry.identity = None;
        entry.is_adopted = false;
        entry.spawn_failure = None;
        entry.announced = None;
        entry.denied = None;
        entry.end.iter_mut().for_each(End::retire);
        let told = planned.and_then(|spawn| {
            entry.notify = notify.transpose()?;
            self.keeper.spawn(spawn).map_err(plan::PlanError::from)
        });
        if let Err(plan::PlanError { step, errno }) = told {
            self.spawn_failed(name, step, errno);
        }
    }

    pub(super) fn spawn_failed(&mut self, name: &Name, step: String, errno: i32) {
        if let Some(entry) = self.entries.get_mut(name) {
            entry.spawn_failure = Some((step.clone(), errno));
        }
        self.step(name, Event::SpawnFailed { step, errno });
    }

    fn search_readiness(&mut self, name: &Name, pid: u32) {
        let Some(entry) = self.entries.get_mut(name) else { return };
        let search = readiness::Search {
            name: name.clone(),
            pid,
            ready: entry.child.definition().ready,
            secret: entry.secret.clone().unwrap_or_default(),
            notify: entry.notify.take(),
            mailbox: self.mailbox.clone(),
        };
        let task = self.tasks.spawn(search.run());
        entry.set_probe(task);
    }

    fn forget(&mut self, name: &Name) {
        self.keeper.forget(name.as_str());
        if let Some(entry) = self.entries.get_mut(name) {
            entry.identity = None;
            entry.secret = None;
        }
    }

    /// A start is not possible now: who waits for it is told why.
    fn refuse(&mut self, name: &Name, reason: &str) {
        for waiter in self.waiters.drain_ready(name) {
            waiter.answer.send(Err(listing::about(
                "unavailable",
                name,
                format!("`{name}` cannot be started: {reason}"),
            )));
        }
    }

    fn removed(&mut self, name: &Name) {
        self.slots.release(name);
        self.timers.clear(name);
        self.entries.remove(name);
        // By `leftovers = "keep"` something of it may live that has no name any more.
        self.keeper.kill(name.as_str());
        if self.purged.remove(name) {
            self.purge(name);
        }
        for waiter in self.waiters.drain(name) {
            waiter.answer.send(match waiter.target {
                Target::Gone => Ok(json!({ "name": name.as_str(), "state": "down" })),
                Target::Ready | Target::Failed => {
                    let message = format!("`{name}` has been uninstalled");
                    Err(listing::about("stopped", name, message).with("state", "down"))
                }
            });
        }
    }

    /// Tells everybody of a transition.
    fn went(&mut self, name: &Name, from: State, to: State, note: Option<String>) {
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

    /// Why a daemon is not what somebody waited for, with its last lines of output.
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
        let output = listing::last_output(&self.paths.daemon_logs(name), 10);
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

    /// Takes in what the keeper reports.
    pub(super) fn reported(&mut self, report: Report, is_empty: bool) {
        match report {
            Report::Spawned { name, identity, .. } => self.spawned(&name, identity),
            Report::SpawnFailed { name, step, errno, .. } => {
                if let Ok(name) = Name::new(&name) {
                    self.spawn_failed(&name, plan::step_words(step).to_owned(), errno);
                }
            }
            Report::Exited { name, pid, status, at_ms } => {
                if let Ok(name) = Name::new(&name) {
                    self.ended(&name, End::new(pid, status, at_ms), is_empty);
                }
            }
            Report::Empty { name, pid } => self.emptied(&name, pid),
            Report::Verified(child) => self.verified(&child),
            Report::Refused { request, name, reason } => {
                tracing::debug!(request, name, ?reason, "the keeper refused");
            }
            // Those with descriptors do not come as far as this, and lists come when there is a new
            // link.
            Report::Held { .. } | Report::Children(_) | Report::Ending {} => {}
        }
    }

    pub(super) fn spawned(&mut self, name: &str, identity: Identity) {
        let Ok(name) = Name::new(name) else { return };
        let pid = identity.pid;
        if let Some(entry) = self.entries.get_mut(&name) {
            entry.identity = Some(identity);
            entry.unverified = None;
        }
        self.step(&name, Event::Spawned { pid });
        let announced = self.entries.get_mut(&name).and_then(|entry| entry.announced.take());
        if let Some((port, answer)) = announced {
            answer.send(self.check_ready(&name, pid, port));
        }
    }

    /// A child says that it listens: believed if the kernel says so too.
    pub(super) fn heard_ready(&mut self, secret: &str, port: u16, answer: Answer) {
        let is_it = |entry: &Entry| entry.secret.as_deref() == Some(secret);
        let found = self.entries.iter_mut().find(|(_, entry)| is_it(entry));
        let Some((name, entry)) = found else {
            let failure = Failure::new("denied", "no spawn of this manager has this secret");
            return answer.send(Err(failure));
        };
        let (name, state) = (name.clone(), entry.child.state());
        // One that is up without a port, since its readiness is no port's matter, may tell it now.
        if let State::Up { port: Some(known), .. } | State::Sick { port: Some(known), .. } = state {
            return answer.send(heard_again(&name, known, port));
        }
        match state.pid() {
            Some(pid) => answer.send(self.check_ready(&name, pid, port)),
            // It was faster than the keeper's report about it.
            None if matches!(state, State::Starting { .. }) => {
                entry.announced = Some((port, answer));
            }
            None => {
                let message = format!("`{name}` is {state}");
                answer.send(Err(listing::about("unavailable", &name, message)));
            }
        }
    }

    fn check_ready(&mut self, name: &Name, pid: u32, port: u16) -> Result<Value, Failure> {
        let name = name.clone();
        if self.entries.get(&name).and_then(|it| it.denied).is_some_and(|at| at.elapsed() < AGAIN) {
            let message = format!("`{name}` was just looked at and did not listen where it said");
            return Err(listing::about("busy", &name, message).with("hint", "say it again soon"));
        }
        let ready = self.look_whether_ready(&name, pid, port);
        if let Some(entry) = self.entries.get_mut(&name) {
            entry.denied = ready.is_err().then(Instant::now);
        }
        ready
    }

    fn look_whether_ready(&mut self, name: &Name, pid: u32, port: u16) -> Result<Value, Failure> {
        let name = name.clone();
        let tree = crate::proc::tree(pid)?;
        match scan::belongs_to(port, &tree)? {
            Belonging::Tree(_) => {
                self.step(&name, Event::Ready { pid, port: Some(port), note: None });
                Ok(Value::Null)
            }
            Belonging::Stranger(_) => {
                let owner = scan::owner_of_port(port)?.unwrap_or_default();
                let what = format!("port {port} belongs to pid {owner}, not to `{name}`");
                self.step(&name, Event::Found { pid, what: what.clone() });
                Err(Failure::new("denied", what).with("owner", owner))
            }
            Belonging::Nobody => {
                let what = format!("nobody listens on port {port}");
                self.step(&name, Event::Found { pid, what: what.clone() });
                Err(Failure::new("denied", what))
            }
        }
    }

    pub(super) fn state(&self, name: &Name) -> Option<State> {
        self.entries.get(name).map(|entry| entry.child.state())
    }

    pub(super) fn definition(&self, name: &Name) -> Option<Arc<crate::definition::Definition>> {
        self.entries.get(name).map(|entry| Arc::clone(entry.child.definition()))
    }
}

/// What a child is told that is ready already. The kernel is not asked again: nothing would come of
/// it, and whoever can connect to the child knows its secret and could keep the manager busy.
fn heard_again(name: &Name, known: u16, port: u16) -> Result<Value, Failure> {
    if known == port {
        return Ok(Value::Null);
    }
    let message = format!("`{name}` is ready already, on port {known}");
    Err(listing::about("conflict", name, message))
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

/// A number that nobody can guess; if the kernel has none, one that differs is enough for jitter.
fn random() -> u64 {
    getrandom::u64().unwrap_or_else(|_| crate::time::now_ms())
}

/// 128 random bits in hex: which spawn it is.
fn secret() -> String {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits).expect("Linux has random numbers once it has booted");
    bits.iter().map(|byte| format!("{byte:02x}")).collect()
}
