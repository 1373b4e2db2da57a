//! A daemon's log, written by each tree of it that still says something.
//!
//! That is one, unless what an earlier one left behind may stay: both have the same file then, and
//! it is written from one place.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use super::clock::Now;
use super::log::{Dropped, Log, Stream};
use super::protocol::LogSettings;

/// As [`Log`]; closed when the last clone is dropped.
#[derive(Debug, Clone)]
pub(super) struct SharedLog(Rc<RefCell<Log>>);

impl SharedLog {
    /// Opens a daemon's log, which nobody writes.
    ///
    /// # Errors
    /// Those of [`Log::open`].
    pub(super) fn open(settings: &LogSettings, owed: Dropped, now: Now) -> io::Result<Self> {
        Log::open(settings, owed, now).map(Self::new)
    }

    /// As [`Log::resume`].
    ///
    /// # Errors
    /// Those of [`Log::resume`].
    pub(super) fn resume(settings: &LogSettings, owed: Dropped, now: Now) -> io::Result<Self> {
        Log::resume(settings, owed, now).map(Self::new)
    }

    /// Opens it anew if it was removed from where it was opened, for all that write it.
    ///
    /// # Errors
    /// Those of [`Log::open`].
    pub(super) fn restore(&self, settings: &LogSettings, now: Now) -> io::Result<()> {
        let mut log = self.0.borrow_mut();
        if !log.is_in_place() {
            *log = Log::open(settings, Dropped::default(), now)?;
        }
        Ok(())
    }

    fn new(log: Log) -> Self {
        Self(Rc::new(RefCell::new(log)))
    }

    /// As [`Log::append`].
    pub(super) fn append(&self, stream: Stream, bytes: &[u8], now: Now) {
        self.0.borrow_mut().append(stream, bytes, now);
    }

    /// As [`Log::is_blocked`].
    pub(super) fn is_blocked(&self) -> bool {
        self.0.borrow().is_blocked()
    }

    /// As [`Log::retry_at_ms`].
    pub(super) fn retry_at_ms(&self) -> Option<u64> {
        self.0.borrow().retry_at_ms()
    }

    /// As [`Log::retry`].
    pub(super) fn retry(&self, now: Now) {
        self.0.borrow_mut().retry(now);
    }

    /// As [`Log::rotate`].
    pub(super) fn rotate(&self, now: Now) {
        self.0.borrow_mut().rotate(now);
    }

    /// As [`Log::take_raw`].
    pub(super) fn take_raw(&self) -> bool {
        self.0.borrow_mut().take_raw()
    }

    /// As [`Log::owed`].
    pub(super) fn owed(&self) -> Dropped {
        self.0.borrow().owed().clone()
    }

    /// As [`Log::finish`], which is for the last of them.
    pub(super) fn finish(self, now: Now) -> Dropped {
        let last = Rc::try_unwrap(self.0);
        last.map(|log| log.into_inner().finish(now)).unwrap_or_default()
    }
}
