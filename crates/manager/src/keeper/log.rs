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

/// What becomes of a last line without its end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Torn {
    /// Nobody will write the rest.
    Ended,
    /// Whoever wrote it lives.
    Continued,
}

impl Log {
    /// Opens a daemon's log and continues `current`, mending what a crash left torn.
    ///
    /// # Errors
    /// Those of the file system.
    pub(super) fn open(settings: &LogSettings, now: Now) -> io::Result<Self> {
        Self::open_as(settings, Torn::Ended, now)
    }

    /// As [`open`](Self::open), for a child that goes on writing: a line that is not at its end stays open.
    ///
    /// # Errors
    /// Those of the file system.
    pub(super) fn resume(settings: &LogSettings, now: Now) -> io::Result<Self> {
        Self::open_as(settings, Torn::Continued, now)
    }

    fn open_as(settings: &LogSettings, torn: Torn, now: Now) -> io::Result<Self> {
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
        log.mend(torn, now)?;
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

    /// Brings index and data in step after a crash, and ends a torn last line unless it goes on.
    fn mend(&mut self, torn: Torn, now: Now) -> io::Result<()> {
        self.index_bytes -= self.index_bytes % RECORD_BYTES;
        while self.indexed_end()? > self.data_bytes {
            self.index_bytes -= RECORD_BYTES;
        }
        self.index.set_len(self.index_bytes)?;
        let indexed = self.indexed_end()?;
        let mut end = self.data_bytes;
        let is_torn = !self.ends_with_newline()?;
        if is_torn && torn == Torn::Ended {
            self.data.write_all(b"\n")?;
            end += 1;
        }
        if end > indexed {
            self.record(Stream::Out, indexed, size(end - indexed), 0, now)?;
        }
        self.data_bytes = end;
        let last = self.last_stream()?;
        self.mid_line[last.index()] = is_torn && torn == Torn::Continued;
        Ok(())
    }

    /// Which stream the last record is of.
    fn last_stream(&mut self) -> io::Result<Stream> {
        let Some(at) = self.index_bytes.checked_sub(RECORD_BYTES) else { return Ok(Stream::Out) };
        let mut record = [0; RECORD_BYTES as usize];
        self.index.seek(SeekFrom::Start(at))?;
        self.index.read_exact(&mut record)?;
        Ok(if record[20] == Stream::Err.letter() { Stream::Err } else { Stream::Out })
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::*;

    const MAX_BYTES: u64 = 64;

    fn at(ms: u64) -> Now {
        Now { unix_ms: ms, steady_ms: ms }
    }

    fn open(dir: &TempDir, keep: usize) -> Log {
        let settings = LogSettings { dir: dir.path().to_owned(), max_bytes: MAX_BYTES, keep };
        Log::open(&settings, at(1)).unwrap()
    }

    fn current(dir: &TempDir) -> Vec<u8> {
        fs::read(dir.path().join("current")).unwrap()
    }

    /// The records of an index file as (time, offset, length, stream, flags).
    fn records(path: &Path) -> Vec<(u64, u64, u32, u8, u8)> {
        let bytes = fs::read(path).unwrap();
        assert_eq!(bytes.len() as u64 % RECORD_BYTES, 0);
        let long = |part: &[u8]| u64::from_le_bytes(part.try_into().unwrap());
        let record = |it: &[u8]| {
            let len = u32::from_le_bytes(it[16..20].try_into().unwrap());
            (long(&it[..8]), long(&it[8..16]), len, it[20], it[21])
        };
        bytes.chunks(RECORD_BYTES as usize).map(record).collect()
    }

    /// All files of a log in order, each as what it holds per stream, read by its index.
    fn files(dir: &TempDir) -> Vec<[Vec<u8>; 2]> {
        let mut names: Vec<_> = rotated(dir.path())
            .unwrap()
            .into_iter()
            .map(|(ms, number)| (format!("@{ms}-{number}.log"), format!("@{ms}-{number}.index")))
            .collect();
        names.push(("current".to_owned(), "current.index".to_owned()));
        names.iter().map(|(data, index)| streams(dir.path(), data, index)).collect()
    }

    fn streams(dir: &Path, data: &str, index: &str) -> [Vec<u8>; 2] {
        let bytes = fs::read(dir.join(data)).unwrap();
        let mut streams = [Vec::new(), Vec::new()];
        let mut end = 0;
        for (_, offset, len, stream, _) in records(&dir.join(index)) {
            assert_eq!(offset, end, "the index has neither holes nor overlaps");
            end += u64::from(len);
            let part = &bytes[size(offset)..size(end)];
            streams[usize::from(stream == b'e')].extend_from_slice(part);
        }
        assert_eq!(end, bytes.len() as u64, "the index covers the file");
        streams
    }

    proptest! {
        /// However output is cut and wherever files end, the same bytes are there, and a file
        /// within its size ends where a line of both streams does.
        #[test]
        fn rotation_loses_nothing(
            pieces in prop::collection::vec((any::<bool>(), "[a-c\n]{1,90}"), 1..40),
        ) {
            let dir = tempfile::tempdir().unwrap();
            let mut log = open(&dir, 10_000);
            let mut printed = [Vec::new(), Vec::new()];
            for (number, (is_err, piece)) in pieces.iter().enumerate() {
                let stream = Stream::ALL[usize::from(*is_err)];
                log.append(stream, piece.as_bytes(), at(number as u64));
                printed[stream.index()].extend_from_slice(piece.as_bytes());
            }
            let files = files(&dir);
            for [out, err] in &files[..files.len() - 1] {
                let len = (out.len() + err.len()) as u64;
                prop_assert!(len > 0 && len <= 2 * MAX_BYTES);
                let is_whole = |text: &Vec<u8>| text.last().is_none_or(|&byte| byte == b'\n');
                prop_assert!(len == 2 * MAX_BYTES || len > MAX_BYTES || is_whole(out) && is_whole(err));
            }
            for stream in Stream::ALL {
                let kept: Vec<u8> =
                    files.iter().flat_map(|file| file[stream.index()].clone()).collect();
                prop_assert_eq!(&kept, &printed[stream.index()]);
            }
        }
    }

    #[test]
    fn only_so_many_old_files_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = open(&dir, 2);
        for number in 0..5 {
            log.append(Stream::Out, format!("{number}\n").as_bytes(), at(9));
            log.rotate(at(9));
        }
        assert_eq!(rotated(dir.path()).unwrap(), [(9, 3), (9, 4)]);
        assert_eq!(fs::read(dir.path().join("@9-4.log")).unwrap(), b"4\n");
    }

    #[test]
    fn a_rotation_on_demand_waits_for_the_line_to_end() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = open(&dir, 9);
        log.append(Stream::Out, b"half", at(2));
        log.rotate(at(3));
        log.append(Stream::Out, b" a line\nnext", at(4));
        assert_eq!(fs::read(dir.path().join("@4-0.log")).unwrap(), b"half a line\n");
        assert_eq!(current(&dir), b"next");
    }

    #[test]
    fn a_clock_that_was_set_back_does_not_reorder_files() {
        let dir = tempfile::tempdir().unwrap();
        for ms in [5, 3] {
            let mut log = open(&dir, 9);
            log.append(Stream::Out, format!("{ms}\n").as_bytes(), at(ms));
            log.rotate(at(ms));
        }
        assert_eq!(rotated(dir.path()).unwrap(), [(5, 0), (5, 1)]);
    }

    #[test]
    fn what_a_crash_tore_is_mended() {
        let dir = tempfile::tempdir().unwrap();
        open(&dir, 9).append(Stream::Err, b"one\n", at(1));
        let [data, index] = ["current", "current.index"].map(|name| dir.path().join(name));
        let append = |path, bytes: &[u8]| open_append(path).unwrap().write_all(bytes).unwrap();
        append(&data, b"two\nthr");
        append(&index, b"torn");

        open(&dir, 9).append(Stream::Err, b"four\n", at(2));

        assert_eq!(current(&dir), b"one\ntwo\nthr\nfour\n");
        let expected = [(1, 0, 4, b'e', 0), (1, 4, 8, b'o', 0), (2, 12, 5, b'e', 0)];
        assert_eq!(records(&index), expected);
    }

    #[test]
    fn a_line_whose_writer_lives_is_continued() {
        let dir = tempfile::tempdir().unwrap();
        open(&dir, 9).append(Stream::Err, b"one\nha", at(1));
        let settings = LogSettings { dir: dir.path().to_owned(), max_bytes: MAX_BYTES, keep: 9 };
        let mut log = Log::resume(&settings, at(2)).unwrap();
        // No rotation within a line, either.
        log.rotate(at(2));
        log.append(Stream::Err, b"lf\n", at(2));
        assert_eq!(current(&dir), b"one\nhalf\n");
    }

    #[test]
    fn a_record_without_its_bytes_is_cut() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = open(&dir, 9);
        log.append(Stream::Out, b"one\n", at(1));
        log.append(Stream::Out, b"two\n", at(1));
        log.data.set_len(4).unwrap();
        open(&dir, 9);
        assert_eq!(records(&dir.path().join("current.index")).len(), 1);
    }

    /// As on a full disk: every write fails until the file is opened anew.
    fn fill(log: &mut Log) {
        log.data = File::open(log.dir.join("current")).unwrap();
    }

    fn make_room(log: &mut Log) {
        log.data = open_append(&log.dir.join("current")).unwrap();
    }

    #[test]
    fn a_full_disk_makes_the_child_wait_and_loses_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = open(&dir, 9);
        fill(&mut log);
        log.append(Stream::Out, b"one\n", at(100));
        assert!(log.is_blocked());
        assert_eq!(log.retry_at_ms(), Some(300));
        make_room(&mut log);
        log.retry(at(300));
        assert!(!log.is_blocked() && log.retry_at_ms().is_none());
        assert_eq!(current(&dir), b"one\n");
    }

    #[test]
    fn what_waits_too_long_is_dropped_and_counted() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = open(&dir, 9);
        log.append(Stream::Out, b"half", at(1));
        fill(&mut log);
        log.append(Stream::Out, b"12345", at(100));
        log.retry(at(100 + PATIENCE_MS));
        assert!(!log.is_blocked());
        log.append(Stream::Err, b"678\n", at(200 + PATIENCE_MS));
        assert!(!log.is_blocked(), "it waits once, not again for every piece");
        make_room(&mut log);
        log.retry(at(400 + PATIENCE_MS));
        let told = "half\ndae: 9 bytes of output were dropped, the disk was full\n";
        assert_eq!(String::from_utf8(current(&dir)).unwrap(), told);
        assert_eq!(records(&dir.path().join("current.index"))[1].4, FLAG_DROPPED);
        assert_eq!(log.retry_at_ms(), None);
    }

    #[test]
    fn a_piece_without_a_record_is_not_in_the_log() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = open(&dir, 9);
        log.index = File::open(dir.path().join("current.index")).unwrap();
        log.append(Stream::Out, b"one\n", at(100));
        assert!(log.is_blocked());
        assert_eq!(current(&dir), b"");
    }
}
