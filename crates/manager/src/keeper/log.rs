//! The log of one daemon: `current` has its output byte for byte, `current.index` says when and
//! through which stream each piece came.
//!
//! An index record is 24 bytes, little endian: time (u64, Unix milliseconds), offset in the log
//! (u64), length (u32), stream (u8, `o` or `e`), flags (u8, see [`FLAG_DROPPED`]), zero (u16). It is
//! written after its bytes, so what a record names is there.

use std::collections::VecDeque;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::clock::Now;
use super::protocol::LogSettings;

/// The size of one index record.
pub const RECORD_BYTES: u64 = 24;

/// Set in the flags of the record whose line the keeper wrote itself, about output it dropped.
pub const FLAG_DROPPED: u8 = 1;

/// How long a child waits for room on the disk; after that its output is worth less than its work.
const PATIENCE_MS: u64 = 10_000;

/// How often a full disk is tried: nothing tells when there is room again.
const RETRY_MS: u64 = 200;

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
    pub const ALL: [Self; 2] = [Self::Out, Self::Err];

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
    dir: PathBuf,
    max_bytes: u64,
    keep: usize,
    data: File,
    index: File,
    data_bytes: u64,
    index_bytes: u64,
    /// Whether each stream stopped within a line.
    mid_line: [bool; 2],
    is_rotation_due: bool,
    /// The rotated files, oldest first, as (Unix milliseconds, number within one).
    old: VecDeque<(u64, u32)>,
    stuck: Option<Stuck>,
    dropped_bytes: u64,
    retry_at_ms: u64,
}

/// Output that the disk did not take.
#[derive(Debug)]
struct Stuck {
    stream: Stream,
    bytes: Vec<u8>,
    until_ms: u64,
}

impl Log {
    /// Opens a daemon's log and continues `current`, mending what a crash left torn.
    ///
    /// # Errors
    /// Those of the file system.
    pub(super) fn open(settings: &LogSettings, now: Now) -> io::Result<Self> {
        let dir = settings.dir.clone();
        DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
        let (data, index) = open_current(&dir)?;
        let mut log = Self {
            max_bytes: settings.max_bytes.max(1),
            keep: settings.keep,
            data_bytes: data.metadata()?.len(),
            index_bytes: index.metadata()?.len(),
            old: rotated(&dir)?,
            dir,
            data,
            index,
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
        let done = write_some(&mut self.data, bytes);
        if done == 0 {
            return 0;
        }
        if self.record(stream, self.data_bytes, done, flags, now).is_err() {
            // A file that cannot grow can still be cut, so both stay in step.
            drop(self.data.set_len(self.data_bytes));
            return 0;
        }
        self.data_bytes += done as u64;
        self.mid_line[stream.index()] = bytes[done - 1] != b'\n';
        done
    }

    fn record(
        &mut self,
        stream: Stream,
        offset: u64,
        len: usize,
        flags: u8,
        now: Now,
    ) -> io::Result<()> {
        let mut record = [0; RECORD_BYTES as usize];
        record[..8].copy_from_slice(&now.unix_ms.to_le_bytes());
        record[8..16].copy_from_slice(&offset.to_le_bytes());
        record[16..20].copy_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes());
        record[20] = stream.letter();
        record[21] = flags;
        if let Err(error) = self.index.write_all(&record) {
            drop(self.index.set_len(self.index_bytes));
            return Err(error);
        }
        self.index_bytes += RECORD_BYTES;
        Ok(())
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
            self.index_bytes -= RECORD_BYTES;
            drop(self.data.set_len(self.data_bytes));
            drop(self.index.set_len(self.index_bytes));
        }
    }

    /// Gives the current files their final names and opens new ones; on failure all is as before.
    fn begin_files(&mut self, now: Now) -> io::Result<()> {
        let stamp = match self.old.back() {
            // Never before an older file, whatever the clock says.
            Some(&(ms, number)) if ms >= now.unix_ms => (ms, number + 1),
            _ => (now.unix_ms, 0),
        };
        let [current, current_index] = [self.dir.join("current"), self.dir.join("current.index")];
        let [data, index] = self.rotated_paths(stamp);
        // The index goes first: between the two, a crash leaves bytes without records, which the
        // next start mends, and not records without bytes.
        fs::rename(&current_index, &index)?;
        fs::rename(&current, &data)?;
        match open_current(&self.dir) {
            Ok((data, index)) => (self.data, self.index) = (data, index),
            Err(error) => {
                fs::rename(&data, &current)?;
                fs::rename(&index, &current_index)?;
                return Err(error);
            }
        }
        (self.data_bytes, self.index_bytes, self.is_rotation_due) = (0, 0, false);
        self.old.push_back(stamp);
        self.delete_oldest();
        Ok(())
    }

    fn delete_oldest(&mut self) {
        while self.old.len() > self.keep {
            let Some(stamp) = self.old.pop_front() else { return };
            for path in self.rotated_paths(stamp) {
                // Somebody else may have deleted it, which is as good.
                drop(fs::remove_file(path));
            }
        }
    }

    fn rotated_paths(&self, (ms, number): (u64, u32)) -> [PathBuf; 2] {
        ["log", "index"].map(|ending| self.dir.join(format!("@{ms}-{number}.{ending}")))
    }

    /// Brings index and data in step after a crash, and ends a torn last line.
    fn mend(&mut self, now: Now) -> io::Result<()> {
        self.index_bytes -= self.index_bytes % RECORD_BYTES;
        while self.indexed_end()? > self.data_bytes {
            self.index_bytes -= RECORD_BYTES;
        }
        self.index.set_len(self.index_bytes)?;
        let indexed = self.indexed_end()?;
        let mut end = self.data_bytes;
        if !self.ends_with_newline()? {
            self.data.write_all(b"\n")?;
            end += 1;
        }
        if end > indexed {
            self.record(Stream::Out, indexed, size(end - indexed), 0, now)?;
        }
        self.data_bytes = end;
        Ok(())
    }

    /// Where the bytes of the last record end.
    fn indexed_end(&mut self) -> io::Result<u64> {
        let Some(at) = self.index_bytes.checked_sub(RECORD_BYTES) else { return Ok(0) };
        let mut record = [0; RECORD_BYTES as usize];
        self.index.seek(SeekFrom::Start(at))?;
        self.index.read_exact(&mut record)?;
        let [mut offset, mut len] = [[0; 8]; 2];
        offset.copy_from_slice(&record[8..16]);
        len[..4].copy_from_slice(&record[16..20]);
        Ok(u64::from_le_bytes(offset).saturating_add(u64::from_le_bytes(len)))
    }

    fn ends_with_newline(&mut self) -> io::Result<bool> {
        let Some(at) = self.data_bytes.checked_sub(1) else { return Ok(true) };
        let mut last = [0];
        self.data.seek(SeekFrom::Start(at))?;
        self.data.read_exact(&mut last)?;
        Ok(last == *b"\n")
    }
}

fn open_current(dir: &Path) -> io::Result<(File, File)> {
    Ok((open_append(&dir.join("current"))?, open_append(&dir.join("current.index"))?))
}

fn open_append(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
}

/// The rotated files that are there, oldest first.
fn rotated(dir: &Path) -> io::Result<VecDeque<(u64, u32)>> {
    let mut stamps = Vec::new();
    for entry in fs::read_dir(dir)? {
        stamps.extend(entry?.file_name().to_str().and_then(stamp));
    }
    stamps.sort_unstable();
    Ok(stamps.into())
}

fn stamp(file_name: &str) -> Option<(u64, u32)> {
    let (ms, number) = file_name.strip_prefix('@')?.strip_suffix(".log")?.split_once('-')?;
    Some((ms.parse().ok()?, number.parse().ok()?))
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
