//! What somebody may do at a path, and what kind of somebody it is.

use serde::{Deserialize, Serialize};

/// How much is allowed at a path. Each level has all that the ones before it have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "u8", try_from = "u8")]
pub enum Level {
    /// Nothing: the path can't be told from an absent one.
    #[default]
    None = 1,
    /// Reading.
    Viewer = 2,
    /// Changing and creating.
    Editor = 3,
    /// Deleting, and deciding who may do what.
    Owner = 4,
}

impl Level {
    /// The word for it in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "NONE",
            Self::Viewer => "VIEWER",
            Self::Editor => "EDITOR",
            Self::Owner => "OWNER",
        }
    }
}

impl From<Level> for u8 {
    fn from(level: Level) -> Self {
        level as Self
    }
}

impl TryFrom<u8> for Level {
    type Error = &'static str;

    fn try_from(number: u8) -> Result<Self, Self::Error> {
        match number {
            1 => Ok(Self::None),
            2 => Ok(Self::Viewer),
            3 => Ok(Self::Editor),
            4 => Ok(Self::Owner),
            _ => Err("a level is 1 (NONE), 2 (VIEWER), 3 (EDITOR) or 4 (OWNER)"),
        }
    }
}

/// What kind of user somebody is. Only [`Rank::Root`] makes a difference at paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "u8", try_from = "u8")]
pub enum Rank {
    /// OWNER everywhere, which no entry lowers.
    Root = 0,
    /// A person.
    User = 1,
    /// A program.
    Program = 2,
    /// An anonymous connection; no account has this.
    Connection = 3,
}

impl From<Rank> for u8 {
    fn from(rank: Rank) -> Self {
        rank as Self
    }
}

impl TryFrom<u8> for Rank {
    type Error = &'static str;

    /// The ranks that an account may have.
    fn try_from(number: u8) -> Result<Self, Self::Error> {
        match number {
            0 => Ok(Self::Root),
            1 => Ok(Self::User),
            2 => Ok(Self::Program),
            _ => Err("a user's level is 0 (ROOT), 1 (USER) or 2 (PRGM)"),
        }
    }
}
