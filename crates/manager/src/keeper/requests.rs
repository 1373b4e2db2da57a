//! What the manager may ask for.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::{fs, io};

use rustix::io::Errno;

use super::child::Child;
use super::clock::Now;
use super::link::Link;
use super::log::Dropped;
use super::protocol::{Refusal, Report, Request, Scope, Spawn, State, Step};
use super::shared_log::SharedLog;
use super::spawn::{self, Place, SpawnError};
use super::turn::Keeper;
use super::{sources, tree};
use crate::cgroup::Cgroup;
use crate::identity::Identity;

/// A tree that outlives so many sweeps is held by the kernel; the next `kill` tries again.
const SWEEPS: u8 = 20;

impl Keeper {
    /// One request a turn, so that many of them do not keep the children's output waiting.
    pub(super) fn obey_one(&mut self, now: Now) {
        match self.link.as_mut().and_then(Link::next) {
            None => {}
            Some(Ok((request, handed))) => self.obey(&request, handed, now),
            Some(Err(_)) => self.refuse("", None, Refusal::Unreadable),
        }
    }

    pub(super) fn obey(&mut self, request: &Request, handed: Vec<OwnedFd>, now: Now) {
        // A child is not to have them; all else is about those who run.
        if !matches!(request, Request::Spawn(_)) {
            self.reserve.release();
        }
        self.carry_out(request, handed, now);
        self.reserve.keep(&self.epoll);
    }

    fn carry_out(&mut self, request: &Request, handed: Vec<OwnedFd>, now: Now) {
        let (request, name, outcome) = match request {
            Request::Adopt(adopt) => {
                ("adopt", Some(&adopt.identity.name), self.adopt(adopt, handed, now))
            }
            Request::Spawn(order) => return self.spawn(order, now),
            Request::List {} => return self.list(now),
            Request::Signal { name, signal, scope } => {
                ("signal", Some(name), self.signal(name, *signal, *scope))
            }
            Request::Intend { name, stop } => return self.intend(name, *stop),
            Request::Hold(hold) => return self.sockets.hold(hold, handed),
            Request::Kill { name } => ("kill", Some(name), self.kill(name)),
            Request::Forget { name } => ("forget", Some(name), self.forget(name)),
            Request::Rotate { name } => ("rotate", Some(name), self.rotate(name, now)),
            Request::End {} => ("end", None, self.end()),
        };
        if let Err(reason) = outcome {
            self.refuse(request, name, reason);
        }
    }

    fn refuse(&mut self, request: &str, name: Option<&String>, reason: Refusal) {
        self.tell(&Report::Refused { request: request.to_owned(), name: name.cloned(), reason });
    }

    fn spawn(&mut self, order: &Spawn, now: Now) {
        if let Err(SpawnError { step, source }) = self.try_spawn(order, now) {
            (self.is_untidy, self.is_check_wanted) = (true, true);
            let errno = source.raw_os_error().unwrap_or(libc::EINVAL);
            let name = order.name.clone();
            self.tell(&Report::SpawnFailed { id: order.id, name, step, errno });
            // Perhaps it was verified while this was asked for.
            self.tell_verified(&order.name);
        }
    }

    fn try_spawn(&mut self, order: &Spawn, now: Now) -> Result<(), SpawnError> {
        if !is_name(&order.name) {
            return Err(SpawnError::at(Step::Name)(Errno::INVAL));
        }
        let before = self.find(&order.name).ok();
        if before.is_some_and(|key| self.children[&key].state == State::Unverified) {
            return Err(SpawnError::at(Step::Verify)(Errno::BUSY));
        }
        if before.is_some_and(|key| !self.children[&key].is_empty()) {
            return Err(SpawnError::at(Step::Name)(Errno::BUSY));
        }
        let sockets = self.sockets.copies(&order.name, &order.sockets);
        let sockets = sockets.unwrap_or_else(|| Err(Errno::BADF.into()));
        let sockets = sockets.map_err(SpawnError::at(Step::Socket))?;
        let log = self.open_log(order, before, now).map_err(SpawnError::at(Step::Log))?;
        self.archivist.find_logs(&order.log.dir);
        let Self { runtime, nofile, cgroups, forker, .. } = &*self;
        let place = Place { runtime, nofile: *nofile, cgroups: cgroups.as_ref(), forker };
        let mut started = spawn::start(order, sockets, place, now)?;
        self.last_key += 1;
        // What cannot be watched must not run.
        sources::watch_started(&self.epoll, self.last_key, &started)
            .map_err(SpawnError::at(Step::Spawn))?;
        started.go();
        let child = Child::new(order.id, started, log);
        before.map(|key| self.children.remove(&key));
        self.children.insert(self.last_key, child);
        self.living += 1;
        Ok(())
    }

    /// The log that what was let go still writes, as it was opened, else a new one, which is told
    /// what the last one could not be told.
    fn open_log(&mut self, order: &Spawn, last: Option<u64>, now: Now) -> io::Result<SharedLog> {
        if let Some(log) = self.log_of(&order.name) {
            log.restore(&order.log, now)?;
            return Ok(log);
        }
        let last = last.and_then(|key| self.children.get_mut(&key));
        let owed = last.as_ref().map_or_else(Dropped::default, |it| it.owed().clone());
        let log = SharedLog::open(&order.log, owed, now)?;
        if let Some(last) = last {
            last.set_owed(log.owed());
        }
        Ok(log)
    }

    /// The log that somebody of this name still writes.
    pub(super) fn log_of(&self, name: &str) -> Option<SharedLog> {
        let all = self.children.values().filter(|child| child.identity.name == name);
        all.filter_map(Child::log).next().cloned()
    }

    fn list(&mut self, now: Now) {
        // Who was adopted dead is listed as what it is, so that the manager does not ask to have a
        // thousand trees ended that are empty.
        if self.recheck_at_ms.is_some() {
            self.sweep_and_check(now);
            self.tend(now);
        }
        let living = self.children.iter().filter(|(_, child)| child.is_led());
        self.owed = living.map(|(key, _)| *key).collect();
        self.tell_sockets();
        self.tell(&Report::Children(self.children.values().map(Child::listed).collect()));
    }

    fn signal(&mut self, name: &str, signal: i32, scope: Scope) -> Result<(), Refusal> {
        let child = &self.children[&self.find(name)?];
        if child.state == State::Unverified {
            return Err(Refusal::Gone);
        }
        let sent = match scope {
            _ if !(1..=libc::SIGRTMAX()).contains(&signal) => Err(Errno::INVAL),
            Scope::Leader => tree::signal_leader(child, signal),
            Scope::Group => tree::signal_group(child, signal),
        };
        sent.map_err(|_| Refusal::Gone)
    }

    fn intend(&mut self, name: &str, stop: bool) {
        if let Ok(key) = self.find(name)
            && let Some(child) = self.children.get_mut(&key)
        {
            child.is_stopping = stop;
        }
    }

    fn kill(&mut self, name: &str) -> Result<(), Refusal> {
        let keys = match self.find(name) {
            Ok(key) => vec![key],
            Err(_) => {
                self.remove_identity(name);
                self.all_let_go(|child| child.identity.name == name)
            }
        };
        if keys.is_empty() {
            return Err(Refusal::Unknown);
        }
        self.kill_trees(&keys);
        Ok(())
    }

    fn kill_trees(&mut self, keys: &[u64]) {
        for key in keys {
            let is_there =
                |child: &&mut Child| child.has_tree() && child.state != State::Unverified;
            let Some(child) = self.children.get_mut(key).filter(is_there) else { continue };
            child.sweeps_left = SWEEPS;
            // At once; whoever has moved out is left to the sweep, and all if this fails.
            if child.identity.cgroup.as_ref().is_some_and(Cgroup::is_gone_when_killed) {
                child.identity.cgroup = None;
            }
            // Also one that has moved out itself, so that its end tells when to look again.
            let _ = tree::signal_leader(child, libc::SIGKILL);
            self.is_check_wanted = true;
        }
    }

    /// Those that have let go of their names.
    fn all_let_go(&self, is_wanted: impl Fn(&Child) -> bool) -> Vec<u64> {
        let all = self.children.iter().filter(|(_, child)| child.is_let_go && is_wanted(child));
        all.map(|(key, _)| *key).collect()
    }

    fn forget(&mut self, name: &str) -> Result<(), Refusal> {
        let key = self.find(name)?;
        match self.children.get_mut(&key) {
            Some(child) if child.is_led() => return Err(Refusal::Alive),
            Some(child) if !child.is_empty() => {
                child.is_let_go = true;
                self.rename_identity(key);
            }
            _ => {
                self.children.remove(&key);
                Identity::forget(&self.runtime, name);
            }
        }
        Ok(())
    }

    fn rotate(&mut self, name: &str, now: Now) -> Result<(), Refusal> {
        let key = self.find(name)?;
        let log = self.children[&key].log().ok_or(Refusal::Gone)?;
        log.rotate(now);
        self.archivist.note(log.take_raw());
        Ok(())
    }

    fn end(&mut self) -> Result<(), Refusal> {
        let left = self.all_let_go(|child| !child.is_empty());
        if self.living > left.len() {
            return Err(Refusal::Alive);
        }
        self.kill_trees(&left);
        self.is_ending = true;
        Ok(())
    }

    pub(super) fn find(&self, name: &str) -> Result<u64, Refusal> {
        let is_it = |child: &Child| !child.is_let_go && child.identity.name == name;
        let found = self.children.iter().find(|(_, child)| is_it(child));
        found.map(|(key, _)| *key).ok_or(Refusal::Unknown)
    }

    /// The name's own file is the next child's.
    fn rename_identity(&self, key: u64) {
        let identity = &self.children[&key].identity;
        let path = Identity::path(&self.runtime, &identity.name);
        drop(fs::rename(path, self.let_go_path(identity)));
    }

    pub(super) fn let_go_path(&self, Identity { name, pid, .. }: &Identity) -> PathBuf {
        Identity::path(&self.runtime, &format!("{name}@{pid}"))
    }

    /// Drops what was let go, since nobody will ask for it.
    pub(super) fn drop_let_go(&mut self, key: u64) {
        if let Some(child) = self.children.remove(&key) {
            drop(fs::remove_file(self.let_go_path(&child.identity)));
        }
    }

    /// Takes the file of a name away that nobody has.
    fn remove_identity(&self, name: &str) {
        if is_name(name) {
            drop(fs::remove_file(Identity::path(&self.runtime, name)));
        }
    }
}

/// Whether a name may be that of a file of ours.
pub(super) fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains('/') && !name.starts_with('.')
}
