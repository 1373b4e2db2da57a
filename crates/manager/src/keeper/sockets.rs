//! Listening sockets that outlive those who serve them.
//!
//! The manager has bound them and says for whom; here they are descriptors with a name. They are
//! held from one spawn to the next, and over the end of the manager, so that whoever connects
//! meanwhile waits instead of being refused.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::link::{Link, LinkError};
use super::protocol::{Hold, Report};
use super::turn::Keeper;

/// All of them: for whom, and what the manager calls them.
#[derive(Debug, Default)]
pub(super) struct Sockets(BTreeMap<String, BTreeMap<String, OwnedFd>>);

impl Sockets {
    /// Takes those that came, and closes those that are not wanted any more.
    pub(super) fn hold(&mut self, hold: &Hold, came: Vec<OwnedFd>) {
        let held = self.0.entry(hold.name.clone()).or_default();
        // A group that did not arrive whole is empty; the next spawn says so.
        held.extend(hold.added.iter().cloned().zip(came));
        held.retain(|socket, _| hold.sockets.contains(socket));
        if held.is_empty() {
            self.0.remove(&hold.name);
        }
    }

    /// Copies for a child, in its order; `None` if one is not held.
    pub(super) fn copies(&self, name: &str, wanted: &[String]) -> Option<io::Result<Vec<OwnedFd>>> {
        let held = self.0.get(name);
        let found: Option<Vec<&OwnedFd>> = wanted.iter().map(|it| held?.get(it)).collect();
        found.map(|found| found.into_iter().map(OwnedFd::try_clone).collect())
    }

    fn names(&self) -> impl Iterator<Item = &String> {
        self.0.keys()
    }

    fn of(&self, name: &str) -> Option<(Vec<String>, Vec<BorrowedFd<'_>>)> {
        Some(self.0.get(name)?.iter().map(|(socket, fd)| (socket.clone(), fd.as_fd())).unzip())
    }
}

impl Keeper {
    /// Tells what is held, and will hand on the descriptors when the link takes them.
    pub(super) fn tell_sockets(&mut self) {
        self.owed_sockets = self.sockets.names().cloned().collect();
        let held = self.owed_sockets.iter().filter_map(|name| {
            let (sockets, _) = self.sockets.of(name)?;
            Some(Report::Holds { name: name.clone(), sockets })
        });
        for report in held.collect::<Vec<_>>() {
            self.tell(&report);
        }
    }

    /// Hands the manager what is held, so that it outlives this keeper too.
    pub(super) fn hand_on_sockets(&mut self) {
        while let Some(link) = self.link.as_mut().filter(|link| link.is_idle())
            && let Some(name) = self.owed_sockets.pop_first()
        {
            match hand(link, &self.sockets, &name) {
                Ok(true) => {}
                Ok(false) => {
                    self.owed_sockets.insert(name);
                    return;
                }
                Err(error) => self.drop_link_on(Err(error)),
            }
        }
    }
}

/// False if it is to be tried again.
fn hand(link: &mut Link, held: &Sockets, name: &str) -> Result<bool, LinkError> {
    let Some((sockets, descriptors)) = held.of(name) else { return Ok(true) };
    link.hand(&Report::Sockets { name: name.to_owned(), sockets }, &descriptors)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hold(name: &str, sockets: &[&str], added: &[&str]) -> Hold {
        let texts = |all: &[&str]| all.iter().map(ToString::to_string).collect();
        Hold { name: name.to_owned(), sockets: texts(sockets), added: texts(added) }
    }

    fn file() -> OwnedFd {
        tempfile::tempfile().unwrap().into()
    }

    #[test]
    fn what_is_held_is_what_was_asked_for_last() {
        let inode = |fd: &OwnedFd| rustix::fs::fstat(fd).unwrap().st_ino;
        let (a, b) = (file(), file());
        let inodes = [inode(&a), inode(&b)];
        let mut sockets = Sockets::default();
        sockets.hold(&hold("X", &["a", "b"], &["a", "b"]), vec![a, b]);
        let copies = |all: &Sockets, wanted: &[&str]| {
            let wanted: Vec<String> = wanted.iter().map(ToString::to_string).collect();
            all.copies("X", &wanted).map(|it| it.unwrap().iter().map(inode).collect::<Vec<_>>())
        };
        assert_eq!(copies(&sockets, &["b", "a"]), Some(vec![inodes[1], inodes[0]]));
        assert_eq!(copies(&sockets, &[]), Some(vec![]));

        sockets.hold(&hold("X", &["b"], &[]), vec![]);
        assert_eq!(copies(&sockets, &["b"]), Some(vec![inodes[1]]));
        assert_eq!(copies(&sockets, &["a"]), None);

        sockets.hold(&hold("X", &["b", "c"], &["c"]), vec![]);
        assert_eq!(copies(&sockets, &["c"]), None, "it did not arrive");
        sockets.hold(&hold("X", &[], &[]), vec![]);
        assert_eq!(sockets.names().count(), 0);
        assert_eq!(copies(&sockets, &["b"]), None);
    }
}
