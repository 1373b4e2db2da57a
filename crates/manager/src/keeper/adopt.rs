//! Taking over the children of a keeper that is gone, and handing on what makes that possible.
//!
//! Such a child belongs to somebody else by now (init, as a rule): its pidfd tells its death
//! instead of SIGCHLD, and the kernel remembers its status for whoever has a pidfd (Linux 6.15).
//! What its tree looks like without it is told in `stray`.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};

use super::child::{Child, Leader};
use super::clock::Now;
use super::handed::Handed;
use super::link::{Link, LinkError};
use super::log::{Dropped, Stream};
use super::protocol::{Adopt, Carried, Refusal, Report, State, Status};
use super::requests::is_name;
use super::shared_log::SharedLog;
use super::turn::{Keeper, RECHECK_MS};
use super::unopened::Unopened;
use super::{pipes, sources, syscall};
use crate::identity::{Fate, Identity};
use crate::proc::{self, has_ended};

impl Keeper {
    pub(super) fn adopt(
        &mut self,
        adopt: &Adopt,
        handed: Vec<OwnedFd>,
        now: Now,
    ) -> Result<(), Refusal> {
        let identity = &adopt.identity;
        let handed = adopt.carried.and_then(|carried| Handed::new(handed, carried));
        if !is_name(&identity.name) {
            return Err(Refusal::Unknown);
        }
        let Some(settings) = &identity.log else { return Err(Refusal::Unreadable) };
        let is_it = |child: &Child| {
            child.identity.name == identity.name && child.identity.pid == identity.pid
        };
        if adopt.let_go && self.children.values().any(is_it) {
            return Ok(());
        }
        if !adopt.let_go
            && let Ok(key) = self.find(&identity.name)
        {
            if self.children[&key].state != State::Unverified {
                return Ok(());
            }
            // Now it may be possible to tell.
            self.drop_unverified(key);
        }
        let (kept, outputs) = match handed {
            Some(Handed { pidfd, outputs }) => (Some(pidfd), Some(outputs)),
            None => (None, None),
        };
        let leader = match identity.fate(kept) {
            Fate::Runs(pidfd) | Fate::Ended(Some(pidfd)) => Leader::Adopted(pidfd),
            Fate::Ended(None) => Leader::Reaped(None),
            Fate::Unclear(pidfd) => Leader::Unverified(pidfd),
            Fate::OtherBoot => {
                match adopt.let_go {
                    true => drop(fs::remove_file(self.let_go_path(identity))),
                    false => Identity::forget(&self.runtime, &identity.name),
                }
                return Err(Refusal::Gone);
            }
        };
        let outputs = match (outputs, &leader) {
            (Some(outputs), _) => outputs,
            (None, Leader::Adopted(_)) => pipes::of_leader(identity),
            (None, _) => [None, None],
        };
        self.archivist.find_logs(&settings.dir);
        let log = self.log_of(&identity.name);
        let log = log.map_or_else(|| SharedLog::resume(settings, Dropped::default(), now), Ok);
        let log = log.map_err(|why| Unopened::new(settings, &why, now));
        let mut child = Child::adopted(identity.clone(), leader, outputs, log, now);
        child.is_let_go = adopt.let_go;
        self.last_key += 1;
        // What cannot be watched now is looked at whenever anything else is.
        let _ = sources::watch_adopted(&self.epoll, self.last_key, &child);
        self.blocked += usize::from(child.is_blocked());
        self.children.insert(self.last_key, child);
        self.due.insert(self.last_key);
        self.living += 1;
        if !adopt.let_go {
            // For the keeper after this one, if it is not there; without it the manager still
            // knows.
            drop(identity.store(&self.runtime));
        }
        self.owed.insert(self.last_key);
        self.look_after(self.last_key, now);
        // A look reads all processes, and more adoptions follow: after the last one it is enough.
        self.recheck_at_ms = Some(now.steady_ms + RECHECK_MS);
        Ok(())
    }

    fn drop_unverified(&mut self, key: u64) -> Option<Child> {
        let child = self.children.remove(&key)?;
        self.blocked -= usize::from(child.is_blocked());
        self.living -= 1;
        Some(child)
    }

    /// Looks again whether a process is the one of before: it may be shown now, or there may be
    /// descriptors now.
    pub(super) fn verify(&mut self, key: u64, now: Now) {
        let Some(child) = self.drop_unverified(key) else { return };
        let Child { identity, is_let_go: let_go, .. } = child;
        let name = identity.name.clone();
        self.reserve.release();
        // One of another boot is nobody's any more.
        let _ = self.adopt(&Adopt { identity, let_go, carried: None }, vec![], now);
        self.reserve.keep(&self.epoll);
        if !let_go {
            self.tell_verified(&name);
        }
    }

    /// Tells of an adopted child that it is known, if it is.
    pub(super) fn tell_verified(&mut self, name: &str) {
        let Ok(key) = self.find(name) else { return };
        let child = &self.children[&key];
        if child.is_adopted() && child.state != State::Unverified {
            let report = Report::Verified(child.listed());
            self.tell(&report);
        }
    }

    /// Somebody of an adopted tree has ended: its leader, or who was left of it.
    pub(super) fn look_after(&mut self, key: u64, now: Now) {
        let Some(child) = self.children.get_mut(&key) else { return };
        let has_lost_its_leader = match child.leader() {
            Leader::Adopted(pidfd) | Leader::Unverified(Some(pidfd)) => has_ended(pidfd),
            Leader::Reaped(_) => child.state == State::Unverified,
            Leader::Unverified(None) | Leader::Unreaped(_) => false,
        };
        if has_lost_its_leader {
            self.adopted_leader_ended(key, now);
        }
        // Many may end at once: one look is enough for all of them.
        self.recheck_at_ms.get_or_insert(now.steady_ms + RECHECK_MS);
    }

    /// Tells how an adopted leader has ended, once that is known.
    fn adopted_leader_ended(&mut self, key: u64, now: Now) {
        let Some(child) = self.children.get_mut(&key) else { return };
        let status = match child.leader() {
            Leader::Adopted(pidfd) => match status(pidfd, &child.identity) {
                Ok(status) => status,
                Err(Unreaped) => match sources::watch_reaping(&self.epoll, pidfd, key) {
                    Ok(()) => return,
                    Err(_) => Status::Unknown,
                },
            },
            _ => Status::Unknown,
        };
        if let Leader::Adopted(pidfd) | Leader::Unverified(Some(pidfd)) = child.leader() {
            sources::unwatch(&self.epoll, pidfd);
        }
        child.lose_leader();
        let report = child.ended(status, now);
        if !child.is_let_go {
            self.tell(&report);
        }
    }

    /// Hands the manager what it needs if this keeper dies.
    pub(super) fn hand_on(&mut self) {
        while self.link.as_ref().is_some_and(Link::is_idle)
            && let Some(key) = self.owed.pop_first()
        {
            let (Some(child), Some(link)) = (self.children.get(&key), &mut self.link) else {
                continue;
            };
            match hand(link, child) {
                Ok(true) => {}
                Ok(false) => {
                    self.owed.insert(key);
                    return;
                }
                Err(error) => self.drop_link_on(Err(error)),
            }
        }
    }
}

/// False if it is to be tried again.
fn hand(link: &mut Link, child: &Child) -> Result<bool, LinkError> {
    let opened;
    let pidfd = match child.leader() {
        Leader::Adopted(pidfd) => pidfd.as_fd(),
        Leader::Unreaped(pid) => match proc::open(*pid) {
            Ok(pidfd) => {
                opened = pidfd;
                opened.as_fd()
            }
            Err(_) => return Ok(true),
        },
        Leader::Unverified(_) | Leader::Reaped(_) => return Ok(true),
    };
    let mut carried = Carried::default();
    let mut descriptors = vec![pidfd];
    for (stream, pipe) in child.outputs() {
        match stream {
            Stream::Out => carried.out = true,
            Stream::Err => carried.err = true,
        }
        descriptors.push(pipe.as_fd());
    }
    let Identity { name, pid, .. } = child.identity.clone();
    link.hand(&Report::Held { name, pid, carried }, &descriptors)
}

/// The process is dead, and how it died is not to be told from here before it is reaped.
struct Unreaped;

/// How a process ended that was not our child.
fn status(pidfd: &OwnedFd, identity: &Identity) -> Result<Status, Unreaped> {
    let reaped = || syscall::exit_status(pidfd).ok().flatten();
    let told = reaped().or_else(|| status_of_zombie(identity)).or_else(reaped);
    match told {
        Some(status) if libc::WIFSIGNALED(status) => Ok(Status::Signal(libc::WTERMSIG(status))),
        Some(status) => Ok(Status::Code(libc::WEXITSTATUS(status))),
        // The kernel will know.
        None if syscall::exit_status(pidfd).is_ok() => Err(Unreaped),
        None => Ok(Status::Unknown),
    }
}

/// What a zombie shows, if it shows it to us: otherwise its status seems to be zero.
fn status_of_zombie(identity: &Identity) -> Option<i32> {
    let stat = proc::stat(identity.pid).ok()??;
    let is_it = stat.started == identity.start_ticks && stat.is_zombie();
    // Both are shown to those who may trace it.
    let is_shown = || fs::read(format!("/proc/{}/io", identity.pid)).is_ok();
    stat.status.filter(|&status| is_it && (status != 0 || is_shown()))
}
