//! The only one who writes the history.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use super::{Event, EventsError, NAMES, What};
use crate::logs::rotation::{Key, Listing};

/// A file is rotated before it grows beyond this: a few seconds of `less`.
pub(super) const LIMIT_BYTES: u64 = 10 * 1024 * 1024;
/// How many rotated files are kept: with the current one at most 110 MiB.
pub(super) const KEEP: usize = 10;
/// Where the last event is looked for. Longer than any event: arguments are at most 64 KiB.
const TAIL_BYTES: u64 = 256 * 1024;

/// Writes events. One per directory: the manager's lock sees to that.
#[derive(Debug)]
pub struct Writer {
    dir: PathBuf,
    file: File,
    pub(super) len: u64,
    seq: u64,
    /// Whether the last line has no end.
    is_torn: bool,
}

impl Writer {
    /// Opens the events in `dir`, which is made if need be, to go on behind the last one.
    ///
    /// # Errors
    /// [`EventsError::Open`].
    pub fn open(dir: &Path) -> Result<Self, EventsError> {
        Self::start(dir).map_err(|source| EventsError::Open { dir: dir.to_owned(), source })
    }

    /// Writes an event at the end, in one write, and returns it with its number.
    ///
    /// Not flushed to the disk: a power loss may take the last ones.
    ///
    /// # Errors
    /// [`EventsError`] if it is not written whole; its number is then given to the next one.
    pub fn append(&mut self, what: What, time_ms: u64) -> Result<Event, EventsError> {
        let is_free =
            |it: &String| !["v", "seq", "time", "kind", "name", "by"].contains(&it.as_str());
        debug_assert!(what.members.keys().all(is_free), "a member twice makes the line unreadable");
        let event = Event { v: 1, seq: self.seq.saturating_add(1), time_ms, what };
        let line = line(&event, self.is_torn);
        if self.len > 0 && self.len + line.len() as u64 > LIMIT_BYTES {
            let rotated = self.rotate(time_ms);
            rotated.map_err(|source| EventsError::Open { dir: self.dir.clone(), source })?;
        }
        let written = self.write(&line);
        written.map_err(|source| EventsError::Write { dir: self.dir.clone(), source })?;
        self.seq = event.seq;
        Ok(event)
    }

    /// The number of the last event.
    pub fn last_seq(&self) -> u64 {
        self.seq
    }

    fn start(dir: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let file = open_current(dir)?;
        let len = file.metadata()?.len();
        let is_torn = !tail(&file, 1)?.is_empty() && tail(&file, 1)? != b"\n";
        Ok(Self { dir: dir.to_owned(), file, len, seq: last_seq(dir)?, is_torn })
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        let count = self.file.write(line)?;
        self.len += count as u64;
        self.is_torn = count < line.len();
        if self.is_torn { Err(io::ErrorKind::WriteZero.into()) } else { Ok(()) }
    }

    pub(super) fn rotate(&mut self, now_ms: u64) -> io::Result<()> {
        let rotated = Listing::read(&self.dir)?.rotated(&[NAMES]);
        let key = Key::next(rotated.last().copied(), now_ms);
        match fs::rename(self.dir.join(NAMES.current), self.dir.join(NAMES.file(key))) {
            // Renamed before, but the next file could not be opened.
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.file = open_current(&self.dir)?;
        (self.len, self.is_torn) = (0, false);
        let surplus = (rotated.len() + 1).saturating_sub(KEEP);
        for &key in rotated.iter().take(surplus) {
            // One that stays is tried again at the next rotation.
            fs::remove_file(self.dir.join(NAMES.file(key))).ok();
        }
        Ok(())
    }
}

/// The event as a line, behind the newline that a torn one before it lacks.
fn line(event: &Event, is_torn: bool) -> Vec<u8> {
    let mut line = if is_torn { vec![b'\n'] } else { vec![] };
    serde_json::to_writer(&mut line, event)
        .expect("an event has only string keys, memory no errors");
    line.push(b'\n');
    line
}

pub(super) fn open_current(dir: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    options.open(dir.join(NAMES.current))
}

/// The number of the last event there is; 0 without any.
fn last_seq(dir: &Path) -> io::Result<u64> {
    for key in Listing::read(dir)?.keys(&NAMES).into_iter().rev() {
        let tail = tail(&File::open(dir.join(NAMES.file(key)))?, TAIL_BYTES)?;
        let mut lines = tail.rsplit(|&it| it == b'\n');
        if let Some(event) = lines.find_map(|it| serde_json::from_slice::<Event>(it).ok()) {
            return Ok(event.seq);
        }
    }
    Ok(0)
}

fn tail(file: &File, limit: u64) -> io::Result<Vec<u8>> {
    let len = file.metadata()?.len();
    let mut tail = vec![0; len.min(limit) as usize];
    file.read_exact_at(&mut tail, len.saturating_sub(limit))?;
    Ok(tail)
}
