//! Trees that are being killed, and trees that are empty.

use std::collections::{BTreeSet, HashSet};
use std::path::Path;

use super::cgroups::Cgroups;
use super::child::Child;
use super::clock::Now;
use super::stray::Doubt;
use super::tree::{self, DOUBT_MS};
use super::turn::{Keeper, RECHECK_MS};
use crate::cgroup::Cgroup;

/// How soon a cgroup is looked at again that cannot be watched.
const UNWATCHED_MS: u64 = 100;

impl Keeper {
    /// Goes on killing, and sees which trees are empty. Nothing else empties one: its last process
    /// is always a child of the keeper, so its end is a SIGCHLD, or its cgroup says so.
    pub(super) fn sweep_and_check(&mut self, now: Now) {
        self.reserve.release();
        self.is_check_wanted = false;
        self.recheck_at_ms = None;
        self.check_strays(now);
        self.check_trees(now);
        let killed = |(_, child): &(&u64, &Child)| child.is_swept() && !self.is_dying(child);
        let keys: BTreeSet<u64> =
            self.children.iter().filter(killed).map(|(key, _)| *key).collect();
        self.tidy_cgroups();
        if self.cgroups.as_ref().is_some_and(Cgroups::take_unwatched) {
            let at = now.steady_ms + UNWATCHED_MS;
            self.recheck_at_ms = Some(self.recheck_at_ms.map_or(at, |it| it.min(at)));
        }
        if keys.is_empty() {
            return;
        }
        self.orphans.sweep(&keys, &self.children, now);
        for key in keys {
            if let Some(child) = self.children.get_mut(&key) {
                child.sweeps_left -= 1;
            }
        }
    }

    /// Whether the kernel is at it: all in the cgroup end, and only then it is looked for others.
    fn is_dying(&self, child: &Child) -> bool {
        child.identity.cgroup.is_some() && (child.is_led() || self.is_populated(child))
    }

    /// Whether somebody is in the child's cgroup; who is told so hears when that is over.
    pub(super) fn is_populated(&self, child: &Child) -> bool {
        let Some(cgroup) = &child.identity.cgroup else { return false };
        match &self.cgroups {
            Some(cgroups) => cgroups.is_populated(cgroup),
            None => cgroup.is_populated(),
        }
    }

    /// Removes the cgroups of spawns that have failed, once nobody is in them.
    fn tidy_cgroups(&mut self) {
        let Some(cgroups) = self.cgroups.as_ref().filter(|_| self.is_untidy) else { return };
        let owned = self.children.values().filter_map(|child| child.identity.cgroup.as_ref());
        let owned: HashSet<&Path> = owned.map(Cgroup::path).collect();
        self.is_untidy = !cgroups.tidy(|path| owned.contains(path));
    }

    fn check_trees(&mut self, now: Now) {
        let is_open = |child: &Child| child.has_tree() && !child.is_adopted() && !child.is_led();
        if !self.children.values().any(is_open) {
            return;
        }
        let owners = self.orphans.owners(&self.children, now);
        let is_empty = |(key, child): &(&u64, &Child)| {
            is_open(child)
                && !owners.contains(key)
                && !tree::has_group(child)
                && !self.is_populated(child)
        };
        let empty: BTreeSet<u64> =
            self.children.iter().filter(is_empty).map(|(key, _)| *key).collect();
        for (_, child) in self.children.iter_mut().filter(|(key, _)| !empty.contains(key)) {
            child.doubt = child.doubt.take().filter(|_| child.is_adopted());
        }
        for key in empty {
            match self.is_in_doubt(key, now) {
                true => self.recheck_at_ms = Some(now.steady_ms + RECHECK_MS),
                false => self.tree_emptied(key, now),
            }
        }
    }

    /// Whether somebody may be left of a tree that seems to be empty.
    fn is_in_doubt(&mut self, key: u64, now: Now) -> bool {
        let Some(child) = self.children.get_mut(&key) else { return false };
        let unclear = self.orphans.unclear(child, now);
        Doubt::remains(&mut child.doubt, &unclear, DOUBT_MS, now)
    }

    pub(super) fn tree_emptied(&mut self, key: u64, now: Now) {
        let Some(child) = self.children.get_mut(&key) else { return };
        child.tree_emptied(now);
        if let Some(cgroup) = &child.identity.cgroup {
            cgroup.remove();
        }
        self.orphans.emptied(key);
        self.due.insert(key);
    }
}
