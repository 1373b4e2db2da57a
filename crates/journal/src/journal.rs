use std::{fmt::Debug, future::Future, pin::Pin, time::Duration};

use crate::{
    AppendError, Failure, Follow, FollowError, Progress, Receipt, Snapshot, SnapshotError,
    SnapshotWriter, TrimError,
};

/// The number of a record: each has one more than the one before, the first has 1. 0 is before all.
pub type Revision = u64;

/// The longest key, in bytes.
pub const KEY_BYTES: usize = 255;

/// What is appended: bytes, which mean nothing here, and perhaps a key.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Record<'a> {
    /// What is stored.
    pub bytes: &'a [u8],
    /// Whose record it is, for [`Expected::OfKey`]; empty for nobody's.
    pub key: &'a str,
}

impl<'a> Record<'a> {
    /// A record without a key.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, key: "" }
    }

    /// The same with a key.
    #[must_use]
    pub fn with_key(self, key: &'a str) -> Self {
        Self { key, ..self }
    }
}

/// What must hold for a record to be appended. Compared with what is in line, durable or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expected {
    /// Nothing.
    #[default]
    Any,
    /// The last revision of the whole log.
    Last(Revision),
    /// The last revision with the key of the record, trimmed or not; 0: there was none.
    OfKey(Revision),
}

/// How much is kept of what a snapshot already tells. A part goes when either bound says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// How many bytes, at least, if they are young enough.
    pub bytes: u64,
    /// How long.
    pub age: Duration,
}

impl Keep {
    /// Only what no snapshot tells.
    pub const NOTHING: Self = Self { bytes: 0, age: Duration::ZERO };
}

/// A future that a trait object can return.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// An ordered, durable log of records.
///
/// One daemon owns it: it decides a record on its state in memory, appends it, applies it, and goes
/// on at once; replies and events wait until [`Progress`] says that the record is durable. What is
/// not durable may be lost, with all that comes after it.
///
/// # When the disk fails
/// (Or, in a journal that others append to as well, when somebody else was quicker than what was
/// expected.) All that is in line is lost ([`Lost`](crate::Lost) for each that waits) and nothing
/// is taken any more; what is durable stays readable. The daemon puts its state back to the last
/// durable revision (from what it remembers, or from [`snapshot`](Self::snapshot) and
/// [`follow`](Self::follow)), and calls [`mend`](Self::mend), now and then, until it succeeds. Only
/// then is anything appended again, and revisions go on from the last durable one.
pub trait Journal: Debug + Send + Sync {
    /// Puts a record in line. Waits for nothing, allocates nothing but room for its bytes.
    ///
    /// Nothing may be told to anybody before [`Progress::reached`] says that it is durable.
    ///
    /// # Errors
    /// See [`AppendError`]; then nothing has changed. [`AppendError::Full`] is over once the next
    /// group is durable ([`Progress::changed`]).
    fn append(&self, record: Record<'_>, expected: Expected) -> Result<Receipt, AppendError>;

    /// The last record in line; it need not be durable.
    fn last(&self) -> Receipt;

    /// How far it is durable.
    fn progress(&self) -> Progress;

    /// All durable records from `from` on, those that are there and those that come, in order, none
    /// twice.
    ///
    /// # Errors
    /// [`FollowError::Trimmed`] when the record `from` is no longer kept.
    fn follow(&self, from: Revision) -> Result<Follow, FollowError>;

    /// The newest snapshot, if there is one. What came after it is followed from the revision
    /// behind its own.
    ///
    /// # Errors
    /// It can't be opened. A damaged part shows while it is read.
    fn snapshot(&self) -> Result<Option<Snapshot>, SnapshotError>;

    /// Begins a snapshot that stands for everything up to `revision`, which must be durable.
    ///
    /// # Errors
    /// See [`SnapshotError`].
    fn write_snapshot(&self, revision: Revision) -> Result<SnapshotWriter, SnapshotError>;

    /// Forgets records that the newest snapshot tells, except for `keep`; tells the first one that
    /// is kept. Blocks for as long as files take to be deleted.
    ///
    /// # Errors
    /// See [`TrimError`]; then some of it may be gone.
    fn trim(&self, keep: Keep) -> Result<Revision, TrimError>;

    /// Makes a journal that has failed take records again, from the last durable revision on.
    ///
    /// # Errors
    /// Why it can't be yet. It may be tried again.
    fn mend(&self) -> Later<'_, Result<Revision, Failure>>;
}
