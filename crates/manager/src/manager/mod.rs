//! The owner of everything: one task with all daemons, the registry and the keeper's ear.
//!
//! Whatever wakes it is an [`Event`]. Most become an event of one child's table (`child.rs`), whose
//! actions it performs. It decides nothing that the tables decide, and waits for nothing: who has
//! to wait leaves a `Waiter` and is answered when a transition settles it.

mod act;
mod announced;
mod ended;
mod ending;
mod entry;
mod foreign;
mod listing;
mod plan;
mod purge;
mod readiness;
mod reconcile;
mod request;
mod slots;
mod sockets;
mod timers;
mod transition;
mod verbs;
mod waiters;
mod watchers;

use std::{
    collections::{BTreeMap, BTreeSet},
    future::pending,
    path::PathBuf,
    process,
    sync::Arc,
};

use common_tcp::Failure;
use tokio::{
    sync::mpsc,
    task::{JoinError, JoinSet, yield_now},
    time::{Instant, interval_at},
};

#[cfg(fuzzing)]
pub(crate) use self::plan::parse_env;
pub use self::request::{Answer, Asked, Request, Target, Verb};
use self::{
    ending::Ending, entry::Entry, foreign::Foreigners, slots::Slots, timers::Timers,
    waiters::Waiters, watchers::Watchers,
};
use crate::{
    child::{self, Child},
    config::Config,
    events::{self, Kind, What},
    identity::Identity,
    keeper::protocol::{Listed, Report},
    keeper_client::{Keeper, Message},
    name::Name,
    order::Order,
    paths::Paths,
    registry::Registry,
    scan, time,
};

/// Everything that can wake the manager.
#[derive(Debug)]
pub enum Event {
    /// A guest asks for something.
    Asked(Asked),
    /// The keeper says something.
    Reported {
        /// What.
        report: Report,
        /// Of a child that has exited: whether its whole tree has ended with it.
        is_empty: bool,
    },
    /// The keeper cannot be reached; it is tried again.
    KeeperLost {
        /// Why.
        why: String,
    },
    /// It can be reached again, or another one that has adopted its children.
    KeeperFound {
        /// What it has.
        children: Vec<Listed>,
        /// Where requests go from now on.
        requests: mpsc::Sender<Message>,
    },
    /// The search for a child's readiness has a result.
    Probed(child::Event, Name),
    /// A look for foreign daemons has ended.
    Scanned(foreign::Look),
    /// A foreign daemon has ended.
    ForeignEnded(u32),
    /// A signal asks the manager to end; the second one in a hurry.
    Signalled,
    /// A signal asks for the state of everything, in the log.
    DumpAsked,
}

/// Room for events; who has one more waits.
pub const MAILBOX: usize = 4096;

/// The manager.
#[derive(Debug)]
pub struct Manager {
    paths: Paths,
    port: u16,
    nofile: Option<u64>,
    started: Instant,
    base_environment: BTreeMap<String, String>,
    registry: Registry,
    order: Order,
    entries: BTreeMap<Name, Entry>,
    keeper: Keeper,
    mailbox: mpsc::Sender<Event>,
    events: mpsc::Receiver<Event>,
    /// Of guests that ask for more than their turn.
    asked: mpsc::Receiver<Asked>,
    history: Option<events::Writer>,
    timers: Timers,
    slots: Slots,
    waiters: Waiters,
    watchers: Watchers,
    foreigners: Foreigners,
    /// Searches for readiness and looks for foreign daemons; each ends by itself or is aborted by
    /// who started it.
    tasks: JoinSet<()>,
    ending: Option<Ending>,
    /// Whether what an earlier manager left has been taken over.
    has_begun: bool,
    /// Whose logs go too, once they have been uninstalled.
    purged: BTreeSet<Name>,
    last_spawn: u64,
}

/// What a manager begins with.
#[derive(Debug)]
pub struct Beginning {
    /// Where its files are.
    pub paths: Paths,
    /// Where it listens.
    pub port: u16,
    /// The soft limit of open files that daemons get; absent if there is none.
    pub nofile: Option<u64>,
    /// What the user has set.
    pub config: Config,
    /// What is installed.
    pub registry: Registry,
    /// The keeper, and what it already holds.
    pub keeper: Keeper,
    /// Where events come in.
    pub mailbox: mpsc::Sender<Event>,
    /// Where they are taken out.
    pub events: mpsc::Receiver<Event>,
    /// What guests ask for beyond their turn; it waits until there is nothing else.
    pub asked: mpsc::Receiver<Asked>,
}

impl Manager {
    /// A manager with all that is installed, at rest.
    #[must_use]
    pub fn new(beginning: Beginning) -> Self {
        let Beginning { paths, port, nofile, config, registry, keeper, mailbox, events, asked } =
            beginning;
        let history = events::Writer::open(&paths.events());
        if let Err(error) = &history {
            tracing::warn!(%error, "no history is written");
        }
        let entries = registry
            .iter()
            .map(|(name, definition)| {
                (name.clone(), Entry::new(Child::new(Arc::clone(definition))))
            })
            .collect();
        let order = registry.iter().map(|(name, definition)| (name, &**definition)).collect();
        Self {
            paths,
            port,
            nofile,
            started: Instant::now(),
            base_environment: plan::base_environment(),
            order,
            entries,
            registry,
            keeper,
            mailbox,
            events,
            asked,
            history: history.ok(),
            timers: Timers::default(),
            slots: Slots::new(),
            waiters: Waiters::default(),
            watchers: Watchers::default(),
            foreigners: Foreigners::new(config),
            tasks: JoinSet::new(),
            ending: None,
            has_begun: false,
            purged: BTreeSet::new(),
            last_spawn: 0,
        }
    }

    /// Starts what is enabled, and what the keeper still holds goes on.
    pub fn begin(&mut self, start_enabled: bool) {
        self.note("the manager has started", None);
        self.remove_purged();
        if let Some(problem) = listing::recovered(&self.registry) {
            self.note(&format!("the registry was broken: {problem}"), None);
        }
        let children = self.keeper.take_children();
        self.reconcile(children);
        if start_enabled {
            self.start_enabled();
        }
        self.tend_all_sockets();
    }

    fn start_enabled(&mut self) {
        let order: Vec<Name> = self.order.start_order().into_iter().cloned().collect();
        for name in order {
            // Who ended while nobody managed is at rest because its policy says so.
            let is_new = |entry: &&Entry| entry.child.state().is_at_rest() && !entry.is_adopted;
            let is_enabled = |entry: &Entry| entry.child.definition().enabled;
            if self.entries.get(&name).filter(is_new).is_some_and(is_enabled) {
                self.step(&name, child::Event::Start);
            }
        }
    }

    /// Runs until it is asked to end and everything has.
    pub async fn run(mut self) {
        let mut scan = interval_at(Instant::now() + foreign::PERIOD, foreign::PERIOD);
        scan.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            self.grant_slots();
            self.stop_next_wave();
            if self.has_ended() {
                break;
            }
            // All arms are cancel safe: what is not received stays where it is.
            tokio::select! {
                Some(event) = self.events.recv() => self.take(event),
                asked = beyond_their_turn(&mut self.asked) => self.answer(asked),
                (name, timer) = self.timers.elapsed() => self.elapsed(&name, timer),
                _ = scan.tick() => self.look(None),
                () = ending::patience_ends(self.ending.as_ref()) => self.hurry(),
                Some(joined) = self.tasks.join_next() => self.joined(joined),
            }
        }
        self.end().await;
    }

    fn elapsed(&mut self, name: &Name, timer: child::Timer) {
        let event = self.patience_with_adopted(name).unwrap_or(child::Event::Elapsed(timer));
        self.step(name, event);
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Asked(asked) => self.answer(asked),
            Event::Reported { report, is_empty } => self.reported(report, is_empty),
            Event::KeeperLost { why } => self.keeper_lost(why),
            Event::KeeperFound { children, requests } => {
                self.keeper.found(requests);
                self.note("the keeper is back", None);
                self.reconcile(children);
                self.tend_all_sockets();
            }
            Event::Probed(event, name) => self.step(&name, event),
            Event::Scanned(look) => self.looked(look),
            Event::ForeignEnded(pid) => self.foreigners.ended(pid),
            Event::Signalled => self.signalled(),
            Event::DumpAsked => self.dump(),
        }
    }

    fn signalled(&mut self) {
        match self.ending {
            None => self.begin_ending(false, None, None),
            Some(_) => self.hurry(),
        }
    }

    /// Those that run or want to.
    fn running(&self) -> impl Iterator<Item = (&Name, &Entry)> {
        self.entries.iter().filter(|(_, entry)| !entry.child.state().is_at_rest())
    }

    async fn end(mut self) {
        self.note("the manager has ended", None);
        let Some(ending) = self.ending.take() else { return };
        if !ending.keep {
            self.keeper.end().await;
        }
        self.tasks.shutdown().await;
        for answer in ending.answers {
            answer.send(Ok(serde_json::json!({ "v": 1, "stopped": ending.stopped })));
        }
    }

    /// Writes into the history.
    fn note(&mut self, text: &str, by: Option<&str>) {
        let what = What {
            kind: Kind::Note,
            name: None,
            by: by.map(Into::into),
            members: [("note".to_owned(), text.into())].into_iter().collect(),
        };
        self.record(what);
    }

    fn record(&mut self, what: What) {
        let Some(history) = &mut self.history else { return };
        match history.append(what, time::now_ms()) {
            Ok(event) => self.watchers.told(&event),
            Err(error) => tracing::warn!(%error, "the history has a gap"),
        }
    }

    fn identity_of(&self, name: &Name) -> Option<&Identity> {
        self.entries.get(name)?.identity.as_ref()
    }

    fn own_pids(&self) -> Vec<u32> {
        let children = self.entries.values().filter_map(|entry| entry.child.state().pid());
        // One that is spawned during a look is the keeper's.
        let keeper = self.keeper.pid();
        children.chain([process::id()]).chain(keeper).collect()
    }

    /// The socket that a daemon is given, if its path is short enough for one.
    fn socket_of(&self, name: &Name) -> Option<PathBuf> {
        self.paths.daemon_socket(name).ok()
    }

    /// Begins a look for foreign daemons, unless one is under way; `answer` is told when it has
    /// ended.
    fn look(&mut self, answer: Option<Answer>) {
        let ours = self.own_pids();
        if let Some(look) = self.foreigners.look(answer, ours) {
            let mailbox = self.mailbox.clone();
            let task = self.tasks.spawn(async move {
                let looked = look.run().await;
                // Without a manager nobody wants to know.
                drop(mailbox.send(Event::Scanned(looked)).await);
            });
            self.foreigners.looks(task.id());
        }
    }

    /// A task is over. One that panicked has said so on stderr, and owes somebody an answer.
    fn joined(&mut self, joined: Result<(), JoinError>) {
        let Some(error) = joined.err().filter(JoinError::is_panic) else { return };
        for answer in self.foreigners.panicked(error.id()) {
            answer.send(Err(Failure::internal("a look for foreign daemons has panicked")));
        }
    }

    fn looked(&mut self, look: foreign::Look) {
        let (answers, watch) = self.foreigners.looked(look);
        for pid in watch {
            let mailbox = self.mailbox.clone();
            self.tasks.spawn(foreign::watch(pid, mailbox));
        }
        let listing = self.listing_of_all();
        for answer in answers {
            answer.send(Ok(listing.clone()));
        }
    }

    fn listing_of_all(&self) -> serde_json::Value {
        let own: Vec<_> = self.all_listed(|_, _| true).collect();
        let foreign: Vec<_> = self.foreigners.listed().collect();
        serde_json::json!({ "v": 1, "own": own, "foreign": foreign })
    }
}

/// What a guest asks for that has had its turn, once nobody else is ready.
async fn beyond_their_turn(asked: &mut mpsc::Receiver<Asked>) -> Asked {
    if !asked.is_empty() {
        yield_now().await;
    }
    match asked.recv().await {
        Some(asked) => asked,
        None => pending().await,
    }
}

/// The kind of what is found on a port, for notes.
fn told(probe: &scan::Probe) -> String {
    match probe {
        scan::Probe::Credential(it) => format!("answers as `{}`", it.name),
        scan::Probe::Refused => "takes no connection".to_owned(),
        scan::Probe::Silent => "does not answer `dae`".to_owned(),
        scan::Probe::Closed => "closes without an answer".to_owned(),
        scan::Probe::Garbage(text) => format!("answers `{text}`"),
        scan::Probe::Failed(error) => format!("cannot be asked: {error}"),
    }
}
