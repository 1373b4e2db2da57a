use std::{net::SocketAddr, sync::Arc};

use serde_json::json;
use tokio::time::Instant;

use super::{Manager, ended::End, listing, plan, readiness, request::Target};
use crate::{
    child::{Action, Event, State, Then},
    definition::{HeldSockets, Ready},
    identity::Identity,
    keeper::protocol::{Report, Step},
    name::Name,
};

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
        self.tend_sockets(&name);
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
        let plan = plan::Plan {
            id: self.last_spawn,
            name,
            definition: &definition,
            base: &self.base_environment,
            paths: &self.paths,
            manager_port: self.port,
            nofile: self.nofile,
            socket: socket.as_deref(),
            secret: &secret,
        };
        let held = self.hold_sockets(name, &definition.sockets);
        let planned = held.and_then(|()| plan::spawn(&plan));
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
            others: labelled(&entry.child.definition().sockets),
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

    /// Takes in what the keeper reports.
    pub(super) fn reported(&mut self, report: Report, is_empty: bool) {
        match report {
            Report::Spawned { name, identity, .. } => self.spawned(&name, identity),
            Report::SpawnFailed { name, step, errno, .. } => {
                if step == Step::Socket {
                    self.keeper.lacks_sockets(&name);
                }
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
            Report::Held { .. } | Report::Sockets { .. } | Report::Ending {} => {}
            Report::Children(_) | Report::Holds { .. } => {}
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

    pub(super) fn state(&self, name: &Name) -> Option<State> {
        self.entries.get(name).map(|entry| entry.child.state())
    }

    pub(super) fn definition(&self, name: &Name) -> Option<Arc<crate::definition::Definition>> {
        self.entries.get(name).map(|entry| Arc::clone(entry.child.definition()))
    }
}

/// Where a daemon listens for others than its guests.
fn labelled(sockets: &HeldSockets) -> Vec<SocketAddr> {
    sockets.iter().filter(|it| it.label.is_some()).map(|it| it.address).collect()
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
