//! What a subscriber is told.

use serde::{Deserialize, Serialize, Serializer, ser::SerializeMap};

use crate::{
    entry::{Entry, Who},
    name::UserName,
    node::{Node, Revision},
    path::{Path, Segment},
    record::Act,
};

/// Tells one subscription of a session from its others.
pub type SubscriptionId = u64;

/// What an event is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "each is the event of its name")]
pub enum EventName {
    Create,
    Update,
    Delete,
    UpdatePerms,
    Revoked,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Happening {
    /// A new member or element, `name` below `path`.
    Create {
        /// What contains it.
        path: Path,
        /// What it is called.
        name: Segment,
        /// What of it may be read.
        value: Node,
    },
    /// Another value.
    Update {
        /// Where.
        path: Path,
        /// What of it may be read.
        value: Node,
    },
    /// Nothing there any more, or nothing that may be read.
    Delete {
        /// Where.
        path: Path,
    },
    /// Another permission entry, or none.
    UpdatePerms {
        /// Where.
        path: Path,
        /// Whose.
        who: Who,
        /// What it allows.
        entry: Option<Entry>,
    },
    /// The prefix may not be read any more, and the subscription has ended.
    Revoked {
        /// The prefix.
        path: Path,
    },
}

impl Happening {
    /// What it is called.
    pub fn name(&self) -> EventName {
        match self {
            Self::Create { .. } => EventName::Create,
            Self::Update { .. } => EventName::Update,
            Self::Delete { .. } => EventName::Delete,
            Self::UpdatePerms { .. } => EventName::UpdatePerms,
            Self::Revoked { .. } => EventName::Revoked,
        }
    }

    /// Where.
    pub fn path(&self) -> &Path {
        match self {
            Self::Create { path, .. }
            | Self::Update { path, .. }
            | Self::Delete { path }
            | Self::UpdatePerms { path, .. }
            | Self::Revoked { path } => path,
        }
    }
}

/// Where an event came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Who did it; nobody for anonymous sessions and the server itself.
    pub src: Option<UserName>,
    /// What he called it.
    pub req: Option<String>,
}

impl From<&Act> for Origin {
    fn from(act: &Act) -> Self {
        Self { src: act.src.clone(), req: act.req.clone() }
    }
}

/// One event, for all subscriptions of one session that it serves.
#[derive(Clone, Debug)]
pub struct Event {
    /// Which they are.
    pub subs: Vec<SubscriptionId>,
    /// Of the commit, or of the state that a `sync` shows.
    pub rev: Revision,
    /// What happened.
    pub happening: Happening,
    /// Where it came from; a `sync` that was asked for came from nothing that happened.
    pub origin: Option<Origin>,
    /// The value at the prefix, over whatever was known of it.
    pub is_sync: bool,
    /// Another event of the same commit follows.
    pub has_more: bool,
    /// It is there, or not, by another permission and not by another value alone.
    pub is_by_perms: bool,
    /// Events before it were dropped.
    pub is_lagged: bool,
}

impl Event {
    /// A `sync` for `subs` of what is at `path`; nothing there, or nothing to be read, is `delete`.
    pub fn sync(subs: Vec<SubscriptionId>, rev: Revision, path: Path, value: Option<Node>) -> Self {
        let happening = match value {
            Some(value) => Happening::Update { path, value },
            None => Happening::Delete { path },
        };
        Self { is_sync: true, ..Self::new(subs, rev, happening) }
    }

    pub(crate) fn new(subs: Vec<SubscriptionId>, rev: Revision, happening: Happening) -> Self {
        let (is_sync, has_more, is_by_perms, is_lagged) = (false, false, false, false);
        Self { subs, rev, happening, origin: None, is_sync, has_more, is_by_perms, is_lagged }
    }

    /// About how much of a queue it takes.
    pub fn bytes(&self) -> usize {
        let value = match &self.happening {
            Happening::Create { value, .. } | Happening::Update { value, .. } => {
                value.totals().bytes
            }
            _ => 0,
        };
        let path: usize = self.happening.path().iter().map(|it| it.len() + 3).sum();
        // The names of the members of an event, and numbers.
        value + path + 12 * self.subs.len() + 128
    }
}

impl Serialize for Event {
    /// The data of a `change` event. What is not so is left out; `src` can be null.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("subs", &self.subs)?;
        map.serialize_entry("rev", &self.rev)?;
        map.serialize_entry("name", &self.happening.name())?;
        map.serialize_entry("path", self.happening.path())?;
        match &self.happening {
            Happening::Create { name, value, .. } => {
                map.serialize_entry("newObjName", name)?;
                map.serialize_entry("newObjVal", value)?;
            }
            Happening::Update { value, .. } => map.serialize_entry("value", value)?,
            Happening::UpdatePerms { who, entry, .. } => {
                map.serialize_entry("user", who)?;
                map.serialize_entry("perms", entry)?;
            }
            Happening::Delete { .. } | Happening::Revoked { .. } => {}
        }
        if let Some(origin) = &self.origin {
            map.serialize_entry("src", &origin.src)?;
        }
        if let Some(req) = self.origin.as_ref().and_then(|it| it.req.as_ref()) {
            map.serialize_entry("req", req)?;
        }
        let marks = [("sync", self.is_sync), ("more", self.has_more), ("lagged", self.is_lagged)];
        for (name, _) in marks.into_iter().filter(|it| it.1) {
            map.serialize_entry(name, &true)?;
        }
        if self.is_by_perms {
            map.serialize_entry("reason", "perms")?;
        }
        map.end()
    }
}
