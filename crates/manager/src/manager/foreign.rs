use std::{
    collections::{HashMap, HashSet},
    io,
    time::Duration,
};

use rustix::process::geteuid;
use tokio::{
    io::unix::AsyncFd,
    sync::mpsc,
    task::{self, spawn_blocking},
};

use super::{
    Event,
    listing::{self, Listed},
    request::Answer,
};
use crate::{
    config::{Config, Scan},
    proc::{self, Stat},
    scan::{self, Cache, Foreign, Inode, Limits, Listener},
};

/// Between two looks for foreign daemons: the kernel does not tell when somebody listens.
pub(super) const PERIOD: Duration = Duration::from_secs(15);

/// The foreign daemons of this user, and the look for them.
#[derive(Debug)]
pub(super) struct Foreigners {
    /// Nobody looks, and nobody is known.
    is_off: bool,
    cache: Cache,
    /// The look that is on its way, with a copy of the cache: it may come to nothing.
    looking: Option<task::Id>,
    known: Vec<Foreign>,
    watched: HashSet<u32>,
    gone: Vec<u32>,
    answers: Vec<Answer>,
}

/// One look, on its way and back.
#[derive(Debug)]
pub struct Look {
    cache: Cache,
    ours: Vec<u32>,
    is_off: bool,
    outcome: io::Result<()>,
}

impl Foreigners {
    pub(super) fn new(config: Config) -> Self {
        Self {
            is_off: config.scan == Scan::Off,
            cache: Cache::new(geteuid().as_raw(), config.scan_ignore),
            looking: None,
            known: vec![],
            watched: HashSet::new(),
            gone: vec![],
            answers: vec![],
        }
    }

    /// A look to run, unless one is on its way.
    pub(super) fn look(&mut self, answer: Option<Answer>, ours: Vec<u32>) -> Option<Look> {
        self.answers.extend(answer);
        if self.looking.is_some() {
            return None;
        }
        Some(Look { cache: self.cache.clone(), ours, is_off: self.is_off, outcome: Ok(()) })
    }

    /// A look has begun.
    pub(super) fn looks(&mut self, task: task::Id) {
        self.looking = Some(task);
    }

    /// A task has panicked. If it was the look, it is over, and nothing is known but what was
    /// before; says who is to be told so.
    pub(super) fn panicked(&mut self, task: task::Id) -> Vec<Answer> {
        if self.looking != Some(task) {
            return vec![];
        }
        self.looking = None;
        self.gone.clear();
        std::mem::take(&mut self.answers)
    }

    /// Takes a look back; says who is answered by it, and whose end is to be watched.
    pub(super) fn looked(&mut self, look: Look) -> (Vec<Answer>, Vec<u32>) {
        if let Err(error) = look.outcome {
            tracing::warn!(%error, "cannot look for foreign daemons");
        }
        (self.cache, self.looking) = (look.cache, None);
        for pid in self.gone.drain(..) {
            self.cache.gone(pid);
        }
        self.known = self.cache.list().into_iter().cloned().collect();
        let pids = self.known.iter().map(|it| it.process.pid);
        let new: Vec<u32> = pids.filter(|&pid| self.watched.insert(pid)).collect();
        (std::mem::take(&mut self.answers), new)
    }

    /// A foreign daemon has ended.
    pub(super) fn ended(&mut self, pid: u32) {
        self.watched.remove(&pid);
        self.known.retain(|it| it.process.pid != pid);
        self.cache.gone(pid);
        // The look does not know it yet.
        self.gone.extend(self.looking.map(|_| pid));
    }

    /// All of them as they stand in listings.
    pub(super) fn listed(&self) -> impl Iterator<Item = Listed<'_>> {
        self.known.iter().map(|it| listing::foreign(it, self.note(it)))
    }

    /// The oldest of that name, as it stands in listings.
    pub(super) fn find(&self, name: &str) -> Option<Listed<'_>> {
        self.oldest(name).map(|it| listing::foreign(it, self.note(it)))
    }

    fn oldest(&self, name: &str) -> Option<&Foreign> {
        self.of_name(name).min_by_key(|it| (it.process.started, it.process.pid))
    }

    fn of_name(&self, name: &str) -> impl Iterator<Item = &Foreign> {
        self.known.iter().filter(move |it| it.credential.name.eq_ignore_ascii_case(name))
    }

    /// Who of several with one name is found by it.
    fn note(&self, foreign: &Foreign) -> Option<String> {
        let name = &foreign.credential.name;
        let count = self.of_name(name).count();
        let oldest = self.oldest(name).filter(|_| count > 1)?.process.pid;
        Some(format!("{count} are called `{name}`; `find` gives the oldest, pid {oldest}"))
    }
}

impl Look {
    /// Reads the kernel's tables and asks each new socket once.
    pub(super) async fn run(mut self) -> Self {
        if !self.is_off {
            self.outcome = self.ask().await;
        }
        self
    }

    async fn ask(&mut self) -> io::Result<()> {
        let table = spawn_blocking(scan::listeners).await??;
        let fresh = self.cache.fresh(&table);
        if fresh.is_empty() {
            return Ok(());
        }
        let inodes: HashSet<Inode> = fresh.iter().map(|it| it.inode).collect();
        let (owners, ours) = spawn_blocking({
            let roots = self.ours.clone();
            move || owners_and_ours(&inodes, &roots)
        })
        .await??;
        let targets = self.cache.ask(fresh, &owners, &ours);
        for (Listener { inode, .. }, answer) in scan::probe_all(targets, Limits::FOREIGN).await {
            // Who has answered stands in the list from now on.
            _ = self.cache.answered(inode, answer);
        }
        Ok(())
    }
}

type Owners = HashMap<Inode, Vec<Stat>>;

fn owners_and_ours(inodes: &HashSet<Inode>, roots: &[u32]) -> io::Result<(Owners, HashSet<u32>)> {
    let owners = scan::owners(inodes)?;
    let mut ours = HashSet::new();
    for &root in roots {
        match root == std::process::id() {
            true => _ = ours.insert(root),
            false => ours.extend(proc::tree(root)?),
        }
    }
    Ok((owners, ours))
}

/// Waits for the end of a foreign daemon.
pub(super) async fn watch(pid: u32, mailbox: mpsc::Sender<Event>) {
    #[expect(deprecated, reason = "an `OwnedFd` has the safety that the new, unsafe one asks for")]
    if let Ok(pidfd) = proc::open(pid)
        && let Ok(pidfd) = AsyncFd::new(pidfd)
    {
        // A pidfd is readable once its process has ended.
        drop(pidfd.readable().await);
    }
    drop(mailbox.send(Event::ForeignEnded(pid)).await);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_look_that_panics_costs_neither_the_next_one_nor_what_is_known() {
        let mut foreigners = Foreigners::new(Config::default());
        let look = foreigners.look(None, vec![]).unwrap();
        let mut tasks = task::JoinSet::new();
        let task = tasks.spawn(async move {
            let _taken = look;
            panic!("as a broken look would");
        });
        foreigners.looks(task.id());
        let (answer, told) = Answer::new();
        assert!(foreigners.look(Some(answer), vec![]).is_none(), "one is on its way");

        let error = tasks.join_next().await.unwrap().unwrap_err();
        for answer in foreigners.panicked(error.id()) {
            answer.send(Ok(1.into()));
        }

        assert_eq!(told.await.unwrap().unwrap(), 1);
        assert!(foreigners.look(None, vec![]).is_some());
    }
}
