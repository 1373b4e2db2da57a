//! The listening sockets that are held for daemons: bound here, held by the keeper.
//!
//! From the first spawn on they stay open for as long as the daemon is to run: while it restarts,
//! waits for its next attempt, or nobody manages it. They are closed when it comes to rest, since
//! then nobody would answer whoever waits.

use std::{io, os::fd::OwnedFd};

use daemon::listen_on;

use super::{Manager, entry::Entry, plan::PlanError};
use crate::{
    child::{State, Then},
    definition::{HeldSocket, HeldSockets},
    name::Name,
    scan,
};

impl Manager {
    /// Has the keeper hold what a daemon is about to be spawned with.
    pub(super) fn hold_sockets(&self, name: &Name, wanted: &HeldSockets) -> Result<(), PlanError> {
        let held = self.keeper.held(name.as_str());
        if wanted.is_empty() && held.is_empty() {
            return Ok(());
        }
        let addresses: Vec<String> = wanted.iter().map(address).collect();
        if held.iter().any(|it| !addresses.contains(it)) {
            self.keeper.hold(name.as_str(), &addresses, vec![]);
        }
        let missing = wanted.iter().filter(|it| !held.contains(&address(it)));
        let bound = missing.map(|it| Ok((address(it), self.bind(name, it)?)));
        let bound = bound.collect::<Result<_, PlanError>>()?;
        // Also if nothing is new: it may have been lost with a keeper.
        self.keeper.hold(name.as_str(), &addresses, bound);
        Ok(())
    }

    /// Closes what is not held for a daemon any more: all if it rests or goes to rest, and between
    /// two processes what the next one will not have.
    pub(super) fn tend_sockets(&self, name: &Name) {
        let held = self.keeper.held(name.as_str());
        if held.is_empty() {
            return;
        }
        let keeps = |it: &String| self.entries.get(name).is_some_and(|entry| keeps(entry, it));
        let kept: Vec<String> = held.iter().filter(|it| keeps(it)).cloned().collect();
        if kept.len() < held.len() {
            self.keeper.hold(name.as_str(), &kept, vec![]);
        }
    }

    /// The same for all that the keeper holds, when it is not known what happened before.
    pub(super) fn tend_all_sockets(&self) {
        // What the version before does not know of may have been installed since.
        let is_left_alone =
            |name: &Name| self.registry.recovery().is_some() && !self.entries.contains_key(name);
        for name in self.keeper.holds_for() {
            match Name::new(&name) {
                Ok(name) if is_left_alone(&name) => {}
                Ok(name) => self.tend_sockets(&name),
                Err(_) => self.keeper.hold(&name, &[], vec![]),
            }
        }
    }

    /// Which of its sockets are held, by where they listen.
    pub(super) fn held_sockets(&self, name: &Name, sockets: &HeldSockets) -> Vec<bool> {
        if sockets.is_empty() {
            return vec![];
        }
        let held = self.keeper.held(name.as_str());
        sockets.iter().map(|it| held.contains(&address(it))).collect()
    }

    fn bind(&self, name: &Name, socket: &HeldSocket) -> Result<OwnedFd, PlanError> {
        listen_on(socket.address).map(OwnedFd::from).map_err(|error| PlanError {
            step: self.cannot_listen(name, socket, &error),
            errno: error.raw_os_error().unwrap_or(libc::EIO),
        })
    }

    fn cannot_listen(&self, name: &Name, socket: &HeldSocket, error: &io::Error) -> String {
        let label = socket.label.as_ref().map(|it| format!(" for `{it}`")).unwrap_or_default();
        let is_taken = error.kind() == io::ErrorKind::AddrInUse;
        let other = || self.keeper.held_for_other(name.as_str(), &address(socket));
        let owner = || scan::owner_of_port(socket.address.port()).ok().flatten();
        let taken = match is_taken.then(other) {
            None => String::new(),
            Some(Some(other)) => format!(", which is held for `{other}`"),
            Some(None) => owner().map(|it| format!(", which pid {it} has")).unwrap_or_default(),
        };
        format!("cannot listen on {}{label}{taken}", socket.address)
    }
}

/// What the keeper calls a socket: its label may change.
fn address(socket: &HeldSocket) -> String {
    socket.address.to_string()
}

fn keeps(entry: &Entry, held: &String) -> bool {
    match entry.child.state() {
        State::Down | State::Failed => false,
        State::Stopping { then: Then::Down | Then::Gone | Then::Fail, .. } => false,
        State::Starting { .. } | State::Up { .. } | State::Sick { .. } => true,
        State::Pending | State::Waiting { .. } | State::Stopping { .. } => {
            entry.child.defined().sockets.iter().any(|it| address(it) == *held)
        }
    }
}
