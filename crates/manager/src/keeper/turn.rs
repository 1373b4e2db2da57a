//! The keeper's one loop: waits, reads, reaps, and does what is due.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::process::WaitOptions;

use super::archivist::Archivist;
use super::cgroups::Cgroups;
use super::child::Child;
use super::clock::Now;
use super::forker::Forker;
use super::link::{Link, LinkError};
use super::log::Stream;
use super::protocol::{Report, State};
use super::reserve::Reserve;
use super::sockets::Sockets;
use super::sources::{self, Source};
use super::tree::{Children, Orphans};
use super::{KeeperError, runtime, syscall};
use crate::identity::Identity;
use crate::proc::{self, Pid};

/// How much is read of one pipe in a turn: a loud child keeps the output of others waiting for no
/// longer than writing this takes.
const READ_BYTES: usize = 1 << 20;

/// How much is read at once while a full disk keeps somebody's output in memory: what a thousand
/// children then leave there is bounded by it.
const CAREFUL_BYTES: usize = 64 << 10;

/// How long a keeper without children waits for a manager.
const IDLE_MS: u64 = 60_000;

/// How soon trees are looked at again when it could not be told whose an orphan is: no event says
/// that an `exec` is over.
pub(super) const RECHECK_MS: u64 = 5;

/// How many events one turn takes.
const EVENTS: usize = 256;

/// All that a keeper knows. The loop is here; what the manager may ask is in `requests`.
pub(super) struct Keeper {
    pub(super) runtime: PathBuf,
    pub(super) nofile: u64,
    pub(super) epoll: OwnedFd,
    events: Vec<epoll::Event>,
    listener: UnixListener,
    signals: SignalFd,
    pub(super) link: Option<Link>,
    /// Who came to the door last and has not asked for anything yet.
    newcomer: Option<Link>,
    pub(super) children: Children,
    pub(super) orphans: Orphans,
    pub(super) archivist: Archivist,
    pub(super) cgroups: Option<Cgroups>,
    /// Whether a spawn has failed that may have left a cgroup behind.
    pub(super) is_untidy: bool,
    pub(super) forker: Forker,
    pub(super) last_key: u64,
    /// Whose descriptors the manager is to hold and has not been sent.
    pub(super) owed: BTreeSet<u64>,
    pub(super) sockets: Sockets,
    /// For whom it is to hold sockets that it has not been sent.
    pub(super) owed_sockets: BTreeSet<String>,
    /// Who waits for a moment: for room on the disk, or for the end of its pipes.
    pub(super) due: BTreeSet<u64>,
    /// How many children's output waits for room on the disk.
    pub(super) blocked: usize,
    /// How many children are not empty.
    pub(super) living: usize,
    alone_since_ms: Option<u64>,
    /// When trees are looked at though nobody died: see [`Doubt`].
    pub(super) recheck_at_ms: Option<u64>,
    /// Whether a tree may have become empty, or is to be swept: done once for all that happened.
    pub(super) is_check_wanted: bool,
    /// Whether the manager wants it to end; then nothing lives but what it is killing.
    pub(super) is_ending: bool,
    pub(super) reserve: Reserve,
    buffer: Vec<u8>,
}

impl Keeper {
    /// A keeper whose door is open.
    pub(super) fn listen(
        runtime: &Path,
        nofile: u64,
        cgroups: Option<Cgroups>,
    ) -> Result<Self, KeeperError> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        let signals =
            SignalFd::with_flags(&Signal::SIGCHLD.into(), flags).map_err(io::Error::from)?;
        let listener = runtime::bind(runtime)?;
        sources::watch(&epoll, &listener, Source::Listener)?;
        sources::watch(&epoll, &signals, Source::Signals)?;
        if let Some(cgroups) = &cgroups {
            sources::watch(&epoll, cgroups.changes(), Source::Cgroups)?;
        }
        Ok(Self {
            runtime: runtime.to_owned(),
            nofile,
            epoll,
            events: Vec::with_capacity(EVENTS),
            listener,
            signals,
            link: None,
            newcomer: None,
            children: Children::new(),
            orphans: Orphans::default(),
            archivist: Archivist::default(),
            is_untidy: false,
            last_key: 0,
            owed: BTreeSet::new(),
            sockets: Sockets::default(),
            owed_sockets: BTreeSet::new(),
            due: BTreeSet::new(),
            blocked: 0,
            living: 0,
            cgroups,
            forker: Forker::start()?,
            recheck_at_ms: None,
            is_check_wanted: false,
            alone_since_ms: Some(Now::read().steady_ms),
            is_ending: false,
            reserve: Reserve::default(),
            buffer: vec![0; READ_BYTES],
        })
    }

    /// Waits for something and does what it asks for; false when the keeper is to end.
    pub(super) fn turn(&mut self) -> Result<bool, KeeperError> {
        self.reserve.keep(&self.epoll);
        let timeout = self.timeout(Now::read());
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), timeout.as_ref()) {
            Err(Errno::INTR) => {}
            waited => drop(waited?),
        }
        let now = Now::read();
        let events = std::mem::take(&mut self.events);
        for event in &events {
            self.on(Source::from_number(event.data.u64()), now);
        }
        self.events = events;
        self.events.clear();
        self.obey_one(now);
        if self.is_check_due(now) {
            self.sweep_and_check(now);
        }
        self.tend(now);
        if self.has_ended() {
            self.tell(&Report::Ending {});
        }
        self.flush();
        if let Some(pid) = self.archivist.start_if_due() {
            self.orphans.leave_alone(pid);
        }
        Ok(!self.has_ended() && !self.is_alone_too_long(now))
    }

    /// Of many requests that come at once the last one is waited for: all may be about trees.
    fn is_check_due(&self, now: Now) -> bool {
        let has_request = self.link.as_ref().is_some_and(Link::has_request);
        let is_due = self.recheck_at_ms.is_some_and(|at| at <= now.steady_ms);
        !has_request && (self.is_check_wanted || is_due)
    }

    fn has_ended(&self) -> bool {
        self.is_ending && self.living == 0
    }

    /// Until the next moment that something waits for; `None` for ever.
    fn timeout(&self, now: Now) -> Option<Timespec> {
        if self.link.as_ref().is_some_and(Link::has_request) {
            return Some(Timespec::default());
        }
        let due = self.due.iter().filter_map(|key| self.children.get(key)?.due_at_ms());
        let alone = self.alone_since_ms.map(|since| since + IDLE_MS);
        let at_ms = due.chain(alone).chain(self.recheck_at_ms).min()?;
        let wait_ms = i64::try_from(at_ms.saturating_sub(now.steady_ms)).unwrap_or(i64::MAX);
        Some(Timespec { tv_sec: wait_ms / 1000, tv_nsec: wait_ms % 1000 * 1_000_000 })
    }

    fn on(&mut self, source: Source, now: Now) {
        match source {
            Source::Listener => self.accept(),
            Source::Link => self.read_link(),
            Source::Newcomer => self.hear_newcomer(now),
            Source::Signals => self.reap(now),
            Source::Cgroups => self.hear_cgroups(),
            Source::Control(key) => self.listen_to(key),
            Source::Output(key, stream) => self.capture(key, stream, now),
            Source::Ended(key) => self.look_after(key, now),
        }
    }

    fn accept(&mut self) {
        self.reserve.release();
        let link = Link::accept(&self.listener);
        self.reserve.keep(&self.epoll);
        self.newcomer = link
            .filter(|link| sources::watch(&self.epoll, link.socket(), Source::Newcomer).is_ok());
    }

    /// A new manager replaces an older one, which may hang without knowing it. It is one by its
    /// first request: who knocks and says nothing, or nonsense, must not cost the manager its
    /// keeper.
    fn hear_newcomer(&mut self, now: Now) {
        let Some(mut link) = self.newcomer.take() else { return };
        if link.read().is_err() {
            return;
        }
        match link.next() {
            None => self.newcomer = Some(link),
            Some(Ok((request, handed))) if sources::promote(&self.epoll, &link).is_ok() => {
                self.link = Some(link);
                self.owe_nothing();
                self.obey(&request, handed, now);
            }
            Some(_) => {}
        }
    }

    fn read_link(&mut self) {
        let read = self.link.as_mut().map_or(Ok(()), Link::read);
        self.drop_link_on(read);
    }

    /// What is not told is not lost: `list` tells it to the next manager.
    pub(super) fn tell(&mut self, report: &Report) {
        let sent = self.link.as_mut().map_or(Ok(()), |link| link.send(report));
        self.drop_link_on(sent);
    }

    fn flush(&mut self) {
        let flushed = self.link.as_mut().map_or(Ok(()), Link::flush);
        self.drop_link_on(flushed);
        self.hand_on();
        self.hand_on_sockets();
        let owes = !self.owed.is_empty() || !self.owed_sockets.is_empty();
        if let Some(link) = &mut self.link {
            sources::watch_backlog(&self.epoll, link, owes);
        }
    }

    pub(super) fn drop_link_on(&mut self, outcome: Result<(), LinkError>) {
        if outcome.is_err() {
            self.link = None;
            self.owe_nothing();
        }
    }

    fn owe_nothing(&mut self) {
        self.owed.clear();
        self.owed_sockets.clear();
    }

    fn listen_to(&mut self, key: u64) {
        if let Some(report) = self.children.get_mut(&key).and_then(Child::listen) {
            self.tell(&report);
            // Behind the report that it runs, so that the manager knows whose they are.
            self.owed.insert(key);
        }
    }

    /// Reaps whoever is dead: leaders, and all that the keeper inherited.
    fn reap(&mut self, now: Now) {
        while let Ok(Some(_)) = self.signals.read_signal() {}
        self.reserve.release();
        while let Some(pid) = syscall::dead_child() {
            let key = self.leader_key(pid);
            if let Some(child) = key.and_then(|key| self.children.get_mut(&key)) {
                child.before_reaping();
            }
            let Ok(Some((_, status))) =
                rustix::process::waitpid(proc::raw(pid), WaitOptions::NOHANG)
            else {
                break;
            };
            self.orphans.reaped(pid);
            self.archivist.reaped(pid);
            let doubts = self.children.values_mut().filter_map(|child| child.doubt.as_mut());
            doubts.for_each(|doubt| doubt.lost(pid));
            if let Some(key) = key {
                // It may have spoken before it died; that is told first.
                self.listen_to(key);
                let child = self.children.get_mut(&key).expect("it was there before");
                if let Some(report) = child.exited(status, now) {
                    self.tell(&report);
                }
            }
        }
        self.reserve.keep(&self.epoll);
        self.is_check_wanted = true;
    }

    fn hear_cgroups(&mut self) {
        if let Some(cgroups) = &self.cgroups {
            cgroups.settle();
        }
        self.is_check_wanted = true;
    }

    fn leader_key(&self, pid: Pid) -> Option<u64> {
        let is_it = |child: &Child| child.unreaped() == Some(pid);
        self.children.iter().find(|(_, child)| is_it(child)).map(|(key, _)| *key)
    }

    fn capture(&mut self, key: u64, stream: Stream, now: Now) {
        let Some(child) = self.children.get_mut(&key) else { return };
        let was_blocked = child.is_blocked();
        let limit = if self.blocked > 0 { CAREFUL_BYTES } else { READ_BYTES };
        child.capture(stream, &mut self.buffer[..limit], now);
        sources::close(&self.epoll, child);
        self.blocked += usize::from(child.is_blocked());
        self.blocked -= usize::from(was_blocked);
        self.archivist.note(child.take_raw());
        if child.due_at_ms().is_some() {
            self.due.insert(key);
        }
    }

    pub(super) fn tend(&mut self, now: Now) {
        for key in std::mem::take(&mut self.due) {
            if self.children.get(&key).is_some_and(|it| it.is_to_be_verified(now)) {
                self.verify(key, now);
                continue;
            }
            let name = self.children.get(&key).filter(|it| it.wants_log(now));
            let other = name.and_then(|it| self.log_of(&it.identity.name));
            let Some(child) = self.children.get_mut(&key) else { continue };
            let was_blocked = child.is_blocked();
            if child.wants_log(now) {
                child.open_log(other, now);
            }
            let has_emptied = child.tend(&mut self.buffer, now);
            sources::close(&self.epoll, child);
            self.blocked += usize::from(child.is_blocked());
            self.blocked -= usize::from(was_blocked);
            self.archivist.note(child.take_raw());
            sources::pause_or_resume(&self.epoll, key, child);
            if child.due_at_ms().is_some() {
                self.due.insert(key);
            }
            if has_emptied {
                self.emptied(key);
            }
        }
    }

    fn emptied(&mut self, key: u64) {
        self.living -= 1;
        if let Some(cgroups) = self.cgroups.as_ref().filter(|_| self.living == 0) {
            cgroups.tidy(|_| false);
        }
        let child = &self.children[&key];
        if child.is_let_go {
            return self.drop_let_go(key);
        }
        if let State::Failed { .. } = child.state {
            Identity::forget(&self.runtime, &child.identity.name);
        }
        let report = child.emptied();
        self.tell(&report);
    }

    fn is_alone_too_long(&mut self, now: Now) -> bool {
        if self.link.is_some() || self.living > 0 {
            self.alone_since_ms = None;
            return false;
        }
        let since = *self.alone_since_ms.get_or_insert(now.steady_ms);
        now.steady_ms >= since + IDLE_MS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keeper_ends_when_it_was_alone_for_a_minute() {
        let runtime = tempfile::tempdir().unwrap();
        let mut keeper = Keeper::listen(runtime.path(), 1024, None).unwrap();
        let start = Now::read();
        let after = |ms| Now { steady_ms: start.steady_ms + ms, ..start };
        assert!(keeper.timeout(start).is_some(), "nobody has to wake it");
        assert!(!keeper.is_alone_too_long(after(IDLE_MS - 1000)));
        keeper.living = 1;
        assert!(!keeper.is_alone_too_long(after(IDLE_MS)));
        keeper.living = 0;
        assert!(!keeper.is_alone_too_long(after(IDLE_MS + 1)), "counted from the last child's end");
        assert!(keeper.is_alone_too_long(after(2 * IDLE_MS + 1)));
    }
}
