//! A daemon's log, written by each tree of it that still says something.
//!
//! That is one, unless what an earlier one left behind may stay: both have the same file then, and
//! it is written from one place.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use super::clock::Now;
use super::log::{Log, Stream};
use super::protocol::LogSettings;

/// As [`Log`]; closed when the last clone is dropped.
#[derive(Debug, Clone)]
pub(super) struct SharedLog(Rc<RefCell<Log>>);

impl SharedLog {
    /// Opens a daemon's log, which nobody writes.
    ///
    /// # Errors
    /// Those of [`Log::open`].
    pub(super) fn open(settings: &LogSettings, now: Now) -> io::Result<Self> {
        Ok(Self(Rc::new(RefCell::new(Log::open(settings, now)?))))
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
}
