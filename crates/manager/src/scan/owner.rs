//! Which process holds which socket, by the links in `/proc/PID/fd`.

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    fs, io,
    path::Path,
};

use super::table::{Inode, Listener, listeners, listeners_on};
use crate::proc::{Pid, Stat, own_processes, stat, visible};

/// A socket that listens, and one process that holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listening {
    /// The socket.
    pub socket: Listener,
    /// The first process of the tree that holds it.
    pub pid: Pid,
}

/// To whom a port belongs, asked for one tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Belonging {
    /// Who dials the port on this host reaches this tree.
    Tree(Listening),
    /// They reach, or can reach, another process.
    Stranger(Listener),
    /// Nobody listens there.
    Nobody,
}

/// Lists what the processes of a tree listen on, whatever the address.
///
/// Meant to be asked often: costs the tree's own descriptors, and the table only once there is a
/// socket among them.
pub fn listening_of(tree: &[Pid]) -> io::Result<Vec<Listening>> {
    let held = held_by(tree)?;
    if held.is_empty() {
        return Ok(Vec::new());
    }
    let listening = |socket: Listener| Some(Listening { socket, pid: *held.get(&socket.inode)? });
    Ok(listeners()?.into_iter().filter_map(listening).collect())
}

/// Tells whether a port that was announced leads into a tree.
///
/// Of several sockets on one port the kernel prefers the one bound to `127.0.0.1`, then the one
/// bound to any address; equals (`SO_REUSEPORT`) share the guests, so all of them must be of the
/// tree. A socket the manager holds for a child counts if its pid is in `tree`.
pub fn belongs_to(port: u16, tree: &[Pid]) -> io::Result<Belonging> {
    let sockets = reached(port)?;
    let held = held_by(tree)?;
    if let Some(&stranger) = sockets.iter().find(|it| !held.contains_key(&it.inode)) {
        return Ok(Belonging::Stranger(stranger));
    }
    let ours = |&socket: &Listener| Some(Listening { socket, pid: *held.get(&socket.inode)? });
    Ok(sockets.first().and_then(ours).map_or(Belonging::Nobody, Belonging::Tree))
}

/// Finds a process of our own user that is reached at a port. Walks over all of them: for error
/// messages.
pub fn owner_of_port(port: u16) -> io::Result<Option<Pid>> {
    let owners = owners(&reached(port)?.iter().map(|it| it.inode).collect())?;
    Ok(owners.into_values().flatten().map(|it| it.pid).min())
}

/// Finds all holders of many sockets by one walk over the processes of our own user.
///
/// A socket nobody is found for is not in the answer.
pub fn owners(sockets: &HashSet<Inode>) -> io::Result<HashMap<Inode, Vec<Stat>>> {
    let mut owners = HashMap::<Inode, Vec<Stat>>::new();
    if sockets.is_empty() {
        return Ok(owners);
    }
    for pid in own_processes()? {
        let mut held: HashSet<Inode> = sockets_of(pid)?.into_iter().collect();
        held.retain(|it| sockets.contains(it));
        if !held.is_empty()
            && let Some(owner) = stat(pid)?
        {
            held.into_iter().for_each(|it| owners.entry(it).or_default().push(owner));
        }
    }
    Ok(owners)
}

/// The sockets that a guest on this host reaches at a port: the best and its equals.
fn reached(port: u16) -> io::Result<Vec<Listener>> {
    let mut sockets = listeners_on(port)?;
    let best = sockets.first().map(Listener::rank);
    sockets.retain(|it| Some(it.rank()) == best);
    Ok(sockets)
}

/// All sockets of a tree, each with the first process that holds it.
fn held_by(tree: &[Pid]) -> io::Result<HashMap<Inode, Pid>> {
    let mut held = HashMap::new();
    for &pid in tree {
        for socket in sockets_of(pid)? {
            if let Entry::Vacant(free) = held.entry(socket) {
                free.insert(pid);
            }
        }
    }
    Ok(held)
}

fn sockets_of(pid: Pid) -> io::Result<Vec<Inode>> {
    let Some(entries) = visible(fs::read_dir(format!("/proc/{pid}/fd")))? else {
        return Ok(Vec::new());
    };
    let mut sockets = Vec::new();
    for entry in entries {
        let Some(entry) = visible(entry)? else { continue };
        if let Some(link) = visible(fs::read_link(entry.path()))? {
            sockets.extend(inode(&link));
        }
    }
    Ok(sockets)
}

/// Reads `socket:[4711]`.
fn inode(link: &Path) -> Option<Inode> {
    link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::{
        net::TcpListener,
        os::fd::OwnedFd,
        process::{self, Child, Command, Stdio},
    };

    use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};

    use super::{super::eventually, *};

    #[test]
    fn a_link_is_a_socket_only_in_full() {
        let inode = |link: &str| super::inode(Path::new(link));
        assert_eq!(inode("socket:[4711]"), Some(4711));
        for link in ["socket:[4711", "socket:[]", "socket:[-1]", "pipe:[1]", "/tmp/socket:[1]"] {
            assert_eq!(inode(link), None, "{link}");
        }
    }

    #[test]
    fn a_port_belongs_to_the_tree_that_holds_its_socket() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let heir = Heir::of(listener.try_clone().unwrap().into());
        let us = process::id();

        for pid in [us, heir.0.id()] {
            let of_tree = listening_of(&[pid]).unwrap();
            let listening = *of_tree.iter().find(|it| it.socket.address == address).unwrap();
            assert_eq!(listening.pid, pid);
            assert_eq!(belongs_to(address.port(), &[pid]).unwrap(), Belonging::Tree(listening));

            let owners = owners(&[listening.socket.inode].into()).unwrap();
            let holders: HashSet<Pid> =
                owners[&listening.socket.inode].iter().map(|it| it.pid).collect();
            assert!(holders.is_superset(&[us, heir.0.id()].into()));
        }

        drop(listener);
        eventually(|| owner_of_port(address.port()).unwrap() == Some(heir.0.id()));
        let ours = belongs_to(address.port(), &[us]).unwrap();
        assert!(matches!(ours, Belonging::Stranger(it) if it.address == address));

        drop(heir);
        eventually(|| belongs_to(address.port(), &[us]).unwrap() == Belonging::Nobody);
        assert_eq!(owner_of_port(address.port()).unwrap(), None);
    }

    #[test]
    fn a_stranger_who_shares_the_port_is_seen() {
        let (ours, address) = shared("127.0.0.1:0");
        let (theirs, _) = shared(&address);
        let heir = Heir::of(theirs);
        let port = address.rsplit_once(':').unwrap().1.parse().unwrap();

        let belonging = belongs_to(port, &[process::id()]).unwrap();
        assert!(matches!(belonging, Belonging::Stranger(_)), "{belonging:?}");
        let belonging = belongs_to(port, &[process::id(), heir.0.id()]).unwrap();
        assert!(matches!(belonging, Belonging::Tree(_)), "{belonging:?}");
        drop(ours);
    }

    #[test]
    fn a_socket_on_loopback_is_reached_before_one_on_any_address() {
        let (ours, address) = shared("127.0.0.1:0");
        let port: u16 = address.rsplit_once(':').unwrap().1.parse().unwrap();
        let heir = Heir::of(shared(&format!("0.0.0.0:{port}")).0);

        let belonging = belongs_to(port, &[process::id()]).unwrap();
        assert!(matches!(belonging, Belonging::Tree(_)), "{belonging:?}");
        drop(ours);
        eventually(|| {
            let belonging = belongs_to(port, &[heir.0.id()]).unwrap();
            matches!(belonging, Belonging::Tree(it) if it.pid == heir.0.id())
        });
    }

    #[test]
    fn a_tree_that_is_gone_listens_on_nothing() {
        assert_eq!(listening_of(&[Pid::MAX]).unwrap(), []);
        assert_eq!(listening_of(&[]).unwrap(), []);
    }

    fn shared(address: &str) -> (OwnedFd, String) {
        let cloexec = SocketFlags::CLOEXEC;
        let listener = socket_with(AddressFamily::INET, SocketType::STREAM, cloexec, None).unwrap();
        sockopt::set_socket_reuseport(&listener, true).unwrap();
        bind(&listener, &address.parse::<std::net::SocketAddr>().unwrap()).unwrap();
        listen(&listener, 8).unwrap();
        let bound = TcpListener::from(listener);
        let address = bound.local_addr().unwrap().to_string();
        (bound.into(), address)
    }

    /// A process that holds a socket as its standard input, and ends with the test.
    struct Heir(Child);

    impl Heir {
        fn of(socket: OwnedFd) -> Self {
            let mut command = Command::new("sleep");
            Self(command.arg("60").stdin(Stdio::from(socket)).spawn().unwrap())
        }
    }

    impl Drop for Heir {
        fn drop(&mut self) {
            self.0.kill().unwrap();
            self.0.wait().unwrap();
        }
    }
}
