//! The daemon around the hub: the door for AceBase clients, the commands for everybody else.
//!
//! All peers and guests share one [`Hub`] behind a lock that nobody holds while he waits.

mod admin;
mod connect;
mod door;
mod failures;
mod flags;
mod guests;
mod http;
mod large;
mod legacy;
mod listen;
mod mailbox;
mod meter;
mod metrics;
mod peer;
mod posted;
mod rate;
mod tls;

use std::{
    error::Error,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use daemon::{BindError, Daemon, Seldom, causes, flags::Usual};
use relay::Hub;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};
use websocket::{Access, Control, LimitsError};

use self::{
    door::{DoorError, Settled},
    failures::Failures,
    flags::{Terms, TermsError},
    large::Larges,
    mailbox::Mailbox,
    posted::Posting,
    tls::Tls,
};

pub(crate) use door::{Doors, open};
pub(crate) use flags::Own;

/// What the daemon is called unless it is installed under another name.
pub(crate) const NAME: &str = "Relay";

/// The relay, as its guests see it. A clone is the same.
#[derive(Clone, Debug)]
pub(crate) struct Relay(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    hub: Mutex<Hub<Mailbox>>,
    larges: Larges,
    posting: Posting,
    failures: Mutex<Failures>,
    terms: RwLock<Arc<Terms>>,
    control: Control,
    access: Arc<Access>,
    /// Where TLS is spoken at the door.
    tls: Option<Tls>,
    /// Whether other machines reach the door.
    is_public: bool,
    settled: Settled,
    /// How those are told of who are turned away.
    turned_away: Seldom,
    turned_away_at_door: Seldom,
    /// How often the terms have changed.
    changes: AtomicU64,
    begun: Instant,
    /// When that was, in ms since 1970.
    begun_ms: u64,
    /// Somebody wants the relay to end.
    drained: Notify,
    /// True once it ends.
    ending: watch::Sender<bool>,
}

/// Who listens gets at once what is known of a database.
const USUAL: [Usual<'static>; 2] =
    [Usual::new("stream-packets", "4096"), Usual::new("stream-bytes", "33554432")];

/// Why there is no relay.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error(transparent)]
    Bind(#[from] BindError),

    #[error(transparent)]
    Door(#[from] DoorError),

    #[error(transparent)]
    Terms(#[from] TermsError),

    #[error("these limits make no sense")]
    Limits(#[from] LimitsError),

    #[error("cannot write `{}`", path.display())]
    PortFile { path: PathBuf, source: std::io::Error },
}

/// The commands over `relay`.
#[rustfmt::skip] // A table: one row a command.
pub(crate) fn daemon(relay: Relay) -> Daemon<Relay> {
    Daemon::with_state(NAME, relay)
        .version(env!("CARGO_PKG_VERSION"))
        .command("dbs", Relay::dbs).auth().help("Databases in which somebody is")
        .command("peers", Relay::peers).auth().args(["db"]).help("Who is in a database, in the order in which they came")
        .command("send", Relay::send).auth().args(["db", "to", "text"]).help("A message to one peer; an object is sent as JSON")
        .command("broadcast", Relay::broadcast).auth().args(["db", "text"]).help("A message to all other peers")
        .command("join", Relay::join).auth().args(["db", "id"]).help("You are a peer now: listed, announced, addressable")
        .command("leave", Relay::leave).auth().args(["db"]).help("And are none any more")
        .command("receive", Relay::receive).auth().args(["db", "opts"]).help("What you are sent as a peer; without `join` all that is sent; {\"presence\":true,\"after\":n}")
        .command("kick", Relay::kick).auth().args(["db", "id"]).help("Sends a peer away; AceBase's own come back")
        .command("stats", Relay::stats).auth().help("Counters")
        .command("reload", Relay::reload).auth().help("Reads flags, files and tokens again; who is connected stays")
        .command("drain", Relay::drain).auth().help("Ends, after what was sent has been read")
        .service(large::expire)
        .service(guests::reload_on_hangup)
}

impl Relay {
    /// A relay that nobody reaches yet but by `doors`.
    pub(crate) fn new(own: &Own, terms: Terms, doors: &Doors) -> Self {
        Self(Arc::new(Inner {
            hub: Mutex::new(Hub::new(own.bounds())),
            larges: Larges::new(own.large()),
            posting: Posting::default(),
            failures: Mutex::default(),
            terms: RwLock::new(Arc::new(terms)),
            control: doors.control(),
            access: doors.access(),
            tls: doors.tls(),
            is_public: doors.is_public(),
            settled: doors.settled(),
            turned_away: Seldom::of_those_turned_away(),
            turned_away_at_door: Seldom::of_those_turned_away(),
            changes: AtomicU64::new(0),
            begun: Instant::now(),
            begun_ms: clock_ms(),
            drained: Notify::new(),
            ending: watch::Sender::new(false),
        }))
    }

    /// What holds now.
    fn terms(&self) -> Arc<Terms> {
        Arc::clone(&self.0.terms.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What holds now, if that is another than after so many changes.
    fn changed_terms(&self, changes: &mut u64) -> Option<Arc<Terms>> {
        let now = self.0.changes.load(Relaxed);
        (std::mem::replace(changes, now) != now).then(|| self.terms())
    }

    fn hub(&self) -> MutexGuard<'_, Hub<Mailbox>> {
        self.0.hub.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failures(&self) -> MutexGuard<'_, Failures> {
        self.0.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time since the start.
    fn now(&self) -> Duration {
        self.0.begun.elapsed()
    }

    /// A time since the start, in ms since 1970.
    fn clock_ms_at(&self, at: Duration) -> u64 {
        self.0.begun_ms + u64::try_from(at.as_millis()).unwrap_or(u64::MAX / 2)
    }

    /// The longest message that a WebSocket takes.
    fn max_payload(&self, terms: &Terms) -> usize {
        if self.0.tls.is_some() { terms.max_payload_tls } else { terms.max_payload }
    }

    /// Somebody may not come in, to a database if it came as far as that.
    fn note_turned_away(&self, db: Option<&str>, peer: Option<SocketAddr>, why: &dyn Error) {
        // Noise at the door must not hide who guesses tokens.
        let seldom = if db.is_some() { &self.0.turned_away } else { &self.0.turned_away_at_door };
        if let Some(unsaid) = seldom.note() {
            let (peer, refusal) = (peer.map(tracing::field::display), causes(why));
            tracing::info!(db, peer, refusal, unsaid, "turned away");
        }
    }

    /// A peer has gone.
    fn part(&self, db: &str, number: u64) {
        self.hub().leave(db, number);
        self.0.larges.leave(number);
    }
}

/// Reads flags with what is usual here, and with what old settings say.
pub(crate) fn with_usual<T>(read: impl FnOnce(&[Usual<'_>]) -> T) -> T {
    let old = legacy::usual(std::env::args().skip(1), |name| std::env::var(name).ok());
    let old = old.iter().map(|it| Usual { flag: it.flag, value: &it.value, by: Some(it.name) });
    read(&USUAL.into_iter().chain(old).collect::<Vec<_>>())
}

/// Lets this process open as many files as it may ever: each peer is one.
pub(crate) fn open_many_files() {
    let limit = getrlimit(Resource::Nofile);
    // It goes on with fewer if that fails, and says how many there are.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

fn clock_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX / 2)
}
