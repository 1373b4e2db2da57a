//! The daemon around the core: sessions, passwords, the journal, and one line a command.
//!
//! A command that changes something is decided by the core on the newest state, put in line of the
//! journal, and answered when it is durable and its events have been handed out (`commits.rs`).
//! What is read comes from the durable state.

mod accounts;
mod attempts;
mod audit;
mod backup;
mod bounded;
mod breakdown;
mod by_session;
mod commits;
mod counters;
pub(crate) mod door;
mod export;
mod firing;
mod first;
mod flags;
mod hand_out;
mod hashing;
mod import;
mod legacy;
mod login;
pub(crate) mod offline;
mod opts;
mod outages;
mod password;
mod proof;
mod reading;
mod refusals;
mod snapshots;
mod store;
mod tap;
mod tokens;
mod tree_commands;
mod upkeep;
mod visitor;
mod visitors;
mod watch_commands;
mod watchers;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use daemon::{BindError, Daemon, Data, DataError, Failure, Guest, Session};
use journal::Store;
use state::{
    Limits, Operation, Refusal, Request,
    account::{Secret, Time},
    actor::{Actor, SessionId},
    log::ChangeLog,
};
use tokio::sync::{Notify, mpsc, oneshot};

use self::{
    attempts::Attempts, breakdown::Breakdown, commits::Commits, firing::Firing, hashing::Hashing,
    password::Cost, refusals::Refusals, snapshots::Snapshots, store::LoadError, visitor::Visitor,
    watchers::Watchers,
};

pub(crate) use breakdown::Broken;
pub(crate) use flags::{Own, USUAL, settings};

/// The state server, as its guests see it.
#[derive(Debug)]
pub(crate) struct Server {
    limits: Limits,
    /// The longest result, in bytes, and the longest event.
    result_bytes: usize,
    /// The most keys that are told at once.
    keys: usize,
    sessions_per_user: usize,
    commits: Arc<Mutex<Commits>>,
    journal: Arc<Store>,
    data: Data,
    /// The first part of the ids of all sessions of this process.
    boot: String,
    /// Where passwords are hashed, and what that costs.
    hashing: Hashing,
    cost: Cost,
    attempts: Mutex<Attempts>,
    refusals: Mutex<Refusals>,
    /// A hash of nothing: somebody unknown costs as much as somebody known.
    nobodys: Secret,
    /// Sessions that are over. One message a session, so never more than there were connections.
    departed: mpsc::UnboundedSender<SessionId>,
    departures: Mutex<Option<mpsc::UnboundedReceiver<SessionId>>>,
    /// The next time at which something fires may be another.
    timers_changed: Arc<Notify>,
    firing: Firing,
    snapshots: Snapshots,
    breakdown: Breakdown,
}

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error("there is no home directory, so say `--data DIR`")]
    NoData,

    #[error(transparent)]
    Data(#[from] DataError),

    #[error(transparent)]
    Offline(#[from] offline::OfflineError),

    #[error(transparent)]
    Load(LoadError),

    #[error(
        "what is stored is damaged; `state check` tells all, `state restore FOLDER` begins anew"
    )]
    Damaged(#[source] LoadError),

    #[error("cannot write `{}`", path.display())]
    Password { path: PathBuf, source: std::io::Error },

    #[error(
        "argon2id can't hash with {} KiB, {} passes and {} lanes",
        .0.memory_kib, .0.passes, .0.lanes
    )]
    Cost(Cost),

    #[error("cannot start a thread for passwords")]
    Hashing(#[source] std::io::Error),

    #[error("the first account cannot be made: {0}")]
    Root(String),

    #[error(transparent)]
    Bind(#[from] BindError),

    #[error(transparent)]
    Door(#[from] door::DoorError),

    /// There was one, until now.
    #[error(transparent)]
    Broken(#[from] Broken),
}

impl From<LoadError> for StartError {
    /// What to do about damage is of no use against a disk or another process.
    fn from(error: LoadError) -> Self {
        if error.is_damage() { Self::Damaged(error) } else { Self::Load(error) }
    }
}

/// The commands over `server`.
#[rustfmt::skip] // A table: one row a command.
pub(crate) fn daemon(server: Server) -> Daemon<Server> {
    Daemon::with_state("State", server)
        .version(env!("CARGO_PKG_VERSION"))
        .command("get", Server::get).args(["path", "opts"]).help("The value at a path, as far as you may read it; {\"rev\",\"depth\"}")
        .command("keys", Server::keys).args(["path", "opts"]).help("The keys at a path, sorted; {\"after\",\"limit\"}")
        .command("create", Server::create).args(["path", "name", "value", "opts"]).help("A new member, which is yours; {\"ephemeral\"}")
        .command("update", Server::update).args(["path", "value", "opts"]).help("Another value; {\"ifRev\",\"ifValue\",\"parents\",\"req\",\"dry\"} here and below")
        .command("merge", Server::merge).args(["path", "patch", "opts"]).help("A merge patch, RFC 7396: null removes")
        .command("delete", Server::delete).args(["path", "opts"]).help("Nothing there any more")
        .command("updatePerms", Server::update_perms).args(["path", "user", "perms", "opts"]).help("What `user`, or everybody (`*`), may do: {\"lvl\":1..4,\"!\":true}, or null")
        .command("getPerms", Server::get_perms).args(["path"]).help("Your level, and for an OWNER all entries")
        .command("batch", Server::batch).args(["ops", "opts"]).help("Several changes, all or nothing: [[\"update\",[\"a\"],1],…]")
        .command("subscribe", Server::subscribe).args(["pattern", "opts"]).feeds().help("Changes of what a path selects (`*`, and `**` at its end), after a `sync`; null: only messages; {\"name\",\"src\",\"echo\",\"since\",\"history\"}")
        .command("subscribeSync", Server::subscribe_sync).args(["path"]).feeds().help("One `sync` event")
        .command("unsubscribe", Server::unsubscribe).args(["which", "opts"]).help("Ends subscriptions, by id or pattern")
        .command("emit", Server::emit).args(["user", "name", "payload", "opts"]).help("A message to all sessions of a user; not kept")
        .command("gc", Server::gc).args(["path", "triggers", "opts"]).help("Deletes the path when the first trigger fires: {\"on\":\"disconnect\"}, {\"on\":\"after\",\"ms\":1000}, …")
        .command("ungc", Server::ungc).args(["id"]).help("Takes that back")
        .accounts(Server::auth)
        .command("logout", Server::logout).help("Nobody again")
        .command("createToken", Server::create_token).args(["opts"]).help("A token to log in with, shown once; {\"path\",\"lvl\",\"ttl\",\"user\",\"service\",\"as\"}")
        .command("listTokens", Server::list_tokens).args(["user"]).help("Whose tokens there are, without the tokens")
        .command("revokeToken", Server::revoke_token).args(["id"]).help("Ends a token, and the sessions that it opened")
        .command("createUser", Server::create_user).args(["username", "password", "opts"]).help("A new account; {\"level\"}")
        .command("changePassword", Server::change_password).args(["new", "current", "user"]).help("Another password; ends the user's other sessions")
        .command("updateUserLevel", Server::update_user_level).args(["user", "level"]).help("0 ROOT, 1 USER, 2 PRGM")
        .command("deleteUser", Server::delete_user).args(["user", "opts"]).help("An account with all it has; {\"keepHome\"}; null is yourself")
        .command("listUsers", Server::list_users).args(["opts"]).help("Names, levels, sessions")
        .command("saveServerState", Server::save).help("A snapshot, now")
        .command("backup", Server::backup).args(["name"]).help("A copy of everything, for `state restore`")
        .command("setQuota", Server::set_quota).args(["path", "quota"]).help("How much may lie below a path: {\"bytes\",\"nodes\"}, or null")
        .command("stats", Server::stats).help("Counters")
        .service(|server, shutdown| async move { server.hand_out(shutdown).await })
}

impl Server {
    /// Opens what is kept in the data directory, and makes the first account if there is none; also
    /// where it is heard that it has to end.
    pub(crate) async fn start(
        flags: &daemon::flags::Flags,
        own: &Own,
    ) -> Result<(Self, oneshot::Receiver<Broken>), StartError> {
        let cost = own.cost();
        if !cost.is_possible() {
            return Err(StartError::Cost(cost));
        }
        let path = flags.data_path("State").ok_or(StartError::NoData)?;
        let data = Data::open(&path)?;
        offline::is_not_between(data.path())?;
        let journal = data.path().join(offline::JOURNAL);
        let mut past = ChangeLog::new(own.log());
        let (journal, state, unsaved) = store::open(&journal, own.journal(), &mut past).await?;
        let (departed, departures) = mpsc::unbounded_channel();
        let timers_changed = Arc::<Notify>::default();
        let (breakdown, broken) = Breakdown::new();
        let watchers = Watchers::new(own.queue(), Arc::clone(&timers_changed));
        let server = Self {
            limits: own.limits(),
            result_bytes: flags.settings().limits.result_bytes,
            keys: own.keys(),
            commits: Arc::new(Mutex::new(Commits::new(state, past, watchers).audited(own.audit()))),
            snapshots: Snapshots::new(own.snapshot_bytes(), unsaved),
            sessions_per_user: own.sessions_per_user(),
            journal: Arc::new(journal),
            data,
            boot: password::random_hex(8),
            hashing: Hashing::start(own.hashers()).map_err(StartError::Hashing)?,
            cost,
            attempts: Mutex::new(Attempts::new(own.attempts())),
            refusals: Mutex::new(Refusals::new(own.is_audited())),
            nobodys: cost.hash(&password::random_hex(16)),
            departed,
            departures: Mutex::new(Some(departures)),
            timers_changed,
            breakdown,
            firing: Firing::default(),
        };
        // Nobody else settles yet.
        tokio::select! {
            made = server.make_root(own.root_password_hash()) => made?,
            () = server.settle_for_ever() => {}
        }
        Ok((server, broken))
    }

    fn commits(&self) -> MutexGuard<'_, Commits> {
        self.commits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn directory(&self) -> &Path {
        self.data.path()
    }

    fn attempts(&self) -> MutexGuard<'_, Attempts> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refusals(&self) -> MutexGuard<'_, Refusals> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_departures(&self) -> Option<mpsc::UnboundedReceiver<SessionId>> {
        self.departures.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The session, known from now on.
    fn enter(&self, guest: &Guest, visitor: &Session<Visitor>) -> SessionId {
        visitor.enter(guest, &self.boot, &self.departed)
    }

    /// Does something that nobody asked for.
    async fn perform_as_server(&self, operation: Operation) -> Result<(), Failure> {
        let request = Request::one(operation, now());
        let decided =
            self.commits().submit(&*self.journal, &self.limits, &Actor::server(), &request)?;
        decided.settled().await.map(|_| ())
    }
}

/// The time of day.
fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(Time::MAX)
}

/// A refusal of the core, as an answer.
fn refused(refusal: &Refusal) -> Failure {
    let failure = Failure::new(refusal.code(), refusal.to_string());
    match refusal {
        Refusal::Conflict { rev } => failure.with("rev", rev),
        _ => failure,
    }
}

/// The same of a batch.
fn failed(failure: &state::Failure) -> Failure {
    let told = refused(&failure.refusal);
    match failure.index {
        Some(index) => told.with("index", index),
        None => told,
    }
}

/// A result that is longer than one may be.
fn too_long(limit: usize) -> Failure {
    let message = format!("the result has more than {limit} bytes");
    Failure::new("too-large", message).with("limit", limit)
}
