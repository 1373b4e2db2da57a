//! The history from its files, oldest first, over rotations.

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::{Event, EventsError, NAMES};
use crate::logs::rotation::{self, Key};

/// Reads events, oldest first.
#[derive(Debug)]
pub struct Reader {
    dir: PathBuf,
    since_ms: u64,
    is_following: bool,
    file: Option<Open>,
    line: Vec<u8>,
}

#[derive(Debug)]
struct Open {
    key: Key,
    inode: u64,
    file: BufReader<File>,
    is_retired: bool,
}

impl Reader {
    /// Opens the events in `dir` that happened at `since_ms` or later; all of them from 0.
    ///
    /// Lines that are no event are left out: what a crash tore, or a newer version wrote.
    pub fn open(dir: &Path, since_ms: u64) -> Self {
        Self { dir: dir.to_owned(), since_ms, is_following: false, file: None, line: vec![] }
    }

    /// As [`open`](Self::open), to go on with what is written later.
    pub(super) fn following(dir: &Path, since_ms: u64) -> Self {
        Self { is_following: true, ..Self::open(dir, since_ms) }
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

impl Open {
    fn new(dir: &Path, key: Key) -> io::Result<Self> {
        let file = File::open(dir.join(NAMES.file(key)))?;
        let inode = file.metadata()?.ino();
        Ok(Self { key, inode, file: BufReader::new(file), is_retired: false })
    }
}
