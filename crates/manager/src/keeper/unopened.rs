//! A log that cannot be opened just now. Whoever is adopted writes on all the same, so it is as
//! with a disk that is full: the child waits, the log is tried again, and what waits for too long
//! is dropped and counted.

use std::io;

use super::clock::Now;
use super::log::{Dropped, RETRY_MS, Stream};
use super::protocol::LogSettings;
use super::shared_log::SharedLog;

/// The log of an adopted child, before it is open.
#[derive(Debug)]
pub(super) struct Unopened {
    settings: LogSettings,
    dropped: Dropped,
    retry_at_ms: u64,
    until_ms: u64,
    is_blocked: bool,
}

impl Unopened {
    /// One that could not be opened, and why.
    pub(super) fn new(settings: &LogSettings, why: &io::Error, now: Now) -> Self {
        let mut dropped = Dropped::default();
        dropped.set_why(why);
        Self {
            settings: settings.clone(),
            dropped,
            retry_at_ms: now.steady_ms + RETRY_MS,
            until_ms: now.steady_ms.saturating_add(settings.patience_ms),
            is_blocked: settings.patience_ms > 0,
        }
    }

    /// Whether the child waits for it.
    pub(super) fn is_blocked(&self) -> bool {
        self.is_blocked
    }

    /// When it is to be tried again, in steady milliseconds.
    pub(super) fn retry_at_ms(&self) -> u64 {
        self.retry_at_ms
    }

    /// Tries again.
    pub(super) fn open(&mut self, now: Now) -> Option<SharedLog> {
        self.retry_at_ms = now.steady_ms + RETRY_MS;
        let opened = SharedLog::resume(&self.settings, self.dropped.clone(), now);
        self.is_blocked &= now.steady_ms < self.until_ms;
        opened.inspect_err(|error| self.dropped.set_why(error)).ok()
    }

    /// Takes what nobody waits for any more.
    pub(super) fn drop_output(&mut self, stream: Stream, bytes: &[u8]) {
        self.dropped.add(stream, bytes);
    }

    /// What was dropped, which some log is to be told.
    pub(super) fn dropped(self) -> Dropped {
        self.dropped
    }
}
