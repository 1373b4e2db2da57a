//! Which listening sockets the keeper holds, so that they survive it too.
//!
//! What is held here is what the manager wants; what the keeper told is only needed when there is a
//! new link, by which the one is made the other again.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::fd::OwnedFd,
};

use super::Message;
use crate::keeper::protocol::{Hold, Request};

/// By daemon and by what they are called.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    held: BTreeMap<String, Held>,
    told: BTreeMap<String, BTreeSet<String>>,
}

/// A descriptor is absent while only the keeper has it.
type Held = BTreeMap<String, Option<OwnedFd>>;

impl Sockets {
    /// What is held for a daemon.
    pub(super) fn of(&self, name: &str) -> Vec<String> {
        self.held.get(name).into_iter().flatten().map(|(socket, _)| socket.clone()).collect()
    }

    /// For whom something is held.
    pub(super) fn names(&self) -> Vec<String> {
        self.held.keys().cloned().collect()
    }

    /// For which other daemon a socket is held.
    pub(super) fn other_with(&self, name: &str, socket: &str) -> Option<String> {
        let is_it = |(other, held): &(&String, &Held)| *other != name && held.contains_key(socket);
        self.held.iter().find(is_it).map(|(other, _)| other.clone())
    }

    /// Holds no others than `kept`, and these besides.
    pub(super) fn hold(&mut self, name: &str, kept: &[String], added: Vec<(String, OwnedFd)>) {
        let held = self.held.entry(name.to_owned()).or_default();
        held.retain(|socket, _| kept.contains(socket));
        held.extend(added.into_iter().map(|(socket, descriptor)| (socket, Some(descriptor))));
        if held.is_empty() {
            self.held.remove(name);
        }
    }

    /// Drops what only the keeper had, since it has not.
    pub(super) fn drop_unseen(&mut self, name: &str) {
        if let Some(held) = self.held.get_mut(name) {
            held.retain(|_, descriptor| descriptor.is_some());
        }
    }

    /// Tells the keeper what is held for a daemon, with all descriptors that there are: which of
    /// them it has already is its to know.
    pub(super) fn message(&self, name: &str) -> Message {
        let mut hold = Hold { name: name.to_owned(), sockets: self.of(name), added: vec![] };
        let mut descriptors = vec![];
        for (socket, descriptor) in self.held.get(name).into_iter().flatten() {
            // Without room for a copy the keeper goes on with its own.
            if let Some(copy) = descriptor.as_ref().and_then(|it| it.try_clone().ok()) {
                hold.added.push(socket.clone());
                descriptors.push(copy);
            }
        }
        Message { line: super::connection::line(&Request::Hold(hold)), descriptors }
    }

    /// The keeper begins to tell what it holds.
    pub(super) fn forget_told(&mut self) {
        self.told.clear();
    }

    /// The keeper tells what it holds.
    pub(super) fn tell(&mut self, name: &str, sockets: &[String]) {
        self.told.insert(name.to_owned(), sockets.iter().cloned().collect());
    }

    /// The keeper hands on what it told.
    pub(super) fn hand(&mut self, name: &str, sockets: Vec<String>, came: Vec<OwnedFd>) {
        let Some(held) = self.held.get_mut(name) else { return };
        for (socket, descriptor) in sockets.into_iter().zip(came) {
            if let Some(known) = held.get_mut(&socket) {
                *known = Some(descriptor);
            }
        }
    }

    /// For a manager that begins: what the keeper told is held.
    pub(super) fn believe(&mut self) {
        let unseen = |sockets: BTreeSet<String>| sockets.into_iter().map(|it| (it, None)).collect();
        let told = std::mem::take(&mut self.told).into_iter();
        self.held = told.map(|(name, sockets)| (name, unseen(sockets))).collect();
    }

    /// For a manager that has another link: what the keeper has to be told, so that it holds what
    /// is held here and nothing else. What nobody has any more is held no longer.
    pub(super) fn correct(&mut self) -> Vec<Message> {
        let told = std::mem::take(&mut self.told);
        for (name, held) in &mut self.held {
            let is_told = |it: &String| told.get(name).is_some_and(|told| told.contains(it));
            held.retain(|socket, descriptor| descriptor.is_some() || is_told(socket));
        }
        self.held.retain(|_, held| !held.is_empty());
        let names: BTreeSet<&String> = self.held.keys().chain(told.keys()).collect();
        names.into_iter().map(|name| self.message(name)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> OwnedFd {
        tempfile::tempfile().unwrap().into()
    }

    fn texts(all: &[&str]) -> Vec<String> {
        all.iter().map(ToString::to_string).collect()
    }

    fn said(message: &Message) -> (Hold, usize) {
        let request: Request = serde_json::from_slice(&message.line).unwrap();
        let Request::Hold(hold) = request else { panic!("{request:?}") };
        (hold, message.descriptors.len())
    }

    #[test]
    fn another_keeper_is_given_what_the_one_before_held() {
        let mut sockets = Sockets::default();
        sockets.hold("X", &[], vec![("a".to_owned(), file()), ("b".to_owned(), file())]);
        sockets.hold("X", &texts(&["a"]), vec![]);
        sockets.forget_told();

        let messages = sockets.correct();

        let wanted = Hold { name: "X".into(), sockets: texts(&["a"]), added: texts(&["a"]) };
        assert_eq!(messages.iter().map(said).collect::<Vec<_>>(), [(wanted, 1)]);
    }

    #[test]
    fn what_was_released_without_a_link_is_released_by_the_next_one() {
        let mut sockets = Sockets::default();
        sockets.tell("X", &texts(&["a"]));
        let messages = sockets.correct();
        let wanted = Hold { name: "X".into(), sockets: vec![], added: vec![] };
        assert_eq!(messages.iter().map(said).collect::<Vec<_>>(), [(wanted, 0)]);
    }

    #[test]
    fn a_manager_that_begins_holds_what_it_is_told_and_then_handed() {
        let mut sockets = Sockets::default();
        sockets.tell("X", &texts(&["a", "b"]));
        sockets.believe();
        assert_eq!(sockets.of("X"), ["a", "b"]);
        assert_eq!(said(&sockets.message("X")).1, 0);
        sockets.hand("X", texts(&["a"]), vec![file()]);
        let (hold, count) = said(&sockets.message("X"));
        assert_eq!((hold.sockets, hold.added, count), (texts(&["a", "b"]), texts(&["a"]), 1));

        // The keeper is lost before it has handed on the other one, and the next has none.
        assert_eq!(sockets.correct().len(), 1);
        assert_eq!(sockets.of("X"), ["a"]);
    }
}
