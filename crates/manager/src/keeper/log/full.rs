//! A disk that takes no more: what waits for it, and what is lost to it.

use std::io;
use std::mem::take;

use super::Stream;

/// How often a full disk is tried: nothing tells when there is room again.
pub(in crate::keeper) const RETRY_MS: u64 = 200;

/// What a child wrote and waits for.
#[derive(Debug)]
pub(super) struct Stuck {
    pub(super) stream: Stream,
    pub(super) bytes: Vec<u8>,
    pub(super) until_ms: u64,
}

/// Output that is in no file, until a line in the log says so.
#[derive(Debug, Clone, Default)]
pub(in crate::keeper) struct Dropped {
    lines: u64,
    bytes: u64,
    /// What the kernel said.
    why: Option<i32>,
    /// Whose rest of a line is to go as well.
    is_mid_line: [bool; 2],
}

impl Dropped {
    /// Whether nothing is lost that has not been told.
    pub(in crate::keeper) fn is_nothing(&self) -> bool {
        self.bytes == 0
    }

    /// Whether the beginning of this stream's line is lost, so that the rest says nothing.
    pub(super) fn is_mid_line(&self, stream: Stream) -> bool {
        self.is_mid_line[stream.index()]
    }

    /// Counts what is lost.
    pub(in crate::keeper) fn add(&mut self, stream: Stream, bytes: &[u8]) {
        let Some(last) = bytes.last() else { return };
        self.bytes += bytes.len() as u64;
        self.lines += bytes.iter().filter(|&&byte| byte == b'\n').count() as u64;
        self.is_mid_line[stream.index()] = *last != b'\n';
    }

    /// Counts the beginning of a line that was in the file already.
    pub(super) fn add_beginning(&mut self, bytes: u64) {
        self.bytes += bytes;
    }

    /// Keeps in mind why, for the line that tells.
    pub(in crate::keeper) fn set_why(&mut self, error: &io::Error) {
        self.why = error.raw_os_error();
    }

    /// Nothing more comes: lines that have not ended never will.
    pub(super) fn end_lines(&mut self) {
        let open = take(&mut self.is_mid_line).into_iter().filter(|&it| it).count();
        if !self.is_nothing() {
            self.lines += open as u64;
        }
    }

    /// The line that tells.
    pub(super) fn note(&self) -> String {
        let why = self.why.map_or_else(
            || "the log could not be written".to_owned(),
            |errno| io::Error::from_raw_os_error(errno).to_string(),
        );
        format!("dae: dropped {} lines, {} bytes of output: {why}\n", self.lines, self.bytes)
    }

    /// It was told.
    pub(super) fn clear(&mut self) {
        (self.lines, self.bytes) = (0, 0);
    }
}
