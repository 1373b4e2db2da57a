//! What happened, and who asked for it: the manager's file of events.
//!
//! `current` in a directory of its own, a JSON document per line, rotated to `@MS-N.jsonl`. Readers
//! need no manager.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, BufRead, BufReader, Write},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
        unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::logs::{
    rotation::{self, Key, Listing, Names},
    watch::{Watch, WatchError},
};

const NAMES: Names = Names { current: "current", suffix: ".jsonl" };
/// A file is rotated before it grows beyond this: a few seconds of `less`.
const LIMIT_BYTES: u64 = 10 * 1024 * 1024;
/// How many rotated files are kept: with the current one at most 110 MiB.
const KEEP: usize = 10;
/// Where the last event is looked for. Longer than any event: arguments are at most 64 KiB.
const TAIL_BYTES: u64 = 256 * 1024;
/// The most events of one batch.
const BATCH: usize = 1024;

/// One thing that happened, as it stands in the file and on the wire.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// The version of this shape: 1.
    pub v: u8,
    /// Counts from 1, over restarts too.
    pub seq: u64,
    /// When, in Unix milliseconds; RFC 3339 in the file.
    #[serde(rename = "time", with = "rfc3339")]
    pub time_ms: u64,
    /// What it is and whom it is about.
    #[serde(flatten)]
    pub what: What,
}

/// An event but for its number and time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct What {
    /// What sort of thing.
    pub kind: Kind,
    /// The daemon it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Who asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Value>,
    /// Everything else, with names that none of the members above has.
    #[serde(flatten)]
    pub members: Map<String, Value>,
}

/// The sorts of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A daemon went from one state to another.
    Transition,
    /// Somebody asked for something.
    Command,
    /// Anything else worth knowing.
    Note,
}

/// Why events could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum EventsError {
    /// The file of events cannot be opened or rotated.
    #[error("cannot open the events in `{}`", dir.display())]
    Open {
        /// The directory.
        dir: PathBuf,
        /// What went wrong there.
        source: io::Error,
    },

    /// An event cannot be written.
    #[error("cannot write to the events in `{}`", dir.display())]
    Write {
        /// The directory.
        dir: PathBuf,
        /// What went wrong there.
        source: io::Error,
    },

    /// Events cannot be read.
    #[error("cannot read the events in `{}`", dir.display())]
    Read {
        /// The directory.
        dir: PathBuf,
        /// What went wrong there.
        source: io::Error,
    },

    /// The directory cannot be watched.
    #[error(transparent)]
    Watch(#[from] WatchError),
}

/// Writes events. One per directory: the manager's lock sees to that.
#[derive(Debug)]
pub struct Writer {
    dir: PathBuf,
    file: File,
    len: u64,
    seq: u64,
    /// Whether the last line has no end.
    is_torn: bool,
}

/// Reads events, oldest first.
#[derive(Debug)]
pub struct Reader {
    dir: PathBuf,
    since_ms: u64,
    is_following: bool,
    file: Option<Open>,
    line: Vec<u8>,
}

/// Follows events over rotations. Waits like [`crate::logs::Follow`].
#[derive(Debug)]
pub struct Follow {
    watch: Watch,
    reader: Reader,
}

#[derive(Debug)]
struct Open {
    key: Key,
    inode: u64,
    file: BufReader<File>,
    is_retired: bool,
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

    fn rotate(&mut self, now_ms: u64) -> io::Result<()> {
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

impl Reader {
    /// Opens the events in `dir` that happened at `since_ms` or later; all of them from 0.
    ///
    /// Lines that are no event are left out: what a crash tore, or a newer version wrote.
    pub fn open(dir: &Path, since_ms: u64) -> Self {
        Self { dir: dir.to_owned(), since_ms, is_following: false, file: None, line: vec![] }
    }

    /// Reads the next event; `None` at the end.
    ///
    /// # Errors
    /// [`EventsError::Read`].
    pub fn next_event(&mut self) -> Result<Option<Event>, EventsError> {
        self.next().map_err(|source| EventsError::Read { dir: self.dir.clone(), source })
    }

    fn next(&mut self) -> io::Result<Option<Event>> {
        loop {
            while let Some(event) = self.any()? {
                if event.time_ms >= self.since_ms {
                    return Ok(Some(event));
                }
            }
            if !self.turn()? {
                return Ok(None);
            }
        }
    }

    /// The next event of this file.
    fn any(&mut self) -> io::Result<Option<Event>> {
        let Some(open) = &mut self.file else { return Ok(None) };
        loop {
            open.file.read_until(b'\n', &mut self.line)?;
            if self.line.last() != Some(&b'\n') {
                return Ok(None);
            }
            let event = serde_json::from_slice(&self.line).ok();
            self.line.clear();
            if event.is_some() {
                return Ok(event);
            }
        }
    }

    /// Goes on at the end of a file; `false` if there is nothing more for now.
    fn turn(&mut self) -> io::Result<bool> {
        if let Some(open) = &mut self.file
            && open.key == Key::Current
            && !open.is_retired
        {
            // Events may have come between the last look and the rename: look again first.
            let current = self.dir.join(NAMES.current);
            open.is_retired = self.is_following && !rotation::is_file(&current, open.inode)?;
            return Ok(open.is_retired);
        }
        let Some(next) = self.open_next()? else { return Ok(false) };
        self.line.clear();
        self.file = Some(next);
        Ok(true)
    }

    fn open_next(&self) -> io::Result<Option<Open>> {
        rotation::settled(&self.dir, |listing| {
            let mut keys = listing.keys(&NAMES);
            keys.retain(|it| !matches!(it, Key::Rotated { ms, .. } if *ms < self.since_ms));
            let mut behind = 0;
            for (at, &key) in keys.iter().enumerate() {
                let path = self.dir.join(NAMES.file(key));
                if let Some(open) = &self.file
                    && rotation::is_file(&path, open.inode)?
                {
                    behind = at + 1;
                }
            }
            keys.get(behind).map(|&key| Open::new(&self.dir, key)).transpose()
        })
    }
}

impl Follow {
    /// Follows the events in `dir`, first those that happened at `since_ms` or later.
    ///
    /// # Errors
    /// [`EventsError::Watch`].
    pub fn open(dir: &Path, since_ms: u64) -> Result<Self, EventsError> {
        let watch = Watch::new(vec![dir.to_owned()], NAMES.current)?;
        Ok(Self { watch, reader: Reader { is_following: true, ..Reader::open(dir, since_ms) } })
    }

    /// Gives some events, waiting for the first if need be.
    ///
    /// An empty batch before `timeout` is over means that something else changed; `None` waits for
    /// as long as it takes.
    ///
    /// # Errors
    /// [`EventsError::Read`], [`EventsError::Watch`].
    pub fn next_batch(&mut self, timeout: Option<Duration>) -> Result<Vec<Event>, EventsError> {
        // What was said so far is about what is read now.
        self.watch.changed(Some(Duration::ZERO))?;
        let batch = self.batch()?;
        if !batch.is_empty() || timeout == Some(Duration::ZERO) {
            return Ok(batch);
        }
        self.watch.changed(timeout)?;
        self.batch()
    }

    fn batch(&mut self) -> Result<Vec<Event>, EventsError> {
        let mut batch = vec![];
        while batch.len() < BATCH {
            let Some(event) = self.reader.next_event()? else { break };
            batch.push(event);
        }
        Ok(batch)
    }
}

impl AsFd for Follow {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.watch.as_fd()
    }
}

impl AsRawFd for Follow {
    fn as_raw_fd(&self) -> RawFd {
        self.watch.as_raw_fd()
    }
}

impl Open {
    fn new(dir: &Path, key: Key) -> io::Result<Self> {
        let file = File::open(dir.join(NAMES.file(key)))?;
        let inode = file.metadata()?.ino();
        Ok(Self { key, inode, file: BufReader::new(file), is_retired: false })
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

fn open_current(dir: &Path) -> io::Result<File> {
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

/// Unix milliseconds as RFC 3339.
mod rfc3339 {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::time;

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
    pub(super) fn serialize<S: Serializer>(ms: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&time::rfc3339(*ms))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        let text = String::deserialize(deserializer)?;
        time::parse_rfc3339(&text).ok_or_else(|| D::Error::custom("expected an RFC 3339 time"))
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, thread};

    use serde_json::json;
    use tokio::time::Instant;

    use super::*;

    /// One patience for all: only a test that fails waits for so long.
    const PATIENCE: Duration = Duration::from_secs(20);

    fn what(name: &str) -> What {
        let members = Map::from_iter([("to".to_owned(), json!("up"))]);
        What { kind: Kind::Transition, name: Some(name.to_owned()), by: None, members }
    }

    fn read(dir: &Path, since_ms: u64) -> Vec<u64> {
        let mut reader = Reader::open(dir, since_ms);
        std::iter::from_fn(|| reader.next_event().unwrap()).map(|it| it.seq).collect()
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn a_number_that_nothing_can_follow_stops_no_history() {
        let home = tempfile::tempdir().unwrap();
        let last =
            r#"{"v":1,"seq":18446744073709551615,"time":"1970-01-01T00:00:00Z","kind":"note"}"#;
        fs::write(home.path().join("current"), format!("{last}\n")).unwrap();
        Writer::open(home.path()).unwrap().append(what("Sample"), 7).unwrap();
        assert_eq!(read(home.path(), 0), [u64::MAX, u64::MAX]);
    }

    #[test]
    fn an_event_is_a_line_of_json_for_its_owner_only() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("state/events");
        let mut writer = Writer::open(&dir).unwrap();
        let event = writer.append(what("Sample"), 7).unwrap();
        let by = Some(json!({"uid": 1000}));
        let command = What { kind: Kind::Command, name: None, by, members: Map::new() };
        writer.append(command, 8).unwrap();
        assert_eq!(
            fs::read_to_string(dir.join("current")).unwrap(),
            concat!(
                r#"{"v":1,"seq":1,"time":"1970-01-01T00:00:00.007Z","kind":"transition","name":"Sample","to":"up"}"#,
                "\n",
                r#"{"v":1,"seq":2,"time":"1970-01-01T00:00:00.008Z","kind":"command","by":{"uid":1000}}"#,
                "\n"
            )
        );
        assert_eq!(Reader::open(&dir, 0).next_event().unwrap(), Some(event));
        assert_eq!((mode(&dir), mode(&dir.join("current"))), (0o700, 0o600));
    }

    #[test]
    fn numbers_go_on_over_a_restart_and_a_torn_line() {
        let dir = tempfile::tempdir().unwrap();
        Writer::open(dir.path()).unwrap().append(what("A"), 1).unwrap();
        let mut file = open_current(dir.path()).unwrap();
        file.write_all(br#"{"v":1,"seq":2,"ti"#).unwrap();
        assert_eq!(read(dir.path(), 0), [1]);
        for time_ms in [2, 3] {
            Writer::open(dir.path()).unwrap().append(what("A"), time_ms).unwrap();
        }
        assert_eq!(read(dir.path(), 0), [1, 2, 3]);
        assert_eq!(read(dir.path(), 3), [3]);
    }

    #[test]
    fn files_are_rotated_and_the_oldest_removed() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = Writer::open(dir.path()).unwrap();
        for time_ms in 1..=14 {
            writer.len = LIMIT_BYTES;
            writer.append(what("A"), time_ms).unwrap();
        }
        assert_eq!(Listing::read(dir.path()).unwrap().rotated(&[NAMES]).len(), KEEP);
        assert_eq!(read(dir.path(), 0), (4..=14).collect::<Vec<_>>());
        assert_eq!(read(dir.path(), 12), [12, 13, 14]);
        writer.rotate(20).unwrap();
        assert_eq!(Writer::open(dir.path()).unwrap().append(what("A"), 1).unwrap().seq, 15);
    }

    #[test]
    fn an_empty_or_missing_directory_has_no_events() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path(), 0), [0; 0]);
        assert_eq!(read(&dir.path().join("events"), 0), [0; 0]);
    }

    #[test]
    fn a_follower_sees_every_event_once_over_rotations() {
        const EVENTS: u64 = 1000;
        const AHEAD: u64 = 4;
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("events");
        let mut follow = Follow::open(&dir, 0).unwrap();
        let (seen, next) = mpsc::channel();
        let writer = thread::spawn(move || {
            let mut writer = Writer::open(&dir).unwrap();
            for time_ms in 1..=EVENTS {
                writer.append(what("A"), time_ms).unwrap();
                writer.rotate(time_ms).unwrap();
                if time_ms > AHEAD {
                    next.recv().unwrap();
                }
            }
        });
        let mut last = 0;
        while last < EVENTS {
            for seq in take(&mut follow) {
                assert_eq!(seq, last + 1);
                last = seq;
                seen.send(()).ok();
            }
        }
        writer.join().unwrap();
    }

    fn take(follow: &mut Follow) -> Vec<u64> {
        let end = Instant::now() + PATIENCE;
        loop {
            let batch = follow.next_batch(Some(PATIENCE)).unwrap();
            if !batch.is_empty() {
                return batch.iter().map(|it| it.seq).collect();
            }
            assert!(Instant::now() < end, "no event came");
        }
    }
}
