use std::{fmt::Debug, ops::Range, sync::Arc};

use tokio::task::spawn_blocking;

use crate::{FollowError, Progress, Revision};

/// Durable records in order: what is stored, then what comes.
#[derive(Debug)]
pub struct Follow {
    next: Revision,
    progress: Progress,
    source: Arc<dyn Source>,
}

/// Where records are read from.
pub(crate) trait Source: Debug + Send + Sync {
    /// Some records, at least one, from `from` on and none after `until`, which is durable. May
    /// block.
    fn read(&self, from: Revision, until: Revision) -> Result<Batch, FollowError>;
}

/// Records that were read together, at least one.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    entries: Vec<Place>,
}

/// A record of a batch.
#[derive(Debug)]
struct Place {
    revision: Revision,
    key: Range<usize>,
    bytes: Range<usize>,
}

/// A durable record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Its number.
    pub revision: Revision,
    /// Its key; empty when it has none.
    pub key: &'a str,
    /// What was appended.
    pub bytes: &'a [u8],
}

impl Follow {
    pub(crate) fn new(next: Revision, progress: Progress, source: Arc<dyn Source>) -> Self {
        Self { next: next.max(1), progress, source }
    }

    /// The revision of the next record.
    ///
    /// Everything durable has been read when this is more than [`Progress::durable`].
    #[must_use]
    pub fn position(&self) -> Revision {
        self.next
    }

    /// The next records, as soon as there are any. Cancel safe.
    ///
    /// # Errors
    /// See [`FollowError`]. [`FollowError::Trimmed`] also when the reader was so slow that what
    /// comes next was trimmed meanwhile.
    pub async fn next(&mut self) -> Result<Batch, FollowError> {
        let durable = self.progress.passed(self.next).await?;
        let (source, next) = (self.source.clone(), self.next);
        let read = spawn_blocking(move || source.read(next, durable));
        let batch = read.await.unwrap_or(Err(FollowError::Closed))?;
        self.next += batch.entries.len() as u64;
        Ok(batch)
    }
}

impl Batch {
    /// Adds a record that lies in `bytes`, to which those of all records are given by
    /// [`Self::fill`].
    pub(crate) fn push(&mut self, revision: Revision, key: Range<usize>, bytes: Range<usize>) {
        self.entries.push(Place { revision, key, bytes });
    }

    /// What the ranges of all records refer to. Keys must be UTF-8.
    pub(crate) fn fill(self, bytes: Vec<u8>) -> Self {
        Self { bytes, ..self }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The records, in order.
    pub fn iter(&self) -> impl Iterator<Item = Entry<'_>> {
        self.entries.iter().map(|it| Entry {
            revision: it.revision,
            key: str::from_utf8(&self.bytes[it.key.clone()]).unwrap_or_default(),
            bytes: &self.bytes[it.bytes.clone()],
        })
    }
}
