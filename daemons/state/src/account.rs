//! Users, the tokens they come with, and what they may fill.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    actor::Service,
    level::{Level, Rank},
    name::UserName,
    node::Totals,
    path::Path,
};

/// Milliseconds since 1970-01-01 UTC. The core is told it and never asks.
pub type Time = u64;

/// Something that only whoever verifies it may see: the hash of a password or token. It is written
/// into records and snapshots, and into nothing that people read.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// What is to be kept.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// For whoever verifies it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// A user. What is secret in it is opaque here: whoever verifies passwords makes and reads it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// What kind of user it is.
    pub rank: Rank,
    /// The hash of the password; scripts have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// How many registrations to delete something it has.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub registrations: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// The public name of a token, by which it is listed and revoked.
pub type TokenId = String;

/// Something that opens a session without a password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// The hash of what has to be shown.
    pub hash: Secret,
    /// As whom the session is.
    pub user: UserName,
    /// Where it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<Path>,
    /// The most that it allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<Level>,
    /// From when on it opens nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Time>,
    /// What it lets a daemon do for users.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<Service>,
    /// Made by the user himself, who had shown his password: it goes when that changes.
    #[serde(default)]
    pub is_own: bool,
}

impl Token {
    /// Whether it opens a session at `now`.
    pub fn is_valid(&self, now: Time) -> bool {
        self.expires.is_none_or(|it| now < it)
    }
}

/// How much may lie at and below a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quota {
    /// As [`Totals::bytes`] counts them.
    pub bytes: usize,
    /// Containers and scalars alike.
    pub nodes: usize,
}

impl Quota {
    /// Whether `after` is too much. Who has too much already may still make it less.
    pub fn is_broken(self, before: Totals, after: Totals) -> bool {
        let breaks = |limit, before, after| after > limit && after > before;
        breaks(self.bytes, before.bytes, after.bytes)
            || breaks(self.nodes, before.nodes, after.nodes)
    }
}
