//! What a reader gives, and which of it is wanted.

use regex::bytes::Regex;

use super::index::Stream;

/// A line that a daemon printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// When its first byte was read, in Unix milliseconds.
    pub time_ms: u64,
    /// The output it came from.
    pub stream: Stream,
    /// Its bytes as printed, without the newline; at most 64 KiB.
    pub text: Vec<u8>,
    /// Whether no newline ended it: it goes on in the next one of its stream, or the log ends here.
    pub partial: bool,
    /// Whether the manager wrote it and not the daemon.
    pub note: bool,
    /// What it is known by.
    pub cursor: Cursor,
}

/// Where a line begins. No two lines of a daemon have the same while both are on disk; rotation
/// does not change it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cursor {
    /// The inode of the index.
    pub inode: u64,
    /// Where in the data file.
    pub offset: u64,
}

/// Which lines are wanted.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Only the last so many of those that fit all else.
    pub lines: Option<usize>,
    /// Only lines that began at this time or later, in Unix milliseconds.
    pub since_ms: Option<u64>,
    /// Only lines that began before this time.
    pub before_ms: Option<u64>,
    /// Only one stream.
    pub stream: Option<Stream>,
    /// Only lines that match; of a line in pieces each piece alone.
    pub grep: Option<Regex>,
}

impl Selection {
    /// Whether a line is wanted, its number left aside.
    pub fn admits(&self, line: &Line) -> bool {
        self.since_ms.is_none_or(|it| line.time_ms >= it)
            && self.before_ms.is_none_or(|it| line.time_ms < it)
            && self.stream.is_none_or(|it| it == line.stream)
            && self.grep.as_ref().is_none_or(|it| it.is_match(&line.text))
    }
}
