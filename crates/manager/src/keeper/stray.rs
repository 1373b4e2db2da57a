//! What is left of an adopted tree when its leader is dead.
//!
//! Its orphans do not come to this keeper, so nothing tells by itself who they are: they are looked
//! for by secret and by group, once, and then their pidfds are waited for. Nobody left at a further
//! look means that the tree is empty. Zombies do not count; they are their parent's matter.
//!
//! Where a child has a cgroup, that tells first: only who has moved out of it is looked for.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::fd::OwnedFd;

use super::child::Child;
use super::clock::Now;
use super::sources::{self, Source};
use super::tree;
use super::turn::Keeper;
use crate::identity::SECRET_VARIABLE;
use crate::proc::{self, Pid, has_ended};

/// How long somebody within `exec`, who shows no secret for a moment, keeps a tree from being
/// called empty.
const DOUBT_MS: u64 = 1_000;

/// How soon trees are looked at again for somebody within `exec`: no event says that it is over,
/// and a look reads all processes.
const RECHECK_MS: u64 = 20;

/// One process of such a tree.
#[derive(Debug)]
pub(super) struct Stray {
    pub(super) pid: Pid,
    pidfd: OwnedFd,
}

impl Keeper {
    /// Sees who is left of adopted trees, and which of them are empty.
    pub(super) fn check_strays(&mut self, now: Now) {
        for child in self.children.values_mut() {
            child.strays.retain(|stray| !has_ended(&stray.pidfd));
        }
        self.find_strays(now);
        self.reopen_pipes();
    }

    fn find_strays(&mut self, now: Now) {
        let is_sought = |child: &Child| {
            child.is_adopted()
                && child.has_tree()
                && !child.is_led()
                && (child.strays.is_empty() || child.sweeps_left > 0)
                && !self.is_populated(child)
        };
        let sought: Vec<u64> =
            self.children.iter().filter(|(_, it)| is_sought(it)).map(|(key, _)| *key).collect();
        if sought.is_empty() {
            return;
        }
        let sought: BTreeMap<u64, &Child> =
            sought.into_iter().map(|key| (key, &self.children[&key])).collect();
        let keys: Vec<u64> = sought.keys().copied().collect();
        let Members { found, unclear } = members(&sought);
        let mut unwatched = BTreeSet::new();
        for (key, stray) in found {
            if !self.watch_stray(key, stray) {
                unwatched.insert(key);
            }
        }
        for key in keys {
            let Some(child) = self.children.get_mut(&key) else { continue };
            if !child.strays.is_empty() {
                child.doubt = None;
            } else if unwatched.contains(&key)
                || Doubt::remains(&mut child.doubt, &unclear, DOUBT_MS, now)
            {
                self.recheck_at_ms = Some(now.steady_ms + RECHECK_MS);
            } else {
                self.tree_emptied(key, now);
            }
        }
    }

    /// False if its end would not be told.
    fn watch_stray(&mut self, key: u64, stray: Stray) -> bool {
        let Some(child) = self.children.get_mut(&key) else { return true };
        if child.strays.iter().any(|it| it.pid == stray.pid) {
            return true;
        }
        let watched = sources::watch(&self.epoll, &stray.pidfd, Source::Ended(key));
        if watched.is_ok() {
            child.strays.push(stray);
        }
        watched.is_ok()
    }
}

/// Who may be of a tree and shows no secret, being within `exec`. Whoever of the tree lives at the
/// first look is found by it or stands here, so those who begin an `exec` later do not matter, as
/// long as nobody who stands here has died unseen and left them: on a busy machine somebody always
/// does.
#[derive(Debug)]
pub(super) struct Doubt {
    pids: BTreeSet<Pid>,
    since_ms: u64,
    /// Whether one of them may have left others behind.
    is_open: bool,
}

impl Doubt {
    /// Whether a further look is needed, which it is for at most so long.
    pub(super) fn remains(
        doubt: &mut Option<Self>,
        unclear: &BTreeSet<Pid>,
        limit_ms: u64,
        now: Now,
    ) -> bool {
        let (pids, since_ms) = (BTreeSet::new(), now.steady_ms);
        let it = doubt.get_or_insert(Self { pids, since_ms, is_open: true });
        it.pids.retain(|pid| unclear.contains(pid));
        if std::mem::take(&mut it.is_open) {
            it.pids.extend(unclear);
        }
        !it.pids.is_empty() && now.steady_ms < it.since_ms + limit_ms
    }

    /// Somebody was reaped without having shown whose it is.
    pub(super) fn lost(&mut self, pid: Pid) {
        self.is_open |= self.pids.contains(&pid);
    }
}

/// Who was found, by the key of its child, and who could not be told.
#[derive(Default)]
struct Members {
    found: Vec<(u64, Stray)>,
    unclear: BTreeSet<Pid>,
}

/// Looks for the living processes of these trees, in one pass over all processes.
fn members(children: &BTreeMap<u64, &Child>) -> Members {
    let by_secret: HashMap<&[u8], u64> =
        children.iter().map(|(key, it)| (it.identity.secret.as_bytes(), *key)).collect();
    let by_group: HashMap<Pid, u64> =
        children.iter().map(|(key, it)| (it.identity.pid, *key)).collect();
    let mut members = Members::default();
    let mut of_groups = Vec::new();
    for pid in proc::processes().unwrap_or_default() {
        let Some(stat) = proc::stat(pid).ok().flatten().filter(|stat| !stat.is_zombie()) else {
            continue;
        };
        let Some(pidfd) = stat.open() else { continue };
        let stray = Stray { pid, pidfd };
        match shown(pid) {
            Shown::Secret(secret) if by_secret.contains_key(&secret[..]) => {
                members.found.push((by_secret[&secret[..]], stray));
                continue;
            }
            Shown::Unclear => _ = members.unclear.insert(pid),
            Shown::Secret(_) | Shown::Nothing => {}
        }
        of_groups.extend(by_group.get(&stat.group).map(|key| (*key, stray)));
    }
    // The number of a group is its own for as long as anybody is in it, so it is asked for last.
    of_groups.retain(|(key, _)| tree::has_group(children[key]));
    members.found.extend(of_groups);
    members
}

/// What a process shows of whose it is.
enum Shown {
    Secret(Vec<u8>),
    Nothing,
    /// It shows no environment just now.
    Unclear,
}

fn shown(pid: Pid) -> Shown {
    if !proc::is_own(pid).unwrap_or(false) {
        return Shown::Nothing;
    }
    let environment = tree::environment(pid);
    match proc::variable_in(&environment, SECRET_VARIABLE) {
        Some(secret) if !secret.is_empty() => Shown::Secret(secret.to_vec()),
        None if environment.is_empty() && proc::is_within_exec(pid).unwrap_or(false) => {
            Shown::Unclear
        }
        _ => Shown::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_was_within_exec_at_the_first_look_is_waited_for() {
        let at = |ms| Now { unix_ms: 0, steady_ms: ms };
        let remains = |doubt: &mut Option<Doubt>, pids: &[Pid], ms| {
            Doubt::remains(doubt, &pids.iter().copied().collect(), DOUBT_MS, at(ms))
        };
        let mut doubt = None;
        assert!(remains(&mut doubt, &[1, 2], 5));
        assert!(remains(&mut doubt, &[2, 3], 25));
        assert!(!remains(&mut doubt, &[1, 3], 45), "1 had shown itself before");
        assert!(!remains(&mut None, &[], 5));

        let mut doubt = None;
        assert!(remains(&mut doubt, &[1], 5));
        assert!(!remains(&mut doubt, &[1], 5 + DOUBT_MS), "not for ever");
    }

    #[test]
    fn who_died_unseen_may_have_left_others() {
        let now = Now { unix_ms: 0, steady_ms: 5 };
        let remains = |doubt: &mut Option<Doubt>, pids: &[Pid]| {
            Doubt::remains(doubt, &pids.iter().copied().collect(), DOUBT_MS, now)
        };
        let mut doubt = None;
        assert!(remains(&mut doubt, &[1]));
        doubt.as_mut().unwrap().lost(2);
        doubt.as_mut().unwrap().lost(1);
        assert!(remains(&mut doubt, &[3]), "3 may be of 1");
        assert!(!remains(&mut doubt, &[4]), "and had shown itself");
    }
}
