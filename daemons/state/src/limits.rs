//! How much is let in.

use crate::account::Quota;

/// What is asked of every request besides permissions. Not part of the state: what was let in once
/// stays, whatever is set later.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The largest value of one operation.
    pub value_bytes: usize,
    /// Of the whole tree.
    pub tree: Quota,
    /// Of a home, unless another is set for it.
    pub home: Quota,
    /// Operations of a batch.
    pub batch: usize,
    /// Registrations of a user.
    pub registrations: u32,
    /// Tokens of a user.
    pub tokens: usize,
    /// Permission entries of a node.
    pub entries: usize,
    /// Subscriptions of a session.
    pub subscriptions: usize,
    /// Anonymous sessions may do what entries for everybody allow.
    pub allows_anonymous: bool,
    /// Anonymous sessions may make accounts.
    pub self_register: bool,
}

impl Default for Limits {
    fn default() -> Self {
        const MIB: usize = 1 << 20;
        Self {
            value_bytes: MIB,
            tree: Quota { bytes: 1024 * MIB, nodes: 5_000_000 },
            home: Quota { bytes: 64 * MIB, nodes: 200_000 },
            batch: 1000,
            registrations: 10_000,
            tokens: 1000,
            entries: 1000,
            subscriptions: 1000,
            allows_anonymous: false,
            self_register: false,
        }
    }
}
