//! The flags that only this daemon has, and its bounds.

use std::time::Duration;

use clap::Args;
use daemon::{
    Settings,
    flags::{Flags, parse_duration},
};
use state::{Limits, account::Quota};

/// What can be set besides the flags of every daemon.
#[derive(Args, Clone, Debug)]
pub(crate) struct Own {
    /// Let sessions that have not logged in do what entries for everybody (`*`) allow
    #[arg(long)]
    anonymous: bool,

    /// Let sessions that have not logged in make accounts
    #[arg(long)]
    self_register: bool,

    /// How long the first change of a group waits for others before it is written
    #[arg(long, value_name = "TIME", default_value = "0ms", value_parser = parse_duration)]
    commit_delay: Duration,

    /// Length of a file of the journal; a snapshot frees whole files
    #[arg(long, value_name = "BYTES", default_value_t = journal::Options::default().segment_bytes, help_heading = "Limits")]
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

    /// Permission entries of one node
    #[arg(long, value_name = "ENTRIES", default_value_t = Limits::default().entries, help_heading = "Limits")]
    entries: usize,

    /// Subscriptions of one session
    #[arg(long, value_name = "SUBSCRIPTIONS", default_value_t = Limits::default().subscriptions, help_heading = "Limits")]
    subscriptions: usize,
}

impl Own {
    pub(crate) fn limits(&self) -> Limits {
        Limits {
            value_bytes: self.value_bytes,
            tree: Quota { bytes: self.tree_bytes, nodes: self.tree_nodes },
            home: Quota { bytes: self.home_bytes, nodes: self.home_nodes },
            batch: self.batch,
            registrations: self.registrations,
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

/// A packet may be twice as large as a value, and deeper by what stands around one.
const PACKET_BYTES: usize = 2 << 20;
const DEPTH: u32 = 72;

/// Where to listen and what to bound: larger packets than usual, unless told otherwise.
pub(crate) fn settings(flags: &Flags) -> Settings {
    let mut settings = flags.settings();
    let usual = daemon::Limits::default();
    let limits = &mut settings.limits;
    if limits.packet_bytes == usual.packet_bytes {
        limits.packet_bytes = PACKET_BYTES;
    }
    if limits.depth == usual.depth {
        limits.depth = DEPTH;
    }
    settings
}
