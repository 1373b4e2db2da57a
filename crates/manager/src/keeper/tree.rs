//! Which processes are whose, and signals that reach only those.
//!
//! The keeper is subreaper: whatever a daemon leaves behind becomes the keeper's own child, an
//! *orphan*, as soon as its parent is dead. So a tree is empty when its leader is reaped, its group
//! is empty and no orphan is its; nothing needs to be searched for to know that.
//!
//! A number is never signalled by itself: either the process is an unreaped child of ours, or a
//! pidfd is opened first and the process behind it verified afterwards.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use rustix::io::Errno;

use super::child::{Child, Leader};
use super::clock::Now;
use super::syscall::{self, Target};
use crate::cgroup;
use crate::identity::{Identity, SECRET_VARIABLE};
use crate::proc::{self, Pid, Stat};

/// All children, by a key that is never used again; a later spawn has a higher one.
pub(super) type Children = BTreeMap<u64, Child>;

/// How long an orphan that shows no environment just now keeps trees from being called empty: it is
/// within `exec`, or about to die, and shows whose it is in a moment.
pub(super) const DOUBT_MS: u64 = 200;

/// To whom each orphan belongs.
#[derive(Debug, Default)]
pub(super) struct Orphans {
    /// By pid, which nobody else can have before the keeper reaps it.
    owners: HashMap<Pid, u64>,
    /// Who was sent SIGKILL, by pid and start, until the tree is empty: the dying show neither
    /// their environment nor, once it is reaped, their parent.
    killed: HashMap<(Pid, u64), u64>,
    /// Orphans that show no environment just now.
    doubtful: HashMap<Pid, Doubtful>,
    /// The keeper's own helper, which is nobody's orphan.
    own: Option<Pid>,
}

/// An orphan that may be within `exec`.
#[derive(Debug)]
struct Doubtful {
    started: u64,
    since_ms: u64,
}

impl Orphans {
    /// Finds the owners of orphans that came since, and tells who has any.
    pub(super) fn owners(&mut self, children: &Children, now: Now) -> BTreeSet<u64> {
        let leaders = Leaders::of(children);
        for pid in proc::own_children() {
            let is_known = leaders.own.contains_key(&pid) || self.own == Some(pid);
            if !is_known && !self.owners.contains_key(&pid) {
                self.attribute(pid, children, now);
            }
        }
        self.owners.values().copied().collect()
    }

    fn attribute(&mut self, pid: Pid, children: &Children, now: Now) {
        let Ok(Some(stat)) = proc::stat(pid) else { return };
        let shown = proc::environment_once_settled(pid).ok().flatten();
        let environment = shown.as_deref().unwrap_or_default();
        if let Some(owner) = self.owner(pid, &stat, environment, children) {
            self.owners.insert(pid, owner);
        }
        if shown.is_none() && !stat.is_zombie() && !self.owners.contains_key(&pid) {
            let (started, since_ms) = (stat.started, now.steady_ms);
            self.doubtful.entry(pid).or_insert(Doubtful { started, since_ms });
        } else {
            self.doubtful.remove(&pid);
        }
    }

    /// The orphans that may be this child's, because they show no secret just now: whoever is older
    /// is not.
    pub(super) fn unclear(&self, child: &Child, now: Now) -> BTreeSet<Pid> {
        let may_be_its = |(_, it): &(&Pid, &Doubtful)| {
            it.started >= child.identity.start_ticks && now.steady_ms < it.since_ms + DOUBT_MS
        };
        self.doubtful.iter().filter(may_be_its).map(|(pid, _)| *pid).collect()
    }

    /// A process that the keeper started for itself.
    pub(super) fn leave_alone(&mut self, pid: Pid) {
        self.own = Some(pid);
    }

    /// A pid was reaped and means nobody now.
    pub(super) fn reaped(&mut self, pid: Pid) {
        self.own = self.own.filter(|own| *own != pid);
        self.doubtful.remove(&pid);
        self.owners.remove(&pid);
    }

    /// A tree is empty, so none of it has to be remembered.
    pub(super) fn emptied(&mut self, key: u64) {
        self.killed.retain(|_, owner| *owner != key);
    }

    /// Freezes the trees of children, so that they cannot grow meanwhile, and kills them. What
    /// escaped all the same is found by the next sweep: one is due whenever something has died.
    pub(super) fn sweep(&mut self, keys: &BTreeSet<u64>, children: &Children, now: Now) {
        self.owners(children, now);
        let leaders = Leaders::of(children);
        for signal in [libc::SIGSTOP, libc::SIGKILL] {
            for child in keys.iter().filter_map(|key| children.get(key)) {
                // Nobody in the group is no failure; the rest of the tree is signalled one by one.
                let _ = signal_group(child, signal);
            }
            let snapshot = Snapshot::take();
            for (&pid, stat) in snapshot.processes.iter().filter(|(_, stat)| !stat.is_zombie()) {
                let key = match self.root(pid, &leaders, &snapshot) {
                    Root::Owned(owner) => keys.get(&owner).copied(),
                    Root::Keeper => None,
                    Root::Unknown => related(pid, &snapshot, keys, children),
                    Root::Foreign if proc::is_own(pid).unwrap_or(false) => {
                        by_secret(pid, keys, children)
                    }
                    Root::Foreign => None,
                };
                if let Some(key) = key {
                    signal_verified(stat, signal);
                    self.killed.insert((pid, stat.started), key);
                }
            }
        }
    }

    /// The child that an orphan belongs to. Its cgroup tells for certain. The secret is asked
    /// before the number of its session or group: it is this spawn's alone, while a number is used
    /// again when nothing is left of it, so that it speaks for the latest child that had it.
    fn owner(&self, pid: Pid, stat: &Stat, environment: &[u8], children: &Children) -> Option<u64> {
        let find = |is_owner: &dyn Fn(&Child) -> bool| {
            let mut living = children.iter().rev().filter(|(_, child)| child.has_tree());
            living.find(|(_, child)| is_owner(child)).map(|(key, _)| *key)
        };
        let killed = self.killed.get(&(pid, stat.started)).copied();
        let line = cgroup::line_of(pid).unwrap_or_default();
        let is_in = |child: &Child| {
            child.identity.cgroup.as_ref().is_some_and(|cgroup| cgroup.is_named_by(&line))
        };
        killed
            .or_else(|| find(&is_in))
            .or_else(|| find(&|child| contains(environment, &child.identity.secret)))
            .or_else(|| find(&|child| is_led(stat, child)))
    }

    /// Goes from parent to parent up to somebody who is known.
    fn root(&self, pid: Pid, leaders: &Leaders, snapshot: &Snapshot) -> Root {
        let keeper = std::process::id();
        let mut at = pid;
        // The pids were read one after another: with bad luck they form a circle.
        for _ in 0..snapshot.processes.len() {
            let Some(stat) = snapshot.processes.get(&at) else { return Root::Foreign };
            if at == keeper {
                return if at == pid { Root::Keeper } else { Root::Unknown };
            }
            if let Some(owner) = leaders.adopted.get(&(at, stat.started)) {
                return Root::Owned(*owner);
            }
            if stat.parent == keeper
                && let Some(owner) = self.owners.get(&at).or_else(|| leaders.own.get(&at))
            {
                return Root::Owned(*owner);
            }
            at = stat.parent;
        }
        Root::Foreign
    }
}

/// Where the line of a process's parents ends.
enum Root {
    /// At a leader or an orphan of this child.
    Owned(u64),
    /// It is the keeper itself.
    Keeper,
    /// At the keeper, through an orphan of nobody known.
    Unknown,
    /// Elsewhere.
    Foreign,
}

/// All processes, as they were one after another.
struct Snapshot {
    processes: HashMap<Pid, Stat>,
}

impl Snapshot {
    fn take() -> Self {
        let stat = |pid| Some((pid, proc::stat(pid).ok()??));
        let pids = proc::processes().unwrap_or_default();
        Self { processes: pids.into_iter().filter_map(stat).collect() }
    }
}

/// Sends a signal to the leader.
///
/// # Errors
/// ESRCH if it is dead.
pub(super) fn signal_leader(child: &Child, signal: i32) -> Result<(), Errno> {
    match child.leader() {
        Leader::Unreaped(pid) => syscall::signal(proc::open(*pid)?, signal, Target::Process),
        Leader::Adopted(pidfd) => syscall::signal(pidfd, signal, Target::Process),
        Leader::Unverified(_) | Leader::Reaped(_) => Err(Errno::SRCH),
    }
}

/// Sends a signal to the leader's group, whether or not the leader lives.
///
/// # Errors
/// ESRCH if nobody is in it.
pub(super) fn signal_group(child: &Child, signal: i32) -> Result<(), Errno> {
    match child.leader() {
        Leader::Unreaped(pid) => {
            let pidfd = proc::open(*pid)?;
            match syscall::signal(&pidfd, signal, Target::Group) {
                // Before it has made its session it is in the keeper's own group.
                Err(Errno::SRCH) => syscall::signal(pidfd, signal, Target::Process),
                Err(Errno::INVAL) => signal_group_by_number(*pid, signal),
                sent => sent,
            }
        }
        Leader::Unverified(_) => Err(Errno::SRCH),
        // It died unseen; its number proves nothing, but the secret does.
        Leader::Reaped(None) if child.is_adopted() => signal_group_one_by_one(child, signal),
        Leader::Reaped(None) => Err(Errno::SRCH),
        Leader::Adopted(pidfd) | Leader::Reaped(Some(pidfd)) => {
            match syscall::signal(pidfd, signal, Target::Group) {
                Err(Errno::INVAL) => signal_group_one_by_one(child, signal),
                sent => sent,
            }
        }
    }
}

/// Whether anybody, dead and unreaped ones included, is in the leader's group.
pub(super) fn has_group(child: &Child) -> bool {
    match child.leader() {
        Leader::Unreaped(_) | Leader::Adopted(_) | Leader::Unverified(_) => true,
        Leader::Reaped(None) => false,
        Leader::Reaped(Some(pidfd)) => match syscall::signal(pidfd, 0, Target::Group) {
            // Asking by number harms nobody, even if it is somebody else's group by now.
            Err(Errno::INVAL) => proc::raw(child.identity.pid)
                .is_some_and(|pid| rustix::process::test_kill_process_group(pid).is_ok()),
            sent => sent.is_ok(),
        },
    }
}

/// For kernels before 6.9: while the leader is unreaped its number is nobody else's group.
fn signal_group_by_number(leader: Pid, signal: i32) -> Result<(), Errno> {
    let group = nix::unistd::Pid::from_raw(leader.cast_signed());
    let signal = nix::sys::signal::Signal::try_from(signal).map_err(|_| Errno::INVAL)?;
    nix::sys::signal::killpg(group, signal).map_err(|errno| Errno::from_raw_os_error(errno as i32))
}

/// For kernels before 6.9, when the leader is reaped: members must carry the secret too, since the
/// number alone may be another group's by now.
fn signal_group_one_by_one(child: &Child, signal: i32) -> Result<(), Errno> {
    let mut outcome = Err(Errno::SRCH);
    for (&pid, stat) in &Snapshot::take().processes {
        if stat.group == child.identity.pid && has_secret(pid, &child.identity.secret) {
            signal_verified(stat, signal);
            outcome = Ok(());
        }
    }
    outcome
}

/// Signals the process that was seen under a pid, and not whoever has the pid now.
fn signal_verified(seen: &Stat, signal: i32) {
    if let Some(pidfd) = seen.open() {
        // It may have died since, which is what was wanted.
        let _ = syscall::signal(pidfd, signal, Target::Process);
    }
}

/// The leaders that live or are not reaped, with the keys of their children.
struct Leaders {
    own: HashMap<Pid, u64>,
    /// By pid and start: somebody else reaps them.
    adopted: HashMap<(Pid, u64), u64>,
}

impl Leaders {
    fn of(children: &Children) -> Self {
        let own = |(key, child): (&u64, &Child)| Some((child.unreaped()?, *key));
        let adopted = |(key, child): (&u64, &Child)| {
            let Identity { pid, start_ticks, .. } = child.identity;
            matches!(child.leader(), Leader::Adopted(_)).then_some(((pid, start_ticks), *key))
        };
        Self {
            own: children.iter().filter_map(own).collect(),
            adopted: children.iter().filter_map(adopted).collect(),
        }
    }
}

fn is_led(stat: &Stat, child: &Child) -> bool {
    stat.session == child.identity.pid || stat.group == child.identity.pid
}

/// Of a process below an orphan of nobody known: whose it shows to be.
fn related(
    pid: Pid,
    snapshot: &Snapshot,
    keys: &BTreeSet<u64>,
    children: &Children,
) -> Option<u64> {
    let stat = snapshot.processes.get(&pid)?;
    let is_led = |child: &Child| child.unreaped().is_some() && is_led(stat, child);
    by_secret(pid, keys, children)
        .or_else(|| keys.iter().copied().find(|key| children.get(key).is_some_and(is_led)))
}

/// Whose secret a process has.
fn by_secret(pid: Pid, keys: &BTreeSet<u64>, children: &Children) -> Option<u64> {
    let environment = environment(pid);
    let is_its = |child: &Child| contains(&environment, &child.identity.secret);
    keys.iter().copied().find(|key| children.get(key).is_some_and(is_its))
}

fn has_secret(pid: Pid, secret: &str) -> bool {
    contains(&environment(pid), secret)
}

/// The environment of a process; empty if it cannot be seen.
pub(super) fn environment(pid: Pid) -> Vec<u8> {
    proc::environment(pid).unwrap_or_default()
}

/// Whether an environment has this secret.
fn contains(environment: &[u8], secret: &str) -> bool {
    !secret.is_empty()
        && proc::values_in(environment, SECRET_VARIABLE).any(|value| value == secret.as_bytes())
}
