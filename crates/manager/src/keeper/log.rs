//! The log of one daemon: `current` has its output byte for byte, `current.index` says when and
//! through which stream each piece came.
//!
//! A record is written after its bytes, so what it names is there.

mod files;
mod index;
mod stuck;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};

use self::files::Files;
pub use self::index::{FLAG_DROPPED, RECORD_BYTES};
use self::index::{Index, Piece};
use self::stuck::{PATIENCE_MS, RETRY_MS, Stuck};
use super::clock::Now;
use super::protocol::LogSettings;

/// Through which of its two pipes a child wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

impl Stream {
    /// Both, by [`index`](Self::index).
    pub(super) const ALL: [Self; 2] = [Self::Out, Self::Err];

    /// Its place in arrays of both.
    pub(super) fn index(self) -> usize {
        self as usize
    }

    fn other(self) -> Self {
        if self == Self::Out { Self::Err } else { Self::Out }
    }

    fn letter(self) -> u8 {
        if self == Self::Out { b'o' } else { b'e' }
    }
}

/// A log that is written. It never fails its caller: what the disk does not take it keeps, see
/// [`is_blocked`](Self::is_blocked), and then drops and counts.
#[derive(Debug)]
pub(super) struct Log {
    files: Files,
    max_bytes: u64,
    data: File,
    data_bytes: u64,
    index: Index,
    /// Whether each stream stopped within a line.
    mid_line: [bool; 2],
    is_rotation_due: bool,
    stuck: Option<Stuck>,
    dropped_bytes: u64,
    retry_at_ms: u64,
}

impl Log {
    /// Opens a daemon's log and continues `current`, mending what a crash left torn.
    ///
    /// # Errors
    /// Those of the file system.
    pub(super) fn open(settings: &LogSettings, now: Now) -> io::Result<Self> {
        let files = Files::open(&settings.dir, settings.keep)?;
        let (data, index) = files.current()?;
        let mut log = Self {
            files,
            max_bytes: settings.max_bytes.max(1),
            data_bytes: data.metadata()?.len(),
            data,
            index: Index::new(index)?,
            mid_line: [false; 2],
            is_rotation_due: false,
            stuck: None,
            dropped_bytes: 0,
            retry_at_ms: 0,
        };
        log.mend(now)?;
        Ok(log)
    }

    /// Takes what a child wrote. Not while [`is_blocked`](Self::is_blocked).
    pub(super) fn append(&mut self, stream: Stream, bytes: &[u8], now: Now) {
        let rest = &bytes[self.write(stream, bytes, now)..];
        if rest.is_empty() {
            return;
        }
        self.retry_at_ms = now.steady_ms + RETRY_MS;
        if self.dropped_bytes > 0 {
            self.dropped_bytes += rest.len() as u64;
        } else {
            let until_ms = now.steady_ms + PATIENCE_MS;
            self.stuck = Some(Stuck { stream, bytes: rest.to_vec(), until_ms });
        }
    }

    /// Whether output waits for room on the disk; the child is not read meanwhile, so that it waits
    /// too.
    pub(super) fn is_blocked(&self) -> bool {
        self.stuck.is_some()
    }

    /// When [`retry`](Self::retry) is to be called, in steady milliseconds.
    pub(super) fn retry_at_ms(&self) -> Option<u64> {
        (self.stuck.is_some() || self.dropped_bytes > 0).then_some(self.retry_at_ms)
    }

    /// Tries again to write what the disk did not take, and the line about what was dropped.
    pub(super) fn retry(&mut self, now: Now) {
        self.retry_at_ms = now.steady_ms + RETRY_MS;
        let Some(mut stuck) = self.stuck.take() else {
            self.confess(now);
            return;
        };
        let written = self.write(stuck.stream, &stuck.bytes, now);
        stuck.bytes.drain(..written);
        if stuck.bytes.is_empty() {
            return;
        }
        if now.steady_ms < stuck.until_ms {
            self.stuck = Some(stuck);
        } else {
            self.dropped_bytes += stuck.bytes.len() as u64;
        }
    }

    /// Begins new files now if no line is open, else at the next line end.
    pub(super) fn rotate(&mut self, now: Now) {
        let is_between_lines = self.mid_line == [false; 2];
        self.is_rotation_due =
            self.data_bytes > 0 && !(is_between_lines && self.begin_files(now).is_ok());
    }

    /// Returns how many of the bytes are in the files.
    fn write(&mut self, stream: Stream, bytes: &[u8], now: Now) -> usize {
        let mut written = 0;
        if !self.confess(now) {
            return written;
        }
        while written < bytes.len() {
            let rest = &bytes[written..];
            let mut fit = self.fit(stream, rest);
            if fit == 0 {
                if self.begin_files(now).is_ok() {
                    continue;
                }
                // A file that is too long loses nothing.
                fit = rest.len();
            }
            let done = self.put(stream, &rest[..fit], 0, now);
            written += done;
            if done < fit {
                break;
            }
        }
        written
    }

    /// How many of the bytes belong into these files: files end between two lines of both streams,
    /// unless they are twice as long as they should be.
    fn fit(&self, stream: Stream, bytes: &[u8]) -> usize {
        let limit = if self.is_rotation_due { 0 } else { self.max_bytes };
        let room = size(limit.saturating_sub(self.data_bytes));
        if bytes.len() <= room {
            return bytes.len();
        }
        let hard_room = size((2 * self.max_bytes).saturating_sub(self.data_bytes));
        if !self.mid_line[stream.other().index()] {
            if let Some(end) = bytes[..room].iter().rposition(|&byte| byte == b'\n') {
                return end + 1;
            }
            if !self.mid_line[stream.index()] && self.data_bytes > 0 {
                return 0;
            }
            if let Some(end) = bytes[room..].iter().position(|&byte| byte == b'\n') {
                return (room + end + 1).min(hard_room);
            }
        }
        bytes.len().min(hard_room)
    }

    /// Appends bytes and their record, or as many as there is room for; returns how many.
    fn put(&mut self, stream: Stream, bytes: &[u8], flags: u8, now: Now) -> usize {
        let len = write_some(&mut self.data, bytes);
        if len == 0 {
            return 0;
        }
        let piece = Piece { time_ms: now.unix_ms, offset: self.data_bytes, len, stream, flags };
        if self.index.append(piece).is_err() {
            // A file that cannot grow can still be cut, so both stay in step.
            drop(self.data.set_len(self.data_bytes));
            return 0;
        }
        self.data_bytes += len as u64;
        self.mid_line[stream.index()] = bytes[len - 1] != b'\n';
        len
    }

    /// Writes how much was dropped, if anything was; false if there is no room even for that.
    fn confess(&mut self, now: Now) -> bool {
        if self.dropped_bytes == 0 {
            return true;
        }
        let break_line = if self.mid_line == [false; 2] { "" } else { "\n" };
        let dropped = self.dropped_bytes;
        let line =
            format!("{break_line}dae: {dropped} bytes of output were dropped, the disk was full\n");
        let before = (self.data_bytes, self.mid_line);
        if self.put(Stream::Out, line.as_bytes(), FLAG_DROPPED, now) < line.len() {
            self.cut_back(before);
            return false;
        }
        self.mid_line = [false; 2];
        self.dropped_bytes = 0;
        true
    }

    /// Takes back half a line about dropped output, with its record.
    fn cut_back(&mut self, (data_bytes, mid_line): (u64, [bool; 2])) {
        if self.data_bytes > data_bytes {
            (self.data_bytes, self.mid_line) = (data_bytes, mid_line);
            drop(self.data.set_len(self.data_bytes));
            drop(self.index.cut(self.index.bytes() - RECORD_BYTES));
        }
    }

    /// Goes on in new files; on failure all is as before.
    fn begin_files(&mut self, now: Now) -> io::Result<()> {
        let (data, index) = self.files.rotate(now.unix_ms)?;
        (self.data, self.index) = (data, Index::new(index)?);
        (self.data_bytes, self.is_rotation_due) = (0, false);
        Ok(())
    }

    /// Brings index and data in step after a crash, and ends a torn last line.
    fn mend(&mut self, now: Now) -> io::Result<()> {
        let indexed = self.index.mend(self.data_bytes)?;
        if !self.ends_with_newline()? {
            self.data.write_all(b"\n")?;
            self.data_bytes += 1;
        }
        if self.data_bytes > indexed {
            let (time_ms, len) = (now.unix_ms, size(self.data_bytes - indexed));
            let piece = Piece { time_ms, offset: indexed, len, stream: Stream::Out, flags: 0 };
            self.index.append(piece)?;
        }
        Ok(())
    }

    fn ends_with_newline(&mut self) -> io::Result<bool> {
        let Some(at) = self.data_bytes.checked_sub(1) else { return Ok(true) };
        let mut last = [0];
        self.data.seek(SeekFrom::Start(at))?;
        self.data.read_exact(&mut last)?;
        Ok(last == *b"\n")
    }
}

/// Writes until all is written or the file takes no more; returns how much it took.
fn write_some(file: &mut File, bytes: &[u8]) -> usize {
    let mut done = 0;
    while done < bytes.len() {
        match file.write(&bytes[done..]) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    done
}

/// A length that is in memory or in a file that may be short of memory's size.
fn size(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
