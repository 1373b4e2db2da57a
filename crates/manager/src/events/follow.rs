//! The history as it grows.

use std::{
    os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
    path::Path,
    time::Duration,
};

use super::{Event, EventsError, NAMES, Reader};
use crate::logs::watch::Watch;

/// The most events of one batch.
const BATCH: usize = 1024;

/// Follows events over rotations. Waits like [`crate::logs::Follow`].
#[derive(Debug)]
pub struct Follow {
    watch: Watch,
    reader: Reader,
}

impl Follow {
    /// Follows the events in `dir`, first those that happened at `since_ms` or later.
    ///
    /// # Errors
    /// [`EventsError::Watch`].
    pub fn open(dir: &Path, since_ms: u64) -> Result<Self, EventsError> {
        let watch = Watch::new(vec![dir.to_owned()], NAMES.current)?;
        Ok(Self { watch, reader: Reader::following(dir, since_ms) })
    }

    /// Gives some events, waiting for the first if need be.
    ///
    /// An empty batch before `timeout` is over means that something else changed; `None` waits for
    /// as long as it takes.
    ///
    /// # Errors
    /// [`EventsError::Read`], [`EventsError::Watch`].
    pub fn next_batch(&mut self, timeout: Option<Duration>) -> Result<Vec<Event>, EventsError> {
        // What was said so far is about what is read now.
        self.watch.changed(Some(Duration::ZERO))?;
        let batch = self.batch()?;
        if !batch.is_empty() || timeout == Some(Duration::ZERO) {
            return Ok(batch);
        }
        self.watch.changed(timeout)?;
        self.batch()
    }

    fn batch(&mut self) -> Result<Vec<Event>, EventsError> {
        let mut batch = vec![];
        while batch.len() < BATCH {
            let Some(event) = self.reader.next_event()? else { break };
            batch.push(event);
        }
        Ok(batch)
    }
}

impl AsFd for Follow {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.watch.as_fd()
    }
}

impl AsRawFd for Follow {
    fn as_raw_fd(&self) -> RawFd {
        self.watch.as_raw_fd()
    }
}
