//! Which processes are whose, and signals that reach only those.
//!
//! The keeper is subreaper: whatever a daemon leaves behind becomes the keeper's own child, an
//! *orphan*, as soon as its parent is dead. So a tree is empty when its leader is reaped, its group
//! is empty and no orphan is its; nothing needs to be searched for to know that.
//!
//! A number is never signalled by itself: either the process is an unreaped child of ours, or a
//! pidfd is opened first and the process behind it verified afterwards.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::child::{Child, Leader};
use super::clock::Now;
use super::syscall::{self, Target};
use crate::cgroup;
use crate::identity::{Identity, Stat};

/// All children, by a key that is never used again; a later spawn has a higher one.
pub(super) type Children = BTreeMap<u64, Child>;

/// How long an orphan that shows no environment just now keeps trees from being called empty: it is
/// within `exec`, or about to die, and shows whose it is in a moment.
pub(super) const DOUBT_MS: u64 = 200;

/// More than most environments have; longer ones take another read.
const ENVIRONMENT_BYTES: usize = 128 << 10;

/// To whom each orphan belongs.
#[derive(Debug, Default)]
pub(super) struct Orphans {
    /// By pid, which nobody else can have before the keeper reaps it.
    owners: HashMap<i32, u64>,
    /// Who was sent SIGKILL, by pid and start, until the tree is empty: the dying show neither
    /// their environment nor, once it is reaped, their parent.
    condemned: HashMap<(i32, u64), u64>,
    /// Orphans that show no environment just now.
    doubtful: HashMap<i32, Doubtful>,
    /// The keeper's own helper, which is nobody's orphan.
    own: Option<i32>,
}

/// An orphan that may be within `exec`.
#[derive(Debug)]
struct Doubtful {
    start_ticks: u64,
    since_ms: u64,
}

impl Orphans {
    /// Finds the owners of orphans that came since, and tells who has any.
    pub(super) fn owners(&mut self, children: &Children, now: Now) -> BTreeSet<u64> {
        let leaders = Leaders::of(children);
        for pid in own_children() {
            let pid = pid.as_raw_pid();
            let is_known = leaders.own.contains_key(&pid) || self.own == Some(pid);
            if !is_known && !self.owners.contains_key(&pid) {
                self.attribute(pid, children, now);
            }
        }
        self.owners.values().copied().collect()
    }

    fn attribute(&mut self, pid: i32, children: &Children, now: Now) {
        let Some(stat) = Pid::from_raw(pid).and_then(|pid| Stat::of(pid).ok()) else { return };
        let shown = shown(pid);
        let environment = shown.as_deref().unwrap_or_default();
        if let Some(owner) = self.owner(pid, &stat, environment, children) {
            self.owners.insert(pid, owner);
        }
        if shown.is_none() && !stat.is_dead() && !self.owners.contains_key(&pid) {
            let (start_ticks, since_ms) = (stat.start_ticks, now.steady_ms);
            self.doubtful.entry(pid).or_insert(Doubtful { start_ticks, since_ms });
        } else {
            self.doubtful.remove(&pid);
        }
    }

    /// The orphans that may be this child's, because they show no cookie just now: whoever is older
    /// is not.
    pub(super) fn unclear(&self, child: &Child, now: Now) -> BTreeSet<i32> {
        let may_be_its = |(_, it): &(&i32, &Doubtful)| {
            it.start_ticks >= child.identity.start_ticks && now.steady_ms < it.since_ms + DOUBT_MS
        };
        self.doubtful.iter().filter(may_be_its).map(|(pid, _)| *pid).collect()
    }

    /// A process that the keeper started for itself.
    pub(super) fn leave_alone(&mut self, pid: Pid) {
        self.own = Some(pid.as_raw_pid());
    }

    /// A pid was reaped and means nobody now.
    pub(super) fn reaped(&mut self, pid: Pid) {
        self.own = self.own.filter(|own| *own != pid.as_raw_pid());
        self.doubtful.remove(&pid.as_raw_pid());
        self.owners.remove(&pid.as_raw_pid());
    }

    /// A tree is empty, so none of it has to be remembered.
    pub(super) fn emptied(&mut self, key: u64) {
        self.condemned.retain(|_, owner| *owner != key);
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
            for (&pid, stat) in snapshot.processes.iter().filter(|(_, stat)| !stat.is_dead()) {
                let key = match self.root(pid, &leaders, &snapshot) {
                    Root::Owned(owner) => keys.get(&owner).copied(),
                    Root::Keeper => None,
                    Root::Unknown => related(pid, &snapshot, keys, children),
                    Root::Foreign if is_own_user(pid) => carried(pid, keys, children),
                    Root::Foreign => None,
                };
                if let Some(key) = key {
                    signal_verified(pid, stat, signal);
                    self.condemned.insert((pid, stat.start_ticks), key);
                }
            }
        }
    }

    /// The child that an orphan belongs to. Its cgroup tells for certain. The cookie is asked
    /// before the number of its session or group: it is this spawn's alone, while a number is used
    /// again when nothing is left of it, so that it speaks for the latest child that had it.
    fn owner(&self, pid: i32, stat: &Stat, environment: &[u8], children: &Children) -> Option<u64> {
        let find = |is_owner: &dyn Fn(&Child) -> bool| {
            let mut living = children.iter().rev().filter(|(_, child)| child.has_tree());
            living.find(|(_, child)| is_owner(child)).map(|(key, _)| *key)
        };
        let condemned = self.condemned.get(&(pid, stat.start_ticks)).copied();
        let line = cgroup::line_of(pid).unwrap_or_default();
        let is_in = |child: &Child| {
            child.identity.cgroup.as_ref().is_some_and(|cgroup| cgroup.is_named_by(&line))
        };
        condemned
            .or_else(|| find(&is_in))
            .or_else(|| find(&|child| holds(environment, &child.identity.secret)))
            .or_else(|| find(&|child| is_led(stat, child)))
    }

    /// Goes from parent to parent up to somebody who is known.
    fn root(&self, pid: i32, leaders: &Leaders, snapshot: &Snapshot) -> Root {
        let keeper = rustix::process::getpid().as_raw_pid();
        let mut at = pid;
        // The pids were read one after another: with bad luck they form a circle.
        for _ in 0..snapshot.processes.len() {
            let Some(stat) = snapshot.processes.get(&at) else { return Root::Foreign };
            if at == keeper {
                return if at == pid { Root::Keeper } else { Root::Unknown };
            }
            if let Some(owner) = leaders.adopted.get(&(at, stat.start_ticks)) {
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
    processes: HashMap<i32, Stat>,
}

impl Snapshot {
    fn take() -> Self {
        let stat = |pid: Pid| Some((pid.as_raw_pid(), Stat::of(pid).ok()?));
        Self { processes: all_pids().into_iter().filter_map(stat).collect() }
    }
}

/// Sends a signal to the leader.
///
/// # Errors
/// ESRCH if it is dead.
pub(super) fn signal_leader(child: &Child, signal: i32) -> Result<(), Errno> {
    match child.leader() {
        Leader::Unreaped(pid) => {
            syscall::signal(pidfd_open(*pid, PidfdFlags::empty())?, signal, Target::Process)
        }
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
            let pidfd = pidfd_open(*pid, PidfdFlags::empty())?;
            match syscall::signal(&pidfd, signal, Target::Group) {
                // Before it has made its session it is in the keeper's own group.
                Err(Errno::SRCH) => syscall::signal(pidfd, signal, Target::Process),
                Err(Errno::INVAL) => signal_group_by_number(*pid, signal),
                sent => sent,
            }
        }
        Leader::Unverified(_) => Err(Errno::SRCH),
        // It died unseen; its number proves nothing, but the cookie does.
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
            Err(Errno::INVAL) => Pid::from_raw(child.identity.pid)
                .is_some_and(|pid| rustix::process::test_kill_process_group(pid).is_ok()),
            sent => sent.is_ok(),
        },
    }
}

/// For kernels before 6.9: while the leader is unreaped its number is nobody else's group.
fn signal_group_by_number(leader: Pid, signal: i32) -> Result<(), Errno> {
    let group = nix::unistd::Pid::from_raw(leader.as_raw_pid());
    let signal = nix::sys::signal::Signal::try_from(signal).map_err(|_| Errno::INVAL)?;
    nix::sys::signal::killpg(group, signal).map_err(|errno| Errno::from_raw_os_error(errno as i32))
}

/// For kernels before 6.9, when the leader is reaped: members must carry the cookie too, since the
/// number alone may be another group's by now.
fn signal_group_one_by_one(child: &Child, signal: i32) -> Result<(), Errno> {
    let mut outcome = Err(Errno::SRCH);
    for (pid, stat) in &Snapshot::take().processes {
        if stat.group == child.identity.pid && carries(*pid, &child.identity.secret) {
            signal_verified(*pid, stat, signal);
            outcome = Ok(());
        }
    }
    outcome
}

/// Signals the process that was seen under a pid, and not whoever has the pid now.
fn signal_verified(pid: i32, seen: &Stat, signal: i32) {
    let Some(pid) = Pid::from_raw(pid) else { return };
    let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else { return };
    if Stat::of(pid).is_ok_and(|stat| stat.start_ticks == seen.start_ticks) {
        // It may have died since, which is what was wanted.
        let _ = syscall::signal(pidfd, signal, Target::Process);
    }
}

/// The leaders that live or are not reaped, with the keys of their children.
struct Leaders {
    own: HashMap<i32, u64>,
    /// By pid and start: somebody else reaps them.
    adopted: HashMap<(i32, u64), u64>,
}

impl Leaders {
    fn of(children: &Children) -> Self {
        let own = |(key, child): (&u64, &Child)| Some((child.unreaped()?.as_raw_pid(), *key));
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
    pid: i32,
    snapshot: &Snapshot,
    keys: &BTreeSet<u64>,
    children: &Children,
) -> Option<u64> {
    let stat = snapshot.processes.get(&pid)?;
    let is_led = |child: &Child| child.unreaped().is_some() && is_led(stat, child);
    carried(pid, keys, children)
        .or_else(|| keys.iter().copied().find(|key| children.get(key).is_some_and(is_led)))
}

/// Whose cookie a process carries.
fn carried(pid: i32, keys: &BTreeSet<u64>, children: &Children) -> Option<u64> {
    let environment = environment(pid);
    let is_its = |child: &Child| holds(&environment, &child.identity.secret);
    keys.iter().copied().find(|key| children.get(key).is_some_and(is_its))
}

fn carries(pid: i32, secret: &str) -> bool {
    holds(&environment(pid), secret)
}

/// The environment of a process; empty while it is within `exec`. Read in one call, during which
/// the kernel holds on to one program's memory: with two calls the process may begin another
/// program between them, and its environment would end early.
pub(super) fn environment(pid: i32) -> Vec<u8> {
    let mut environment = Vec::with_capacity(ENVIRONMENT_BYTES);
    let Ok(file) = File::open(format!("/proc/{pid}/environ")) else { return environment };
    while let Ok(1..) = rustix::io::read(&file, spare_capacity(&mut environment)) {
        environment.reserve(ENVIRONMENT_BYTES);
    }
    environment
}

/// The environment of a process; `None` if it is not to be seen just now. One that is empty was
/// emptied on purpose, and nobody's end has to wait for it.
pub(super) fn shown(pid: i32) -> Option<Vec<u8>> {
    let seen = environment(pid);
    if !seen.is_empty() {
        return Some(seen);
    }
    // An `exec` may have ended since, so it is read once more.
    crate::proc::has_settled(pid.cast_unsigned()).is_ok_and(|it| it).then(|| environment(pid))
}

/// Whether an environment has this cookie.
pub(super) fn holds(environment: &[u8], secret: &str) -> bool {
    let mut variables = environment.split(|&byte| byte == 0);
    let cookie = |variable: &[u8]| variable.strip_prefix(b"DAE_SECRET=") == Some(secret.as_bytes());
    !secret.is_empty() && variables.any(cookie)
}

/// Whether a process is this user's.
pub(super) fn is_own_user(pid: i32) -> bool {
    let own = rustix::process::geteuid().as_raw();
    fs::metadata(format!("/proc/{pid}")).is_ok_and(|meta| meta.uid() == own)
}

/// The children of the keeper. It forks only when it waits for that, and reaps alone, so the
/// kernel's lists cannot lose an entry while they are read.
fn own_children() -> Vec<Pid> {
    let own = crate::proc::children(std::process::id()).ok().flatten();
    match own {
        Some(own) if Path::new("/proc/thread-self/children").exists() => {
            own.into_iter().filter_map(|pid| Pid::from_raw(pid.cast_signed())).collect()
        }
        _ => own_children_by_parent(),
    }
}

/// For kernels without that list.
fn own_children_by_parent() -> Vec<Pid> {
    let keeper = rustix::process::getpid().as_raw_pid();
    let is_own = |pid: &Pid| Stat::of(*pid).is_ok_and(|stat| stat.parent == keeper);
    all_pids().into_iter().filter(is_own).collect()
}

/// All processes.
pub(super) fn all_pids() -> Vec<Pid> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.filter_map(|entry| parse(entry.ok()?.file_name().to_str()?)).collect()
}

fn parse(pid: &str) -> Option<Pid> {
    Pid::from_raw(pid.parse().ok()?)
}
