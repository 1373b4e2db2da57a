use std::{fmt::Debug, ops::Range, panic::resume_unwind, sync::Arc};

use tokio::task::{JoinError, JoinHandle, spawn_blocking};

use crate::{FollowError, Progress, Revision};

/// Durable records in order: what is stored, then what comes.
#[derive(Debug)]
pub struct Follow {
    next: Revision,
    progress: Progress,
    source: Arc<dyn Source>,
    /// What is being read; the next call takes it when this one is dropped.
    reading: Option<Reading>,
}

type Reading = JoinHandle<Result<Batch, FollowError>>;

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
    entries: Vec<Span>,
}

/// Where a record of a batch lies in its bytes.
#[derive(Debug)]
struct Span {
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
        Self { next: next.max(1), progress, source, reading: None }
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
        if self.reading.is_none() {
            let durable = self.progress.passed(self.next).await?;
            let (source, next) = (self.source.clone(), self.next);
            self.reading = Some(spawn_blocking(move || source.read(next, durable)));
        }
        let Some(reading) = &mut self.reading else { return Err(FollowError::Closed) };
        let read = reading.await;
        self.reading = None;
        let batch = read.unwrap_or_else(ended)?;
        self.next += batch.entries.len() as u64;
        Ok(batch)
    }
}

/// A bug in reading is one of who follows; else there is no runtime any more.
fn ended(error: JoinError) -> Result<Batch, FollowError> {
    match error.try_into_panic() {
        Ok(panic) => resume_unwind(panic),
        Err(_) => Err(FollowError::Closed),
    }
}

impl Batch {
    /// Adds a record that lies in `bytes`, to which those of all records are given by
    /// [`Self::fill`].
    pub(crate) fn push(&mut self, revision: Revision, key: Range<usize>, bytes: Range<usize>) {
        self.entries.push(Span { revision, key, bytes });
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

#[cfg(test)]
mod tests {
    use std::sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
        mpsc::{Receiver, channel},
    };

    use super::*;

    /// Tells each record when a test lets it.
    #[derive(Debug)]
    struct Slow {
        reads: AtomicUsize,
        may_read: Mutex<Receiver<()>>,
    }

    impl Source for Slow {
        fn read(&self, from: Revision, _: Revision) -> Result<Batch, FollowError> {
            self.reads.fetch_add(1, SeqCst);
            self.may_read.lock().unwrap().recv().unwrap();
            let mut batch = Batch::default();
            batch.push(from, 0..0, 0..0);
            Ok(batch)
        }
    }

    #[tokio::test]
    async fn what_was_being_read_for_a_call_that_was_dropped_is_not_read_again() {
        let (let_read, may_read) = channel();
        let slow = Arc::new(Slow { reads: AtomicUsize::new(0), may_read: may_read.into() });
        let mut follow = Follow::new(1, Progress::ended(2), slow.clone());
        tokio::select! {
            biased;
            _ = follow.next() => panic!("nothing was read"),
            () = std::future::ready(()) => {}
        }
        for revision in [1, 2] {
            let_read.send(()).unwrap();
            let batch = follow.next().await.unwrap();
            assert_eq!(batch.iter().map(|it| it.revision).collect::<Vec<_>>(), [revision]);
        }
        assert_eq!(slow.reads.load(SeqCst), 2);
        assert!(matches!(follow.next().await, Err(FollowError::Closed)));
    }

    #[tokio::test]
    #[should_panic(expected = "a bug")]
    async fn a_bug_in_reading_is_not_taken_for_an_end() {
        #[derive(Debug)]
        struct Broken;
        impl Source for Broken {
            fn read(&self, _: Revision, _: Revision) -> Result<Batch, FollowError> {
                panic!("a bug")
            }
        }
        drop(Follow::new(1, Progress::ended(1), Arc::new(Broken)).next().await);
    }
}
