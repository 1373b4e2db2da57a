//! What ends the life of a node that nobody deletes by hand.

use serde::{Deserialize, Serialize};

use crate::{account::Time, actor::SessionId, name::UserName, path::Path};

/// Tells one registration from all others; never used again.
pub type RegistrationId = u64;

/// Something that happens once, or never. Sorted so that what is due next comes first of its kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Trigger {
    /// It is this late.
    At(Time),
    /// This session has ended.
    Disconnect(SessionId),
    /// This account is gone.
    UserDeleted(UserName),
    /// This free message was sent by this user.
    Event(String, UserName),
}

/// A trigger as it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// When the session that asks ends.
    Disconnect,
    /// When this account is deleted.
    UserDeleted(UserName),
    /// When this message is sent by this user, or by who asks.
    Event {
        /// The name of the message.
        name: String,
        /// Who has to send it.
        src: Option<UserName>,
    },
    /// So many milliseconds from now.
    After(u64),
    /// At this time.
    At(Time),
}

/// Somebody's wish that a path be deleted when the first of some triggers fires.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// What is deleted.
    pub path: Path,
    /// Who wished it, and with whose permissions it is done.
    pub user: UserName,
    /// Any of these.
    pub triggers: Vec<Trigger>,
    /// It was made with the node, and goes with it: what is made there later is not meant.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_ephemeral: bool,
}

impl Registration {
    /// How much of what its user may have it takes: each trigger is kept and searched for itself.
    pub(crate) fn weight(&self) -> u32 {
        u32::try_from(self.triggers.len()).unwrap_or(u32::MAX)
    }
}
