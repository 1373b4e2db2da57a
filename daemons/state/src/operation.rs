//! What can be asked of the state: one typed form for every command that changes something.

use crate::{
    account::{Quota, Secret, Time, Token, TokenId},
    entry::{Entry, Who},
    level::Rank,
    name::UserName,
    node::{Node, Revision},
    path::{Path, Segment},
    payload::Payload,
    trigger::{RegistrationId, Wish},
};

/// One thing that is asked for.
#[derive(Clone, Debug)]
pub enum Operation {
    /// A new member `name` of what is at `path`, or a new last element.
    Create {
        /// Where it is made.
        path: Path,
        /// What it is called.
        name: Segment,
        /// What it is.
        value: Node,
        /// It goes when the session does.
        is_ephemeral: bool,
    },
    /// Another value at `path`, over what was there.
    Update {
        /// Where.
        path: Path,
        /// What is to be there.
        value: Node,
    },
    /// A merge patch, RFC 7396.
    Merge {
        /// Where.
        path: Path,
        /// An object.
        patch: Node,
    },
    /// Nothing at `path` any more.
    Delete {
        /// Where.
        path: Path,
    },
    /// Another entry of `who` at `path`, or none.
    UpdatePerms {
        /// Where.
        path: Path,
        /// For whom.
        who: Who,
        /// What it allows.
        entry: Option<Entry>,
    },
    /// `path` deleted when something happens.
    Gc {
        /// Where.
        path: Path,
        /// When.
        wishes: Vec<Wish>,
    },
    /// A registration taken back.
    Ungc {
        /// Which.
        id: RegistrationId,
    },
    /// A free message to all sessions of a user.
    Emit(Message),
    /// A new account, with a home if it is no script.
    CreateUser {
        /// Its name.
        user: UserName,
        /// The hash of its password.
        password: Option<Secret>,
        /// What kind of user.
        rank: Rank,
    },
    /// Another password.
    ChangePassword {
        /// Whose.
        user: UserName,
        /// Its hash.
        password: Secret,
        /// The hash of the current one, if who asks has shown that.
        proven: Option<Secret>,
    },
    /// The same password under a better hash; ends nothing. Of the server itself.
    Rehash {
        /// Whose.
        user: UserName,
        /// The hash that was verified: if it is another by now, nothing is done.
        from: Secret,
        /// The better one.
        to: Secret,
    },
    /// Another rank.
    UpdateUserLevel {
        /// Whose.
        user: UserName,
        /// Which.
        rank: Rank,
    },
    /// An account gone with all that it has.
    DeleteUser {
        /// Whose.
        user: UserName,
        /// What is in its home stays.
        keeps_home: bool,
    },
    /// A new token.
    CreateToken {
        /// How it will be called.
        id: TokenId,
        /// What it is.
        token: Token,
    },
    /// A token that opens nothing any more.
    RevokeToken {
        /// Which.
        id: TokenId,
    },
    /// How much may lie below a path; without, what is usual.
    SetQuota {
        /// Where.
        path: Path,
        /// How much.
        quota: Option<Quota>,
    },
    /// A registration whose trigger has fired. Of the server itself.
    Fire {
        /// Which.
        id: RegistrationId,
    },
}

/// What somebody tells all sessions of a user.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// To whom.
    pub user: UserName,
    /// What it is called.
    pub name: String,
    /// What it says.
    pub payload: Payload,
    /// What it is about.
    pub path: Option<Path>,
}

impl Operation {
    /// Whether it may be one of many in a batch.
    pub fn is_batchable(&self) -> bool {
        matches!(
            self,
            Self::Create { .. }
                | Self::Update { .. }
                | Self::Merge { .. }
                | Self::Delete { .. }
                | Self::UpdatePerms { .. }
                | Self::Gc { .. }
                | Self::Ungc { .. }
                | Self::Emit(_)
        )
    }
}

/// An operation with what must hold for it.
#[derive(Clone, Debug)]
pub struct Step {
    /// What is to be done.
    pub operation: Operation,
    /// The revision that the node at the operation's path must have; 0: it must not exist. What
    /// `create` names is what contains the new node.
    pub if_rev: Option<Revision>,
    /// The value that it must have, as far as who asks may read it: otherwise hidden parts could
    /// be guessed.
    pub if_value: Option<Node>,
    /// Missing parents are made.
    pub makes_parents: bool,
    /// Comes back with events of it; as of the whole request if none.
    pub req: Option<String>,
    /// As whom it is judged, if by a service.
    pub acting_as: Option<UserName>,
}

impl From<Operation> for Step {
    fn from(operation: Operation) -> Self {
        Self {
            operation,
            if_rev: None,
            if_value: None,
            makes_parents: true,
            req: None,
            acting_as: None,
        }
    }
}

/// What is decided at once: a single operation, or a batch that happens whole or not at all.
#[derive(Clone, Debug)]
pub struct Request {
    /// In order, each judged by what the ones before it leave.
    pub steps: Vec<Step>,
    /// Failures tell the index of the step.
    pub is_batch: bool,
    /// Only whether it would be done.
    pub is_dry: bool,
    /// Comes back with the events.
    pub req: Option<String>,
    /// When it was asked.
    pub now: Time,
}

impl Request {
    /// A single operation.
    pub fn one(step: impl Into<Step>, now: Time) -> Self {
        Self { steps: vec![step.into()], is_batch: false, is_dry: false, req: None, now }
    }

    /// Several, all or nothing.
    pub fn batch(steps: Vec<Step>, now: Time) -> Self {
        Self { steps, is_batch: true, is_dry: false, req: None, now }
    }
}
