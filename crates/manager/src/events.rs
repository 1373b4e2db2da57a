//! What happened, and who asked for it: the manager's file of events.
//!
//! `current` in a directory of its own, a JSON document per line, rotated to `@MS-N.jsonl`. Readers
//! need no manager.

mod follow;
mod reader;
#[cfg(test)]
mod tests;
mod writer;

use std::{io, path::PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use self::{follow::Follow, reader::Reader, writer::Writer};
use crate::logs::{rotation::Names, watch::WatchError};

const NAMES: Names = Names { current: "current", suffix: ".jsonl" };

/// One thing that happened, as it stands in the file and on the wire.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// The version of this shape: 1.
    pub v: u8,
    /// Counts from 1, over restarts too.
    pub seq: u64,
    /// When, in Unix milliseconds; RFC 3339 in the file.
    #[serde(rename = "time", with = "rfc3339")]
    pub time_ms: u64,
    /// What it is and whom it is about.
    #[serde(flatten)]
    pub what: What,
}

/// An event but for its number and time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct What {
    /// What sort of thing.
    pub kind: Kind,
    /// The daemon it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Who asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Value>,
    /// Everything else, with names that none of the members above has.
    #[serde(flatten)]
    pub members: Map<String, Value>,
}

/// The sorts of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A daemon went from one state to another.
    Transition,
    /// Somebody asked for something.
    Command,
    /// Anything else worth knowing.
    Note,
}

/// Why events could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum EventsError {
    /// The file of events cannot be opened or rotated.
    #[error("cannot open the events in `{}`", dir.display())]
    Open {
        /// The directory.
        dir: PathBuf,
        /// What went wrong there.
        source: io::Error,
    },

    /// An event cannot be written.
    #[error("cannot write to the events in `{}`", dir.display())]
    Write {
        /// The directory.
        dir: PathBuf,
        /// What went wrong there.
        source: io::Error,
    },

    /// Events cannot be read.
    #[error("cannot read the events in `{}`", dir.display())]
    Read {
        /// The directory.
        dir: PathBuf,
        /// What went wrong there.
        source: io::Error,
    },

    /// The directory cannot be watched.
    #[error(transparent)]
    Watch(#[from] WatchError),
}

/// Unix milliseconds as RFC 3339.
mod rfc3339 {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::time;

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
    pub(super) fn serialize<S: Serializer>(ms: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&time::rfc3339(*ms))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        let text = String::deserialize(deserializer)?;
        time::parse_rfc3339(&text).ok_or_else(|| D::Error::custom("expected an RFC 3339 time"))
    }
}
