//! What is known about sockets that are not ours, so that each is asked at most once.
//!
//! Pure: fed with tables, owners and answers, it knows no socket and no clock. A scan is `fresh`,
//! `ask`, then `answered` for each target; one at a time.

use std::collections::{HashMap, HashSet};

use super::{
    credential::Credential,
    probe::Probe,
    table::{Inode, Listener},
};
use crate::proc::{Pid, Stat};

/// A daemon of our own user that we did not start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreign {
    /// What it answered. Its port is a claim; `socket` is where it was asked.
    pub credential: Credential,
    /// Where it listens.
    pub socket: Listener,
    /// The process it is, among those that hold the socket.
    pub process: Stat,
}

/// Every socket of our user that was looked at and still listens.
#[derive(Debug, Default, Clone)]
pub struct Cache {
    uid: u32,
    ignored: HashSet<u16>,
    known: HashMap<Inode, Known>,
}

#[derive(Debug, Clone)]
enum Known {
    /// Ours, nobody's, or no daemon: never to be asked again.
    Settled,
    Asked {
        socket: Listener,
        owners: Vec<Stat>,
    },
    Daemon(Foreign),
}

impl Cache {
    /// Begins with nothing known. Only sockets of `uid` are looked at, and none of the ports in
    /// `ignored` (`scan_ignore`).
    pub fn new(uid: u32, ignored: HashSet<u16>) -> Self {
        Self { uid, ignored, known: HashMap::new() }
    }

    /// Takes in a table: forgets what is not in it, and returns what is new and of interest.
    ///
    /// Empty almost always; then the scan is over without a walk over the processes.
    pub fn fresh(&mut self, table: &[Listener]) -> Vec<Listener> {
        let listening: HashSet<Inode> = table.iter().map(|it| it.inode).collect();
        self.known.retain(|inode, _| listening.contains(inode));
        table.iter().filter(|it| self.is_fresh(it)).copied().collect()
    }

    fn is_fresh(&self, socket: &Listener) -> bool {
        socket.uid == self.uid
            && !socket.dial().is_empty()
            && !self.ignored.contains(&socket.address.port())
            && !self.known.contains_key(&socket.inode)
    }

    /// Chooses among new sockets those that may be asked: somebody's, and held by none of `ours`.
    ///
    /// `ours` is the manager, the keeper and all trees, collected *after* `owners`, so that a child
    /// spawned meanwhile is not taken for a stranger.
    pub fn ask(
        &mut self,
        fresh: Vec<Listener>,
        owners: &HashMap<Inode, Vec<Stat>>,
        ours: &HashSet<Pid>,
    ) -> Vec<Listener> {
        let mut targets = Vec::new();
        for socket in fresh {
            let owners = owners.get(&socket.inode).map_or(&[][..], Vec::as_slice);
            let is_foreign = !owners.is_empty() && !owners.iter().any(|it| ours.contains(&it.pid));
            let known = if is_foreign {
                targets.push(socket);
                Known::Asked { socket, owners: owners.to_vec() }
            } else {
                Known::Settled
            };
            self.known.insert(socket.inode, known);
        }
        targets
    }

    /// Takes in an answer; returns the daemon if it is one, for its end to be watched.
    ///
    /// A credential counts only with the pid of a process that holds the socket. Where we failed to
    /// ask at all, the next scan tries again.
    pub fn answered(&mut self, asked: Inode, answer: Probe) -> Option<&Foreign> {
        // Otherwise it stopped listening meanwhile.
        let Some(Known::Asked { socket, owners }) = self.known.get(&asked) else { return None };
        let known = match answer {
            Probe::Credential(credential) => owners
                .iter()
                .find(|it| it.pid == credential.pid)
                .map(|&process| Foreign { credential, socket: *socket, process })
                .map_or(Known::Settled, Known::Daemon),
            Probe::Failed(_) => {
                self.known.remove(&asked);
                return None;
            }
            _ => Known::Settled,
        };
        self.known.insert(asked, known);
        match self.known.get(&asked) {
            Some(Known::Daemon(foreign)) => Some(foreign),
            _ => None,
        }
    }

    /// Forgets a daemon whose process has ended. Should another process still hold its socket, the
    /// next scan asks that one.
    pub fn gone(&mut self, pid: Pid) {
        self.known.retain(|_, it| !matches!(it, Known::Daemon(it) if it.process.pid == pid));
    }

    /// Lists the daemons by name, the older first. One that listens on IPv4 and IPv6 alike counts
    /// once.
    pub fn list(&self) -> Vec<&Foreign> {
        let mut list: Vec<&Foreign> = self.daemons().collect();
        let place = |it: &Foreign| (it.process.pid, it.socket.address.port());
        list.sort_by_key(|it| (folded(it), age(it), place(it), it.socket.rank()));
        list.dedup_by_key(|it| (folded(it), place(it)));
        list
    }

    /// Finds the daemon of a name, case ignored; of two the older.
    pub fn find(&self, name: &str) -> Option<&Foreign> {
        self.daemons()
            .filter(|it| it.credential.name.eq_ignore_ascii_case(name))
            .min_by_key(|it| (age(it), it.socket.rank()))
    }

    fn daemons(&self) -> impl Iterator<Item = &Foreign> {
        self.known.values().filter_map(|it| match it {
            Known::Daemon(foreign) => Some(foreign),
            _ => None,
        })
    }
}

fn folded(foreign: &Foreign) -> String {
    foreign.credential.name.to_ascii_lowercase()
}

/// Lower is older; within one clock tick the lower pid, mostly.
fn age(foreign: &Foreign) -> (u64, Pid) {
    (foreign.process.started, foreign.process.pid)
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    const US: u32 = 1000;

    fn socket(inode: Inode, address: &str) -> Listener {
        Listener { address: address.parse().unwrap(), uid: US, inode }
    }

    /// A socket on loopback whose port is its inode.
    fn on(inode: Inode) -> Listener {
        socket(inode, &format!("127.0.0.1:{inode}"))
    }

    /// Started in the order of their pids, backwards.
    fn process(pid: Pid) -> Stat {
        Stat {
            pid,
            state: b'S',
            parent: 1,
            group: pid,
            session: pid,
            started: 10_000 - u64::from(pid),
            status: Some(0),
        }
    }

    fn credential(name: &str, pid: Pid) -> Probe {
        Probe::Credential(Credential { name: name.into(), pid, port: 1, secret: None })
    }

    /// One scan of `table`, in which process `inode + 100` holds each socket; returns the targets.
    fn scan(cache: &mut Cache, table: &[Listener], answer: impl Fn(Inode) -> Probe) -> Vec<Inode> {
        let fresh = cache.fresh(table);
        let owner = |it: &Listener| (it.inode, vec![process(it.inode as Pid + 100)]);
        let owners = fresh.iter().map(owner).collect();
        let asked = cache.ask(fresh, &owners, &HashSet::new());
        for target in &asked {
            cache.answered(target.inode, answer(target.inode));
        }
        asked.iter().map(|it| it.inode).collect()
    }

    fn names(cache: &Cache) -> Vec<(&str, Pid)> {
        cache.list().iter().map(|it| (it.credential.name.as_str(), it.process.pid)).collect()
    }

    fn cache() -> Cache {
        Cache::new(US, HashSet::from([7]))
    }

    #[test]
    fn each_socket_is_asked_once_whatever_it_answers() {
        let mut cache = cache();
        let answer = |inode| match inode {
            1 => credential("Sample", 101),
            2 => Probe::Silent,
            3 => Probe::Garbage("HTTP".into()),
            _ => credential("Liar", 1),
        };
        let table = [on(1), on(2), on(3), on(4)];
        assert_eq!(scan(&mut cache, &table, answer), [1, 2, 3, 4]);
        assert!(scan(&mut cache, &table, answer).is_empty());
        assert_eq!(names(&cache), [("Sample", 101)]);
    }

    #[test]
    fn a_socket_that_vanished_is_forgotten_and_its_number_asked_anew() {
        let mut cache = cache();
        let answer = |inode| credential("Sample", inode as Pid + 100);
        scan(&mut cache, &[on(1), on(2)], answer);
        assert!(scan(&mut cache, &[on(2)], answer).is_empty());
        assert_eq!(names(&cache), [("Sample", 102)]);
        assert_eq!(scan(&mut cache, &[on(1), on(2)], answer), [1]);
    }

    #[test]
    fn only_our_users_sockets_that_a_port_leads_to_are_looked_at() {
        let table = [
            Listener { uid: US + 1, ..on(1) },
            socket(2, "10.0.0.1:2"),
            socket(3, "127.0.0.1:7"),
            socket(4, "0.0.0.0:4"),
        ];
        assert_eq!(cache().fresh(&table), [table[3]]);
    }

    #[test]
    fn neither_ours_nor_nobodys_is_asked() {
        let mut cache = cache();
        let table = [on(1), on(2), on(3)];
        let fresh = cache.fresh(&table);
        let owners = HashMap::from([(1, vec![process(101), process(5)]), (3, vec![process(103)])]);
        assert_eq!(cache.ask(fresh, &owners, &HashSet::from([5])), [on(3)]);
        assert_eq!(cache.fresh(&table), []);
    }

    #[test]
    fn where_asking_failed_the_next_scan_asks() {
        let mut cache = cache();
        let failed = |_| Probe::Failed(io::ErrorKind::Other.into());
        assert_eq!(scan(&mut cache, &[on(1)], failed), [1]);
        assert_eq!(scan(&mut cache, &[on(1)], |_| Probe::Silent), [1]);
        assert!(scan(&mut cache, &[on(1)], |_| Probe::Silent).is_empty());
    }

    #[test]
    fn of_two_with_one_name_the_older_is_found_and_both_are_listed() {
        let mut cache = cache();
        let answer = |inode| match inode {
            1 => credential("sample", 101),
            2 => credential("Sample", 102),
            _ => credential("Other", inode as Pid + 100),
        };
        scan(&mut cache, &[on(1), on(2), on(3)], answer);
        assert_eq!(cache.find("SAMPLE").unwrap().process.pid, 102);
        assert_eq!(names(&cache), [("Other", 103), ("Sample", 102), ("sample", 101)]);

        cache.gone(102);
        assert_eq!(cache.find("Sample").unwrap().process.pid, 101);
        assert_eq!(cache.find("Simple"), None);
    }

    #[test]
    fn a_daemon_on_both_families_is_listed_once() {
        let mut cache = cache();
        let table = [socket(1, "[::1]:80"), socket(2, "127.0.0.1:80")];
        let fresh = cache.fresh(&table);
        let owners = HashMap::from([(1, vec![process(9)]), (2, vec![process(9)])]);
        for target in cache.ask(fresh, &owners, &HashSet::new()) {
            assert!(cache.answered(target.inode, credential("Sample", 9)).is_some());
        }
        assert_eq!(cache.list().iter().map(|it| it.socket.inode).collect::<Vec<_>>(), [2]);
        assert_eq!(cache.find("Sample").unwrap().socket.inode, 2);
    }

    #[test]
    fn an_answer_that_comes_too_late_is_dropped() {
        let mut cache = cache();
        let fresh = cache.fresh(&[on(1)]);
        cache.ask(fresh, &HashMap::from([(1, vec![process(101)])]), &HashSet::new());
        cache.fresh(&[]);
        assert_eq!(cache.answered(1, credential("Sample", 101)), None);
        assert_eq!(names(&cache), []);
    }
}
