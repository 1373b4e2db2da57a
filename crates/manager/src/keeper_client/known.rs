//! What the manager keeps of the keeper's children, for the keeper after it.

use std::{
    collections::BTreeMap,
    fs,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::sockets::Sockets;
use crate::{
    identity::Identity,
    keeper::{
        handed::Handed,
        protocol::{Adopt, Listed, LogSettings, Report, State},
    },
    proc::Pid,
};

/// All children that the keeper is not to forget.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    children: Arc<Mutex<BTreeMap<String, Child>>>,
    sockets: Arc<Mutex<Sockets>>,
}

#[derive(Debug, Default)]
struct Child {
    /// Absent until it is told that it runs.
    identity: Option<Identity>,
    /// Of the leader with this pid. Absent if this process had no room for more descriptors.
    handed: Option<(Pid, Handed)>,
}

/// For identities from before they said where the output goes, as are the two below.
const LOG_MAX_BYTES: u64 = 10 << 20;
const LOG_KEEP: usize = 10;
const LOG_PATIENCE_MS: u64 = 10_000;

impl Known {
    /// Takes note of what the keeper reports, before anybody hears it.
    pub(super) fn note(&self, report: &Report) {
        match report {
            Report::Spawned { identity, .. } => self.identify(identity),
            Report::Children(children) => self.list(children),
            Report::Verified(child) => self.list(std::slice::from_ref(child)),
            Report::Holds { name, sockets } => self.sockets().tell(name, sockets),
            _ => {}
        }
    }

    /// Takes the descriptors of a child.
    pub(super) fn hold(&self, name: String, pid: Pid, handed: Option<Handed>) {
        if handed.is_none() {
            tracing::warn!(
                name,
                pid,
                "no room for its descriptors: with its keeper its output would be lost"
            );
        }
        // One that has been forgotten meanwhile needs none.
        let mut known = self.lock();
        let is_it = |it: &&mut Child| it.identity.as_ref().is_some_and(|it| it.pid == pid);
        if let Some(child) = known.get_mut(&name).filter(is_it) {
            child.handed = handed.map(|handed| (pid, handed));
        }
    }

    /// Drops a child that has ended.
    pub(super) fn forget(&self, name: &str) {
        self.lock().remove(name);
    }

    /// What a keeper that listed `children` is to adopt: those known here, and those written down
    /// in `running`.
    pub(super) fn missing(
        &self,
        children: &[Listed],
        running: &Path,
        logs: &Path,
    ) -> Vec<Adoption> {
        let known = self.lock();
        let held = known.values().filter_map(|it| it.identity.clone());
        let held = held.map(|identity| Stored { identity, let_go: false });
        let stored = stored(running).into_iter().filter(|it| {
            let known = known.get(&it.identity.name).and_then(|it| it.identity.as_ref());
            it.let_go || known.is_none()
        });
        let missing = held.chain(stored).filter(|it| !children.iter().any(|child| it.is(child)));
        missing.map(|it| adoption(&known, it, logs)).collect()
    }

    fn identify(&self, identity: &Identity) {
        let mut known = self.lock();
        known.entry(identity.name.clone()).or_default().identity = Some(identity.clone());
    }

    /// Those that are not listed are adopted afterwards, so nobody is dropped here.
    fn list(&self, children: &[Listed]) {
        for child in children.iter().filter(|it| !it.let_go) {
            match child.state {
                State::Failed { .. } => self.forget(&child.name),
                _ => self.identify(&child.identity),
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Child>> {
        // Each change is one call, so that a panic elsewhere leaves nothing half done.
        self.children.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The listening sockets that the keeper holds.
    pub(super) fn sockets(&self) -> MutexGuard<'_, Sockets> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request to adopt, with the descriptors that go along.
#[derive(Debug)]
pub(super) struct Adoption {
    pub(super) adopt: Adopt,
    pub(super) handed: Option<Handed>,
}

fn adoption(known: &BTreeMap<String, Child>, stored: Stored, logs: &Path) -> Adoption {
    let Stored { mut identity, let_go } = stored;
    identity.log.get_or_insert_with(|| LogSettings {
        dir: logs.join(&identity.name),
        max_bytes: LOG_MAX_BYTES,
        keep: LOG_KEEP,
        patience_ms: LOG_PATIENCE_MS,
    });
    let held = known.get(&identity.name).and_then(|it| it.handed.as_ref());
    // Without room for copies it is adopted like one that nobody holds.
    let handed = held.filter(|(pid, _)| *pid == identity.pid).and_then(|(_, it)| copy(it));
    let carried = handed.as_ref().map(Handed::carried);
    Adoption { adopt: Adopt { identity, let_go, carried }, handed }
}

fn copy(handed: &Handed) -> Option<Handed> {
    let [out, err] = &handed.outputs;
    let copy = |pipe: &Option<OwnedFd>| pipe.as_ref().map(OwnedFd::try_clone).transpose();
    let outputs = [copy(out).ok()?, copy(err).ok()?];
    Some(Handed { pidfd: handed.pidfd.try_clone().ok()?, outputs })
}

/// A child that is to be adopted.
struct Stored {
    identity: Identity,
    /// Whether its name is the next child's.
    let_go: bool,
}

impl Stored {
    fn is(&self, listed: &Listed) -> bool {
        let is_same = !self.let_go || listed.identity.pid == self.identity.pid;
        listed.name == self.identity.name && listed.let_go == self.let_go && is_same
    }
}

/// The identities that keepers have written down; a file that is none tells of nobody.
fn stored(running: &Path) -> Vec<Stored> {
    let files = fs::read_dir(running).into_iter().flatten().flatten().map(|it| it.path());
    let files = files.filter(|it| it.extension().is_some_and(|it| it == "json"));
    let load = |file: PathBuf| {
        let let_go = file.file_stem().is_some_and(|it| it.to_string_lossy().contains('@'));
        Some(Stored { identity: Identity::load(&file).ok()?, let_go })
    };
    files.filter_map(load).collect()
}
