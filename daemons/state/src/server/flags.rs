//! The flags that only this daemon has, and its bounds.

use std::time::Duration;

use super::{audit::Audit, door::DoorFlags, offline::Offline};
use clap::{Args, builder::RangedU64ValueParser, value_parser};
use daemon::{
    Admission, Newcomers, Rate, Settings,
    flags::{Flags, Usual, parse_duration},
};
use state::{
    Limits,
    account::{Quota, Secret},
    log::LogLimits,
    queue::QueueLimits,
};

use super::{
    attempts::Allowed,
    password::{Cost, parse_hash},
};

/// A start reads at most so much of the journal, at some hundred MB a second.
const SNAPSHOT_BYTES: u64 = 256 << 20;

/// With shorter files nearly each change would begin one, and so sync a directory as well.
const SEGMENT_LEAST: u64 = 64 << 10;

/// What can be set besides the flags of every daemon.
#[derive(Args, Clone, Debug)]
pub(crate) struct Own {
    #[command(subcommand)]
    pub(crate) offline: Option<Offline>,

    #[command(flatten)]
    pub(crate) door: DoorFlags,

    /// Let sessions that have not logged in do what entries for everybody (`*`) allow
    #[arg(long)]
    anonymous: bool,

    /// Let sessions that have not logged in make accounts
    #[arg(long)]
    self_register: bool,

    /// Hash of the first password of `root`, such as $argon2id$v=19$m=19456,t=2,p=1$…; without,
    /// one is made up and told by a file. Once there is an account it means nothing
    #[arg(long, value_name = "HASH", value_parser = parse_hash)]
    root_password_hash: Option<Secret>,

    /// Write into the log who changed what and who was refused, as `audit`; never the values
    #[arg(long)]
    audit: bool,

    /// How long a group of changes waits at most for further ones, while these keep coming
    #[arg(long, value_name = "TIME", default_value = "2ms", value_parser = parse_duration)]
    commit_delay: Duration,

    /// Bytes of changes after which a snapshot is made; the journal behind it goes
    #[arg(long, value_name = "BYTES", default_value_t = SNAPSHOT_BYTES, help_heading = "Limits")]
    snapshot_bytes: u64,

    /// Length of a file of the journal, 64 KiB at least; a snapshot frees whole files
    #[arg(long, value_name = "BYTES", default_value_t = journal::Options::default().segment_bytes, value_parser = value_parser!(u64).range(SEGMENT_LEAST..), help_heading = "Limits")]
    segment_bytes: u64,

    /// Largest value, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = Limits::default().value_bytes, help_heading = "Limits")]
    value_bytes: usize,

    /// Largest tree, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = Limits::default().tree.bytes, help_heading = "Limits")]
    tree_bytes: usize,

    /// Most nodes
    #[arg(long, value_name = "NODES", default_value_t = Limits::default().tree.nodes, help_heading = "Limits")]
    tree_nodes: usize,

    /// Largest home, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = Limits::default().home.bytes, help_heading = "Limits")]
    home_bytes: usize,

    /// Most nodes of a home
    #[arg(long, value_name = "NODES", default_value_t = Limits::default().home.nodes, help_heading = "Limits")]
    home_nodes: usize,

    /// Operations of a batch
    #[arg(long, value_name = "OPERATIONS", default_value_t = Limits::default().batch, help_heading = "Limits")]
    batch: usize,

    /// Registrations (`gc`) of one user
    #[arg(long, value_name = "REGISTRATIONS", default_value_t = Limits::default().registrations, help_heading = "Limits")]
    registrations: u32,

    /// Tokens of one user
    #[arg(long, value_name = "TOKENS", default_value_t = Limits::default().tokens, help_heading = "Limits")]
    tokens: usize,

    /// Wrong passwords of a user, or from an address, in a minute
    #[arg(long, value_name = "PASSWORDS", default_value_t = 5, value_parser = value_parser!(u32).range(1..), help_heading = "Limits")]
    login_attempts: u32,

    /// Wrong passwords from this machine in a minute; whoever comes through a gateway is here too
    #[arg(long, value_name = "PASSWORDS", default_value_t = 1000, value_parser = value_parser!(u32).range(1..), help_heading = "Limits")]
    local_attempts: u32,

    /// Passwords that are hashed at once, 2 to 1024; one of them is of somebody logged in
    #[arg(long, value_name = "PASSWORDS", default_value_t = 2, value_parser = RangedU64ValueParser::<usize>::new().range(2..=1024), help_heading = "Limits")]
    hashers: usize,

    /// Memory that hashing a password takes (argon2id), in KiB
    #[arg(long, value_name = "KIB", default_value_t = Cost::default().memory_kib, help_heading = "Limits")]
    hash_memory: u32,

    /// How often it goes through that
    #[arg(long, value_name = "PASSES", default_value_t = Cost::default().passes, help_heading = "Limits")]
    hash_passes: u32,

    /// In how many lanes
    #[arg(long, value_name = "LANES", default_value_t = Cost::default().lanes, help_heading = "Limits")]
    hash_lanes: u32,

    /// Permission entries of one node
    #[arg(long, value_name = "ENTRIES", default_value_t = Limits::default().entries, help_heading = "Limits")]
    entries: usize,

    /// Subscriptions of one session
    #[arg(long, value_name = "SUBSCRIPTIONS", default_value_t = Limits::default().subscriptions, help_heading = "Limits")]
    subscriptions: usize,

    /// Events that wait for one session; beyond it they are dropped, and told by a `sync`
    #[arg(long, value_name = "EVENTS", default_value_t = QueueLimits::default().items, value_parser = RangedU64ValueParser::<usize>::new().range(1..), help_heading = "Limits")]
    queue_events: usize,

    /// Bytes of events that wait for one session
    #[arg(long, value_name = "BYTES", default_value_t = QueueLimits::default().bytes, help_heading = "Limits")]
    queue_bytes: usize,

    /// How long a session whose events were dropped may read nothing
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_duration, help_heading = "Limits")]
    queue_patience: Duration,

    /// How long changes are kept for who comes back (`since`)
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = parse_duration, help_heading = "Limits")]
    since_age: Duration,

    /// Bytes of memory for them
    #[arg(long, value_name = "BYTES", default_value_t = LogLimits::default().bytes, help_heading = "Limits")]
    since_bytes: usize,

    /// Keys that `keys` tells at once
    #[arg(long, value_name = "KEYS", default_value_t = 1000, help_heading = "Limits")]
    keys: usize,

    /// Sessions of one user
    #[arg(long, value_name = "SESSIONS", default_value_t = 100, help_heading = "Limits")]
    sessions_per_user: usize,

    /// Requests of one session in a second
    #[arg(long, value_name = "REQUESTS", default_value_t = 2000, value_parser = value_parser!(u32).range(1..), help_heading = "Limits")]
    rate: u32,

    /// Requests of one session at once
    #[arg(long, value_name = "REQUESTS", default_value_t = 4000, value_parser = value_parser!(u32).range(1..), help_heading = "Limits")]
    burst: u32,

    /// Longest packet of a session that has not logged in, unless `--anonymous`, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 64 << 10, help_heading = "Limits")]
    newcomer_packet_bytes: usize,

    /// Requests of a session that has not logged in, unless `--anonymous`, in a second
    #[arg(long, value_name = "REQUESTS", default_value_t = 20, value_parser = value_parser!(u32).range(1..), help_heading = "Limits")]
    newcomer_rate: u32,

    /// How long a session that has not logged in may ask nothing, unless `--anonymous`
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_duration, help_heading = "Limits")]
    newcomer_idle: Duration,
}

impl Own {
    pub(crate) fn is_audited(&self) -> bool {
        self.audit
    }

    pub(crate) fn audit(&self) -> Audit {
        Audit::new(self.audit)
    }

    pub(crate) fn snapshot_bytes(&self) -> u64 {
        self.snapshot_bytes
    }

    pub(crate) fn queue(&self) -> QueueLimits {
        QueueLimits {
            items: self.queue_events,
            bytes: self.queue_bytes,
            patience: u64::try_from(self.queue_patience.as_millis()).unwrap_or(u64::MAX),
        }
    }

    pub(crate) fn log(&self) -> LogLimits {
        let age = u64::try_from(self.since_age.as_millis()).unwrap_or(u64::MAX);
        LogLimits { age, bytes: self.since_bytes }
    }

    pub(crate) fn keys(&self) -> usize {
        self.keys
    }

    pub(crate) fn sessions_per_user(&self) -> usize {
        self.sessions_per_user
    }

    pub(crate) fn root_password_hash(&self) -> Option<Secret> {
        self.root_password_hash.clone()
    }

    pub(crate) fn attempts(&self) -> Allowed {
        Allowed { each: self.login_attempts, local: self.local_attempts }
    }

    pub(crate) fn hashers(&self) -> usize {
        self.hashers
    }

    pub(crate) fn cost(&self) -> Cost {
        let (memory_kib, passes, lanes) = (self.hash_memory, self.hash_passes, self.hash_lanes);
        Cost { memory_kib, passes, lanes }
    }

    /// How fast sessions may ask; stricter while nobody is logged in, who may do nothing anyway.
    pub(crate) fn admission(&self) -> Admission {
        let newcomers = Newcomers {
            packet_bytes: self.newcomer_packet_bytes,
            rate: Rate { per_second: self.newcomer_rate, burst: self.newcomer_rate },
            idle: self.newcomer_idle,
        };
        Admission {
            rate: Some(Rate { per_second: self.rate, burst: self.burst }),
            newcomers: (!self.anonymous).then_some(newcomers),
        }
    }

    pub(crate) fn limits(&self) -> Limits {
        Limits {
            value_bytes: self.value_bytes,
            tree: Quota { bytes: self.tree_bytes, nodes: self.tree_nodes },
            home: Quota { bytes: self.home_bytes, nodes: self.home_nodes },
            batch: self.batch,
            registrations: self.registrations,
            tokens: self.tokens,
            entries: self.entries,
            subscriptions: self.subscriptions,
            allows_anonymous: self.anonymous,
            self_register: self.self_register,
        }
    }

    pub(crate) fn journal(&self) -> journal::Options {
        let (commit_delay, segment_bytes) = (self.commit_delay, self.segment_bytes);
        journal::Options { commit_delay, segment_bytes, ..journal::Options::default() }
    }
}

/// What is usual here and not with other daemons: a packet may be twice as large as a value, and
/// deeper by what stands around one; and a server for many has many sessions.
pub(crate) const USUAL: &[Usual<'static>] = &[
    Usual::new("packet-bytes", "2097152"),
    Usual::new("depth", "72"),
    Usual::new("connections", "10000"),
];

/// Where to listen and what to bound.
pub(crate) fn settings(flags: &Flags, own: &Own) -> Settings {
    Settings { admission: own.admission(), ..flags.settings() }
}
