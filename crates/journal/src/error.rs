use std::{fmt, io, path::PathBuf, sync::Arc};

use crate::Revision;

/// What the disk refused.
#[derive(Debug, thiserror::Error)]
#[error("cannot {act} `{}`", file.display())]
pub struct DiskError {
    /// The failed act, as a verb.
    pub act: &'static str,
    /// On which file.
    pub file: PathBuf,
    /// What the kernel said.
    pub source: io::Error,
}

impl DiskError {
    /// Whether there may be room again later.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(
            self.source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
        )
    }
}

/// What was found that no crash can leave behind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is damaged at offset {offset}: {check}", file.display())]
pub struct Damage {
    /// In which file.
    pub file: PathBuf,
    /// Where in it.
    pub offset: u64,
    /// What does not hold.
    pub check: Check,
}

/// What must hold, and does not.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Check {
    /// The file begins with what every file of its kind begins with.
    Head,
    /// It belongs to the same journal as the others.
    Owner,
    /// What lies there is what was written, since records behind it were written after it was
    /// durable.
    Intact {
        /// The record that should be there.
        revision: Revision,
    },
    /// Revisions follow each other.
    Order {
        /// The revision that should be there.
        expected: Revision,
        /// The one that is.
        found: Revision,
    },
    /// Nothing is missing between two files, or behind the last.
    Whole {
        /// The first missing revision.
        first: Revision,
    },
    /// A part of a snapshot is what was written.
    Part,
    /// A snapshot has its end.
    End,
    /// A backup has all that was copied, and the file that was written last tells so.
    Copy,
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Head => write!(f, "the head of the file is not one"),
            Self::Owner => write!(f, "the file belongs to another journal"),
            Self::Intact { revision } => {
                write!(
                    f,
                    "record {revision} does not match its checksum, with later ones behind it"
                )
            }
            Self::Order { expected, found } => {
                write!(f, "record {found} stands where {expected} belongs")
            }
            Self::Whole { first } => write!(f, "records are missing from {first} on"),
            Self::Part => write!(f, "a part of the snapshot does not match its checksum"),
            Self::End => write!(f, "the snapshot has no end"),
            Self::Copy => write!(f, "the backup is not all that was copied"),
        }
    }
}

/// Why a journal can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process works on it.
    #[error("another process holds the journal `{}`; two on one would spoil it", path.display())]
    Held {
        /// The directory.
        path: PathBuf,
    },
    /// There was one, and nothing is left of it.
    #[error("the files of the journal `{}` are gone; no empty one takes its place", path.display())]
    Gone {
        /// The directory.
        path: PathBuf,
    },
    /// Something in it is not what was written. It is left as it is: never is it replaced by less.
    #[error("the journal is damaged; `check` tells all of it")]
    Damaged(#[from] Damage),
    /// The disk refused.
    #[error("cannot open the journal")]
    Disk(#[from] DiskError),
}

/// Why records can't be made durable.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The disk refused.
    #[error("the disk refused")]
    Disk(#[source] Arc<DiskError>),
    /// What is on the disk is not what was written there.
    #[error("the disk returned something else than was written")]
    Damaged(#[source] Arc<Damage>),
    /// The journal was closed.
    #[error("the journal is closed")]
    Closed,
}

impl From<DiskError> for Failure {
    fn from(error: DiskError) -> Self {
        Self::Disk(Arc::new(error))
    }
}

impl From<Damage> for Failure {
    fn from(damage: Damage) -> Self {
        Self::Damaged(Arc::new(damage))
    }
}

/// Why a record was not put in line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// The last revision is another than was expected.
    #[error("the last revision is {found}")]
    Unexpected {
        /// What it is, of the log or of the key.
        found: Revision,
    },
    /// So many bytes are in line that this record has to wait until a group is durable.
    #[error("too many records wait to be durable")]
    Full,
    /// The record will never be taken.
    #[error("a record may have {limit} bytes, its key {}", crate::KEY_BYTES)]
    TooLarge {
        /// How many bytes it may have.
        limit: usize,
    },
    /// Nothing is taken before [`mend`](crate::Journal::mend) has succeeded.
    #[error("the journal is read-only")]
    ReadOnly(#[source] Failure),
}

/// Why nobody may be told that a record is durable.
#[derive(Debug, thiserror::Error)]
pub enum Lost {
    /// It was not made durable, and will not be.
    #[error("the record was not made durable; {durable} is the last that was")]
    Failed {
        /// The last durable revision when it was lost.
        durable: Revision,
        /// Why.
        source: Failure,
    },
    /// There were so many failures since that nobody knows any more.
    #[error("whether the record was made durable is no longer known")]
    Forgotten,
}

/// Why records can't be followed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FollowError {
    /// They are no longer kept.
    #[error("records before {first} are trimmed")]
    Trimmed {
        /// The first revision that is kept.
        first: Revision,
    },
    /// Something was found that is not what was written.
    #[error("the journal is damaged")]
    Damaged(#[from] Damage),
    /// The disk refused.
    #[error("cannot read the journal")]
    Disk(#[from] DiskError),
    /// The journal is closed, and everything in it was read.
    #[error("the journal is closed")]
    Closed,
}

/// Why a snapshot can't be made or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// It would stand for records that may yet be lost, or for less than the one that is there.
    #[error("a snapshot can stand for {} to {} now", allowed.start(), allowed.end())]
    Revision {
        /// What it may stand for.
        allowed: std::ops::RangeInclusive<Revision>,
    },
    /// Another one is being written.
    #[error("another snapshot is being written")]
    Busy,
    /// A part of it could not be written.
    #[error("the snapshot is not complete")]
    Unfinished,
    /// It is not what was written.
    #[error("the snapshot is damaged")]
    Damaged(#[from] Damage),
    /// The disk refused.
    #[error("cannot store or read a snapshot")]
    Disk(#[from] DiskError),
}

/// Why records are still kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrimError {
    /// The disk refused.
    #[error("cannot remove what a snapshot tells")]
    Disk(#[from] DiskError),
}

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// Something has its name.
    #[error("`{}` is there already", path.display())]
    Exists {
        /// Where it was to be.
        path: PathBuf,
    },
    /// What was to be copied is not what was written.
    #[error("the journal is damaged")]
    Damaged(#[from] Damage),
    /// The disk refused.
    #[error("cannot copy the journal")]
    Disk(#[from] DiskError),
}
