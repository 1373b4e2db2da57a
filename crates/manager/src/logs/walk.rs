//! Walks a log backwards by its index, to find where reading must begin.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{
    channel::Mark,
    forward::Place,
    index::{Record, Stream},
    rotation::{self, Key},
    segment::{self, Pair, Segment},
};

/// A place between two records of a log, from which it goes back.
#[derive(Debug, Clone)]
pub(super) struct Walk {
    dir: PathBuf,
    /// Pairs not reached yet, oldest first.
    older: Vec<Pair>,
    segment: Segment,
    /// The number of the record behind this place.
    record: u64,
}

/// Where to begin so that every line wanted comes whole.
#[derive(Debug, Clone)]
pub(super) struct Start {
    pub(super) segment: Segment,
    pub(super) record: u64,
    /// Where the first line wanted of each stream begins; `None`: at the first byte met.
    pub(super) marks: [Option<Mark>; 2],
    /// Whether there is nothing before it.
    pub(super) is_oldest: bool,
    /// How many files and records are before it.
    rank: (usize, u64),
}

/// What [`Walk::start`] is to find.
#[derive(Debug, Clone, Copy)]
pub(super) struct Goal {
    /// How many lines that end before the place.
    pub(super) lines: usize,
    /// Only this stream.
    pub(super) stream: Option<Stream>,
    /// Whether bytes will come behind the place, so that a line may have begun in any stream.
    pub(super) goes_on: bool,
}

#[derive(Debug, Default)]
struct Search {
    lines: usize,
    streams: [Sought; 2],
}

#[derive(Debug, Default)]
struct Sought {
    is_needed: bool,
    mark: Option<Mark>,
}

impl Walk {
    /// Begins at the end of the log; `None` if there is no log.
    pub(super) fn from_end(dir: &Path) -> io::Result<Option<Self>> {
        rotation::settled(dir, |listing| {
            let mut older = segment::pairs(listing);
            let Some(newest) = older.pop() else { return Ok(None) };
            let segment = Segment::open(dir, &newest)?;
            let record = segment.len()?;
            Ok(Some(Self { dir: dir.to_owned(), older, segment, record }))
        })
    }

    /// The place it has come to.
    pub(super) fn place(&self) -> Place {
        Place { inode: self.segment.inode, record: self.record }
    }

    /// Goes back until the record before the place is older than `ms`.
    pub(super) fn back_before(&mut self, ms: u64) -> io::Result<()> {
        while let Some(record) = self.back()? {
            if record.time_ms < ms {
                self.record += 1;
                break;
            }
        }
        Ok(())
    }

    /// Goes back to the first record that is not older than `ms`.
    ///
    /// Reads forwards in the file that holds it: times step back when the clock is set, and the
    /// first one counts.
    pub(super) fn back_to_first_since(&mut self, ms: u64) -> io::Result<()> {
        let is_recent = |pair: &Pair| !matches!(pair.key, Key::Rotated { ms: at, .. } if at < ms);
        while self.older.last().is_some_and(is_recent) && self.open_older()? {}
        self.record = 0;
        while self.segment.record(self.record)?.is_some_and(|it| it.time_ms < ms) {
            self.record += 1;
        }
        Ok(())
    }

    /// Finds where the lines of `goal` begin.
    ///
    /// Looks at data only for the lines themselves and their newline before; for a stream that is
    /// silent for long, only at the index.
    pub(super) fn start(mut self, goal: Goal) -> io::Result<Start> {
        let mut search = Search::new(goal);
        let mut is_oldest = false;
        while !search.is_over() {
            let Some(record) = self.back()? else {
                is_oldest = true;
                break;
            };
            if goal.stream.is_none_or(|it| it == record.stream) {
                search.look(&mut self.segment, self.record, &record)?;
            }
        }
        let marks = search.streams.map(|it| it.mark);
        let rank = (self.older.len(), self.record);
        Ok(Start { segment: self.segment, record: self.record, marks, is_oldest, rank })
    }

    fn back(&mut self) -> io::Result<Option<Record>> {
        while self.record == 0 {
            if !self.open_older()? {
                return Ok(None);
            }
        }
        self.record -= 1;
        self.segment.record(self.record)
    }

    /// Goes to the end of the pair before. One that was pruned had nothing older left either.
    fn open_older(&mut self) -> io::Result<bool> {
        let Some(pair) = self.older.pop() else { return Ok(false) };
        match Segment::open(&self.dir, &pair) {
            Ok(segment) => {
                self.record = segment.len()?;
                self.segment = segment;
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.older.clear();
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}

impl Start {
    /// Whether it is before `other`, which was found from the same end.
    pub(super) fn is_before(&self, other: &Self) -> bool {
        self.rank < other.rank
    }
}

impl Search {
    fn new(goal: Goal) -> Self {
        let mut search = Self { lines: goal.lines, ..Self::default() };
        for stream in [Stream::Out, Stream::Err] {
            let is_wanted = goal.stream.is_none_or(|it| it == stream);
            search.streams[stream as usize].is_needed = goal.goes_on && is_wanted;
        }
        search
    }

    fn is_over(&self) -> bool {
        self.lines == 0 && self.streams.iter().all(|it| it.mark.is_some() || !it.is_needed)
    }

    fn look(&mut self, segment: &mut Segment, number: u64, record: &Record) -> io::Result<()> {
        if record.note {
            self.lines = self.lines.saturating_sub(1);
            return Ok(());
        }
        let sought = &mut self.streams[record.stream as usize];
        sought.is_needed = true;
        let mut end = record.len;
        while sought.mark.is_none() {
            let Some(newline) = segment.newline_before(record, end)? else { break };
            if self.lines == 0 {
                let byte = newline + 1;
                sought.mark = Some(Mark { inode: segment.inode, record: number, byte });
            }
            self.lines = self.lines.saturating_sub(1);
            end = newline;
        }
        Ok(())
    }
}
