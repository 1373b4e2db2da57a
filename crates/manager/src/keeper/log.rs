//! The log of one daemon: `current` has its output byte for byte, `current.index` says when and
//! through which stream each piece came.
//!
//! A record is written after its bytes, so what it names is there. It never goes on over the end of
//! a line: so a line that has begun can be taken back when the disk has no room for its rest.

mod files;
mod full;
mod index;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};

use self::files::Files;
use self::full::Stuck;
pub(super) use self::full::{Dropped, RETRY_MS};
pub use self::index::{FLAG_DROPPED, RECORD_BYTES};
use self::index::{Index, Piece};
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
    /// How long a child waits for room.
    patience_ms: u64,
    data: File,
    data_bytes: u64,
    index: Index,
    /// The line that each stream has begun and not ended.
    begun: [Option<Begun>; 2],
    /// Whether a file is longer than it should be, since even cutting it failed.
    is_uncut: bool,
    is_rotation_due: bool,
    /// Whether there may be a rotated file that is not compressed, and nobody was told.
    has_raw: bool,
    stuck: Option<Stuck>,
    dropped: Dropped,
    retry_at_ms: u64,
}

/// A line without its end.
#[derive(Debug, Clone, Copy)]
struct Begun {
    /// How long data and index were before it, while nothing else is behind it.
    place: Option<(u64, u64)>,
    /// Whether its rest was dropped.
    is_broken: bool,
}

/// What becomes of a last line without its end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Torn {
    /// Nobody will write the rest.
    Ended,
    /// Whoever wrote it lives.
    Continued,
}

impl Log {
    /// Opens a daemon's log and continues `current`, mending what a crash left torn, and tells what
    /// was dropped before.
    ///
    /// # Errors
    /// Those of the file system.
    pub(super) fn open(settings: &LogSettings, owed: Dropped, now: Now) -> io::Result<Self> {
        Self::open_as(settings, Torn::Ended, owed, now)
    }

    /// As [`open`](Self::open), for a child that goes on writing: a line that is not at its end
    /// stays open.
    ///
    /// # Errors
    /// Those of the file system.
    pub(super) fn resume(settings: &LogSettings, owed: Dropped, now: Now) -> io::Result<Self> {
        Self::open_as(settings, Torn::Continued, owed, now)
    }

    fn open_as(settings: &LogSettings, torn: Torn, owed: Dropped, now: Now) -> io::Result<Self> {
        let files = Files::open(&settings.dir, settings.keep)?;
        let (data, index) = files.current()?;
        let mut log = Self {
            max_bytes: settings.max_bytes.max(1),
            patience_ms: settings.patience_ms,
            data_bytes: data.metadata()?.len(),
            data,
            index: Index::new(index)?,
            begun: [None; 2],
            is_uncut: false,
            is_rotation_due: false,
            has_raw: files.has_raw(),
            files,
            stuck: None,
            dropped: owed,
            retry_at_ms: now.steady_ms + RETRY_MS,
        };
        log.mend(torn, now)?;
        log.note_dropped(now);
        Ok(log)
    }

    /// Takes what a child wrote. Not while [`is_blocked`](Self::is_blocked).
    pub(super) fn append(&mut self, stream: Stream, bytes: &[u8], now: Now) {
        let bytes = self.without_rest(stream, bytes);
        let rest = &bytes[self.write(stream, bytes, now)..];
        if rest.is_empty() {
            return;
        }
        self.retry_at_ms = now.steady_ms + RETRY_MS;
        if self.patience_ms == 0 || !self.dropped.is_nothing() {
            self.drop_output(stream, rest);
        } else {
            let until_ms = now.steady_ms + self.patience_ms;
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
        (self.stuck.is_some() || !self.dropped.is_nothing()).then_some(self.retry_at_ms)
    }

    /// Tries again to write what the disk did not take, and the line about what was dropped.
    pub(super) fn retry(&mut self, now: Now) {
        self.retry_at_ms = now.steady_ms + RETRY_MS;
        let Some(mut stuck) = self.stuck.take() else {
            self.note_dropped(now);
            return;
        };
        let written = self.write(stuck.stream, &stuck.bytes, now);
        stuck.bytes.drain(..written);
        if stuck.bytes.is_empty() {
            return;
        }
        if written > 0 {
            stuck.until_ms = now.steady_ms + self.patience_ms;
        }
        if now.steady_ms < stuck.until_ms {
            self.stuck = Some(stuck);
        } else {
            self.drop_output(stuck.stream, &stuck.bytes);
        }
    }

    /// Begins new files now if no line is open, else at the next line end.
    pub(super) fn rotate(&mut self, now: Now) {
        let is_between_lines = !Stream::ALL.into_iter().any(|it| self.is_mid_line(it));
        self.is_rotation_due =
            self.data_bytes > 0 && !(is_between_lines && self.begin_files(now).is_ok());
    }

    /// Whether a file may have come that is to be compressed, since this was asked last.
    pub(super) fn take_raw(&mut self) -> bool {
        std::mem::take(&mut self.has_raw)
    }

    /// Nothing more comes; returns what is still to be told of what was dropped.
    pub(super) fn finish(mut self, now: Now) -> Dropped {
        self.dropped.end_lines();
        self.note_dropped(now);
        self.dropped
    }

    /// Whether it is still where it was opened.
    pub(super) fn is_in_place(&self) -> bool {
        self.files.is_current(&self.data)
    }

    /// What is still to be told of what was dropped.
    pub(super) fn owed(&self) -> &Dropped {
        &self.dropped
    }

    fn is_mid_line(&self, stream: Stream) -> bool {
        self.begun[stream.index()].is_some()
    }

    /// What does not belong to a line whose beginning was dropped; the rest of that goes too.
    fn without_rest<'a>(&mut self, stream: Stream, bytes: &'a [u8]) -> &'a [u8] {
        if !self.dropped.is_mid_line(stream) {
            return bytes;
        }
        let end = bytes.iter().position(|&byte| byte == b'\n').map_or(bytes.len(), |at| at + 1);
        self.dropped.add(stream, &bytes[..end]);
        &bytes[end..]
    }

    /// Gives up output, whole lines only: of one that has begun in the file the beginning too.
    fn drop_output(&mut self, stream: Stream, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        match &mut self.begun[stream.index()] {
            Some(Begun { place: Some((data_bytes, index_bytes)), .. }) => {
                let place = (*data_bytes, *index_bytes);
                self.dropped.add_beginning(self.data_bytes - place.0);
                self.begun[stream.index()] = None;
                self.cut(place);
            }
            Some(begun) => begun.is_broken = true,
            None => {}
        }
        self.dropped.add(stream, bytes);
    }

    /// Returns how many of the bytes are in the files.
    fn write(&mut self, stream: Stream, bytes: &[u8], now: Now) -> usize {
        let mut written = 0;
        if bytes.is_empty() || !self.note_dropped(now) {
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
            let done = self.put(stream, &rest[..fit], now);
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
        if !self.is_mid_line(stream.other()) {
            if let Some(end) = bytes[..room].iter().rposition(|&byte| byte == b'\n') {
                return end + 1;
            }
            if !self.is_mid_line(stream) && self.data_bytes > 0 {
                return 0;
            }
            if let Some(end) = bytes[room..].iter().position(|&byte| byte == b'\n') {
                return (room + end + 1).min(hard_room);
            }
        }
        bytes.len().min(hard_room)
    }

    /// Appends bytes with their records, or as many whole lines as there is room for; returns how
    /// many bytes.
    fn put(&mut self, stream: Stream, bytes: &[u8], now: Now) -> usize {
        let taken = self.write_some(bytes);
        let lines = bytes[..taken].iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        let len = if taken < bytes.len() { lines } else { taken };
        let is_recorded = len > 0 && self.record(stream, lines, len, now);
        let done = if is_recorded { len } else { 0 };
        self.data_bytes += done as u64;
        if done < taken {
            // Half a line, or bytes without a record.
            self.cut_to_length();
        }
        done
    }

    /// Adds a record for the lines that end, and one for what has begun behind them.
    fn record(&mut self, stream: Stream, lines: usize, len: usize, now: Now) -> bool {
        let (ended, begun) = (self.data_bytes, self.data_bytes + lines as u64);
        let piece = |offset, len| Piece { time_ms: now.unix_ms, offset, len, stream, flags: 0 };
        let pieces = [piece(ended, lines), piece(begun, len - lines)];
        let wanted = usize::from(lines == 0)..if lines == len { 1 } else { 2 };
        if let Err(error) = self.index.append(&pieces[wanted]) {
            self.dropped.set_why(&error);
            return false;
        }
        let own = &mut self.begun[stream.index()];
        if lines > 0 {
            *own = None;
        }
        if lines < len {
            let place = Some((begun, self.index.bytes() - RECORD_BYTES));
            own.get_or_insert(Begun { place, is_broken: false });
        }
        self.stay(stream.other());
        true
    }

    /// What a stream has begun cannot be taken back any more.
    fn stay(&mut self, stream: Stream) {
        if let Some(begun) = &mut self.begun[stream.index()] {
            begun.place = None;
        }
    }

    /// Writes how much was dropped, if anything was; false if there is no room even for that.
    fn note_dropped(&mut self, now: Now) -> bool {
        if self.dropped.is_nothing() {
            return true;
        }
        let before = (self.data_bytes, self.index.bytes(), self.begun);
        if self.try_note_dropped(now) {
            self.dropped.clear();
            return true;
        }
        self.cut((before.0, before.1));
        self.begun = before.2;
        false
    }

    fn try_note_dropped(&mut self, now: Now) -> bool {
        for stream in Stream::ALL {
            let is_broken = self.begun[stream.index()].is_some_and(|it| it.is_broken);
            if is_broken && self.put(stream, b"\n", now) == 0 {
                return false;
            }
        }
        // For who reads the bytes: no record names the newline, so that the line goes on for
        // others.
        let gap = if self.begun.iter().any(Option::is_some) { "\n" } else { "" };
        let note = self.dropped.note();
        let text = format!("{gap}{note}");
        let piece = Piece {
            time_ms: now.unix_ms,
            offset: self.data_bytes + gap.len() as u64,
            len: note.len(),
            stream: Stream::Out,
            flags: FLAG_DROPPED,
        };
        let is_told =
            self.write_some(text.as_bytes()) == text.len() && self.index.append(&[piece]).is_ok();
        if is_told {
            self.data_bytes += text.len() as u64;
            Stream::ALL.into_iter().for_each(|it| self.stay(it));
        }
        is_told
    }

    /// Takes back what is behind a place.
    fn cut(&mut self, (data_bytes, index_bytes): (u64, u64)) {
        self.data_bytes = data_bytes;
        self.index.shorten(index_bytes);
        self.cut_to_length();
    }

    /// A file that cannot grow can still be cut; on a read-only file system, when it is none again.
    fn cut_to_length(&mut self) {
        let cut = self.data.set_len(self.data_bytes).and_then(|()| self.index.cut_to_length());
        self.is_uncut = cut.is_err();
    }

    /// Goes on in new files; on failure all is as before.
    fn begin_files(&mut self, now: Now) -> io::Result<()> {
        let (data, index) = self.files.rotate(now.unix_ms)?;
        (self.data, self.index) = (data, Index::new(index)?);
        (self.data_bytes, self.is_rotation_due, self.has_raw) = (0, false, true);
        Stream::ALL.into_iter().for_each(|it| self.stay(it));
        Ok(())
    }

    /// Brings index and data in step after a crash, and ends a torn last line unless it goes on.
    fn mend(&mut self, torn: Torn, now: Now) -> io::Result<()> {
        let indexed = self.index.mend(self.data_bytes)?;
        let is_torn = !self.ends_with_newline()?;
        if is_torn && torn == Torn::Ended {
            self.data.write_all(b"\n")?;
            self.data_bytes += 1;
        }
        if self.data_bytes > indexed {
            let (time_ms, len) = (now.unix_ms, size(self.data_bytes - indexed));
            let piece = Piece { time_ms, offset: indexed, len, stream: Stream::Out, flags: 0 };
            self.index.append(&[piece])?;
        }
        if is_torn && torn == Torn::Continued {
            let last = self.index.last_stream()?;
            let is_broken = !self.dropped.is_nothing();
            self.begun[last.index()] = Some(Begun { place: None, is_broken });
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

    /// Writes until all is written or the file takes no more; returns how much it took.
    fn write_some(&mut self, bytes: &[u8]) -> usize {
        if self.is_uncut {
            self.cut_to_length();
        }
        let mut done = 0;
        while !self.is_uncut && done < bytes.len() {
            match self.data.write(&bytes[done..]) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    self.dropped.set_why(&error);
                    break;
                }
            }
        }
        done
    }
}

/// A length that is in memory or in a file that may be short of memory's size.
fn size(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
