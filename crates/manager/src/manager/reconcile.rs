//! What the keeper lists, held against what the manager believes: when there is a link again, and
//! at the start, when the manager believes nothing yet.
//!
//! Reports and requests may have been lost with the link, in any number. So nothing is remembered
//! of them: each daemon's state says what it waits for, the list says what is, and whatever lies
//! between is told or asked anew.

use std::collections::BTreeSet;

use super::{
    Manager,
    ended::{self, End},
    entry::Unverified,
    plan,
};
use crate::{
    child::{Event, Phase, State},
    definition::Ready,
    keeper::protocol::{Listed, State as Kept},
    name::Name,
    policy::Exit,
};

impl Manager {
    /// The keeper cannot be reached. Whoever runs goes on; what is asked meanwhile is asked again.
    pub(super) fn keeper_lost(&mut self, why: String) {
        tracing::warn!(why, "the keeper cannot be reached");
        if self.keeper.trouble().is_none() {
            self.note(&format!("the keeper cannot be reached: {why}"), None);
        }
        self.keeper.lost(why);
    }

    /// Brings every daemon in step with what the keeper has.
    pub(super) fn reconcile(&mut self, children: Vec<Listed>) {
        let mut listed = BTreeSet::new();
        let mut ended = Vec::new();
        for child in children {
            match Name::new(&child.name) {
                Ok(name) if child.let_go && self.entries.contains_key(&name) => {}
                Ok(name) if self.entries.contains_key(&name) => {
                    if self.reconcile_one(&name, &child) {
                        ended.push((name.clone(), child));
                    }
                    listed.insert(name);
                }
                // What the version before does not know of may have been installed since.
                _ if self.registry.recovery().is_some() => {
                    tracing::warn!(
                        name = child.name,
                        "left alone: it is not in what could be read of the registry"
                    );
                    self.note(&format!("`{}` runs and is not known: left alone", child.name), None);
                }
                _ => {
                    tracing::info!(name = child.name, "ending what is no longer installed");
                    self.keeper.kill(&child.name);
                    self.keeper.forget(&child.name);
                }
            }
        }
        // All that live are known before the first end is told: what follows from it may concern
        // them.
        for (name, child) in ended {
            self.tell_end(&name, &child);
        }
        let unlisted: Vec<Name> =
            self.entries.keys().filter(|name| !listed.contains(*name)).cloned().collect();
        for name in unlisted {
            self.reconcile_unlisted(&name);
        }
        self.has_begun = true;
    }

    /// Whether its end is still to be told.
    fn reconcile_one(&mut self, name: &Name, child: &Listed) -> bool {
        let Some(state) = self.state(name) else { return false };
        let has_ended = matches!(child.state, Kept::Exited { .. });
        if is_spawning(state) && self.has_secret(name, &child.identity.secret) {
            self.answer_spawn(name, child);
            return has_ended;
        }
        match (state.pid(), &child.state) {
            (Some(known), _) if known == child.identity.pid => {
                if !has_ended {
                    self.ask_again(name);
                }
                return has_ended;
            }
            // It cannot be told whether that is it: the keeper refuses to start another.
            (None, Kept::Unverified) => self.cannot_tell(name, child.identity.pid),
            (None, Kept::Failed { .. }) => self.keeper.forget(name.as_str()),
            (None, Kept::Exited { .. }) if self.has_begun => self.forget_told(name, state, child),
            (None, _) if !is_spawning(state) => {
                self.take_over(name, child);
                return has_ended;
            }
            // The one that the manager knows is not there, and somebody else is.
            _ => {
                self.keeper.kill(name.as_str());
                self.keeper.forget(name.as_str());
                self.reconcile_unlisted(name);
            }
        }
        false
    }

    /// It is left alone until the keeper can tell.
    fn cannot_tell(&mut self, name: &Name, pid: u32) {
        if let Some(entry) = self.entries.get_mut(name) {
            entry.unverified.get_or_insert(Unverified { is_unwanted: false });
        }
        self.note(
            &format!("`{name}`: cannot tell whether pid {pid} is it, so it is left alone"),
            None,
        );
        self.step(name, Event::Unverified { pid });
    }

    /// Now the keeper can tell. Who has just asked it for another spawn is told again.
    pub(super) fn verified(&mut self, child: &Listed) {
        let known = Name::new(&child.name).ok();
        let state = known.as_ref().and_then(|name| self.state(name));
        let (Some(name), Some(state)) = (known, state) else {
            self.keeper.kill(&child.name);
            return self.keeper.forget(&child.name);
        };
        let unverified = self.entries.get_mut(&name).and_then(|it| it.unverified.take());
        if is_spawning(state) || state.pid().is_some() {
            if let Some(entry) = self.entries.get_mut(&name) {
                entry.unverified = unverified;
            }
            return;
        }
        if self.reconcile_one(&name, child) {
            self.tell_end(&name, child);
        }
        if unverified.is_some_and(|it| it.is_unwanted) {
            self.step(&name, Event::Stop);
        }
    }

    /// One that has been dealt with, and whose end was to be forgotten.
    fn forget_told(&mut self, name: &Name, state: State, child: &Listed) {
        if child.empty {
            self.keeper.forget(name.as_str());
        }
        self.respawn(name, state);
    }

    /// What a spawn has come to whose answer was lost, or is still to come.
    fn answer_spawn(&mut self, name: &Name, child: &Listed) {
        match child.state {
            Kept::Starting => {}
            Kept::Failed { step, errno } => {
                self.spawn_failed(name, plan::step_words(step).to_owned(), errno);
            }
            Kept::Running | Kept::Unverified | Kept::Exited { .. } => {
                self.spawned(name.as_str(), child.identity.clone());
                self.ask_again(name);
            }
        }
    }

    /// One that is being stopped: what was asked to that end may be lost.
    fn ask_again(&mut self, name: &Name) {
        if self.entries.get(name).is_some_and(|entry| entry.is_intended) {
            self.keeper.intend(name.as_str(), true);
        }
        match self.state(name) {
            Some(State::Stopping { phase: Phase::Asked, .. }) => {
                let Some(definition) = self.definition(name) else { return };
                self.keeper.signal(name.as_str(), definition.stop_signal.number());
            }
            Some(State::Stopping { .. }) => self.keeper.kill(name.as_str()),
            _ => {}
        }
    }

    /// An end that came while there was no link, or no manager.
    fn tell_end(&mut self, name: &Name, child: &Listed) {
        let Kept::Exited { status, at_ms } = child.state else { return };
        let pid = child.identity.pid;
        match (self.has_heard_end(name, pid), child.empty) {
            (false, is_empty) => {
                self.was_stable(name, child);
                self.ended(name, End::new(pid, status, at_ms), is_empty);
            }
            (true, true) => self.step(name, Event::Empty { pid }),
            (true, false) => self.ask_again(name),
        }
    }

    /// Takes over a child that an earlier manager left with the keeper.
    fn take_over(&mut self, name: &Name, child: &Listed) {
        let Some(entry) = self.entries.get_mut(name) else { return };
        let pid = child.identity.pid;
        entry.secret = Some(child.identity.secret.clone());
        entry.identity = Some(child.identity.clone());
        entry.end.iter_mut().for_each(End::retire);
        entry.is_adopted = true;
        if child.state == Kept::Starting {
            return self.step(name, Event::AdoptedEarly);
        }
        if child.stopping {
            entry.is_intended = true;
            return self.step(name, Event::AdoptedStopping { pid });
        }
        // It has told that it is ready, and will not tell again; nobody else can. And who lived for
        // longer than it was given to become ready, was.
        let is_ready = self.definition(name).is_some_and(|definition| {
            let was_ready = ended::lived(child).is_some_and(|it| it >= definition.start_timeout);
            was_ready || definition.ready == Ready::Notify
        });
        self.step(name, Event::Adopted { pid, port: None, is_ready });
    }

    /// A daemon that does not answer is not stopped because its manager was replaced: one that
    /// lived for longer than it was given to become ready was ready before.
    pub(super) fn patience_with_adopted(&self, name: &Name) -> Option<Event> {
        let entry = self.entries.get(name).filter(|entry| entry.is_adopted)?;
        let State::Starting { pid: Some(pid), .. } = entry.child.state() else { return None };
        let timeout = entry.child.definition().start_timeout;
        // It was adopted one timeout ago.
        let is_old = entry.identity.as_ref()?.age()? >= 2 * timeout;
        let note = Some("does not answer since this manager has taken it over".to_owned());
        is_old.then_some(Event::Ready { pid, port: None, note })
    }

    /// The keeper has nothing by this name, and whoever could be adopted has been.
    fn reconcile_unlisted(&mut self, name: &Name) {
        let Some(state) = self.state(name) else { return };
        match state.pid() {
            Some(pid) if self.has_heard_end(name, pid) => {
                self.step(name, Event::Empty { pid });
            }
            Some(pid) => {
                self.step(name, Event::Exited { pid, exit: Exit::Unknown, is_empty: true });
            }
            None => self.respawn(name, state),
        }
    }

    /// Whoever waits for a spawn that has come to nothing: asked for again, if it is still wanted.
    fn respawn(&mut self, name: &Name, state: State) {
        match state {
            State::Starting { pid: None, .. } => self.spawn(name),
            State::Stopping { pid: None, .. } => {
                let step = "cannot reach the keeper".to_owned();
                self.step(name, Event::SpawnFailed { step, errno: libc::EPIPE });
            }
            _ => {}
        }
    }

    /// Whether the end of this leader has been told.
    fn has_heard_end(&self, name: &Name, pid: u32) -> bool {
        let end = self.entries.get(name).and_then(|entry| entry.end.as_ref());
        end.is_some_and(|end| end.is_of(pid))
    }

    /// A tree has ended. One that nobody asks for any more is forgotten now, since it could not be
    /// before.
    pub(super) fn emptied(&mut self, name: &str, pid: u32) {
        let known = Name::new(name).ok();
        let state = known.as_ref().and_then(|name| self.state(name));
        match (known, state) {
            (Some(name), Some(state)) if state.pid().is_some() => {
                self.step(&name, Event::Empty { pid });
            }
            (_, Some(state)) if is_spawning(state) => {}
            (_, Some(_)) => self.keeper.forget(name),
            (_, None) => {
                self.keeper.forget(name);
                // Its file too, since nobody will have the name.
                self.keeper.kill(name);
            }
        }
    }

    fn has_secret(&self, name: &Name, secret: &str) -> bool {
        self.entries.get(name).is_some_and(|entry| entry.secret.as_deref() == Some(secret))
    }
}

/// Whether the answer to a spawn is awaited.
fn is_spawning(state: State) -> bool {
    matches!(state, State::Starting { pid: None, .. } | State::Stopping { pid: None, .. })
}
