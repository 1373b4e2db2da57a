//! One daemon's log as lines, oldest first.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{
    forward::{Bounds, Forward, Horizon},
    line::{Line, Selection},
    walk::{Goal, Start, Walk},
};

/// How much further back each attempt looks while too few lines match: all attempts together then
/// cost a third more than the last one.
const FURTHER: usize = 4;

/// Why a log could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the log in `{}`", dir.display())]
pub struct ReadError {
    /// The directory of the log.
    pub dir: PathBuf,
    /// What went wrong there.
    pub source: io::Error,
}

/// Reads one daemon's log. Lines come in the order in which they ended.
///
/// Memory is bounded whatever the daemon prints: a line of each stream and a block of each file.
#[derive(Debug)]
pub struct Reader {
    dir: PathBuf,
    selection: Selection,
    forward: Forward,
    /// Lines that match and are still too many.
    surplus: usize,
}

/// Finds where reading begins.
#[derive(Debug)]
struct Opening<'a> {
    dir: &'a Path,
    selection: &'a Selection,
    bounds: Bounds,
    /// The end of the log.
    end: Walk,
    /// The end of what is wanted.
    horizon: Walk,
}

impl Reader {
    /// Opens the log in `dir` as it is now: what is written later does not come. No log is an empty
    /// one.
    ///
    /// The last lines are found by walking back from the end. Files that are pruned before they are
    /// reached are left out.
    ///
    /// # Errors
    /// [`ReadError`] if a file is there and cannot be read.
    pub fn open(dir: &Path, selection: &Selection) -> Result<Self, ReadError> {
        Self::start(dir, selection, false)
    }

    /// Opens the log in `dir` to go on with what is written later.
    ///
    /// [`Reader::next_line`] then gives `None` while there is nothing new, and a line only once it
    /// has ended.
    ///
    /// # Errors
    /// [`ReadError`] if a file is there and cannot be read.
    pub fn open_following(dir: &Path, selection: &Selection) -> Result<Self, ReadError> {
        Self::start(dir, selection, true)
    }

    /// Reads the next line.
    ///
    /// # Errors
    /// [`ReadError`] if a file cannot be read; the next call tries again.
    pub fn next_line(&mut self) -> Result<Option<Line>, ReadError> {
        self.next_wanted().map_err(|source| ReadError { dir: self.dir.clone(), source })
    }

    fn start(dir: &Path, selection: &Selection, is_following: bool) -> Result<Self, ReadError> {
        let bounds = Bounds { stream: selection.stream, is_following, ..Bounds::default() };
        let opened = match Opening::new(dir, selection, bounds) {
            Ok(Some(opening)) => opening.reader(),
            Ok(None) => Ok(Self::new(dir, selection, Forward::new(dir, bounds))),
            Err(error) => Err(error),
        };
        opened.map_err(|source| ReadError { dir: dir.to_owned(), source })
    }

    fn new(dir: &Path, selection: &Selection, forward: Forward) -> Self {
        Self { dir: dir.to_owned(), selection: selection.clone(), forward, surplus: 0 }
    }

    fn next_wanted(&mut self) -> io::Result<Option<Line>> {
        while let Some(line) = self.forward.next_line()? {
            if !self.selection.admits(&line) {
                continue;
            }
            if self.surplus == 0 {
                return Ok(Some(line));
            }
            self.surplus -= 1;
        }
        Ok(None)
    }
}

impl<'a> Opening<'a> {
    fn new(
        dir: &'a Path,
        selection: &'a Selection,
        mut bounds: Bounds,
    ) -> io::Result<Option<Self>> {
        let Some(end) = Walk::from_end(dir)? else { return Ok(None) };
        bounds.end = Some(end.place());
        let mut horizon = end.clone();
        if let Some(before_ms) = selection.before_ms {
            horizon.back_before(before_ms)?;
            let place = horizon.place();
            bounds.horizon = Some(Horizon { place, before_ms, is_passed: false });
        }
        Ok(Some(Self { dir, selection, bounds, end, horizon }))
    }

    fn reader(&self) -> io::Result<Reader> {
        match (self.selection.lines, self.selection.since_ms) {
            (Some(lines), _) => self.last(lines),
            (None, Some(since_ms)) => Ok(self.reader_from(self.since(since_ms)?)),
            (None, None) => Ok(self.reader_by(Forward::new(self.dir, self.final_bounds()))),
        }
    }

    /// Looks back from the horizon, counts what matches from there to the end, and looks further
    /// back while it is too little.
    fn last(&self, lines: usize) -> io::Result<Reader> {
        let floor = self.selection.since_ms.map(|it| self.since(it)).transpose()?;
        let mut back = lines;
        loop {
            let start = self.horizon.clone().start(self.goal(back))?;
            let floor = floor.as_ref().filter(|it| start.is_before(it));
            let is_last = floor.is_some() || start.is_oldest;
            let start = floor.cloned().unwrap_or(start);
            let found = self.count(start.clone())?;
            if found >= lines || is_last {
                let surplus = found.saturating_sub(lines);
                return Ok(Reader { surplus, ..self.reader_from(start) });
            }
            back = back.saturating_mul(FURTHER);
        }
    }

    fn count(&self, start: Start) -> io::Result<usize> {
        let mut reader = self.reader_by(Forward::from(self.dir, self.bounds, start));
        let mut found = 0;
        while reader.next_wanted()?.is_some() {
            found += 1;
        }
        Ok(found)
    }

    fn since(&self, since_ms: u64) -> io::Result<Start> {
        let mut walk = self.end.clone();
        walk.back_to_first_since(since_ms)?;
        walk.start(Goal { goes_on: true, ..self.goal(0) })
    }

    fn goal(&self, lines: usize) -> Goal {
        let goes_on = self.bounds.is_following || self.bounds.horizon.is_some();
        Goal { lines, stream: self.selection.stream, goes_on }
    }

    fn reader_from(&self, start: Start) -> Reader {
        self.reader_by(Forward::from(self.dir, self.final_bounds(), start))
    }

    fn reader_by(&self, forward: Forward) -> Reader {
        Reader::new(self.dir, self.selection, forward)
    }

    /// Counting stops where the log ended; following does not.
    fn final_bounds(&self) -> Bounds {
        let end = if self.bounds.is_following { None } else { self.bounds.end };
        Bounds { end, ..self.bounds }
    }
}

#[cfg(test)]
mod tests;
