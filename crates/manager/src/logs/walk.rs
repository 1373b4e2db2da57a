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
    /// Whether there are fewer lines than wanted.
    pub(super) is_oldest: bool,
    /// How many files and records are before the lines; what began earlier and ends among them left
    /// aside.
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
        let mut start = Start::at(&self);
        while !search.is_over() {
            let is_counting = search.lines > 0;
            let Some(record) = self.back()? else {
                start.is_oldest = is_counting;
                break;
            };
            let is_wanted = goal.stream.is_none_or(|it| it == record.stream);
            if is_wanted && search.look(&mut self.segment, self.record, &record)? {
                start.move_to(&self);
            }
            if is_counting {
                start.rank = self.rank();
            }
        }
        start.marks = search.streams.map(|it| it.mark);
        Ok(start)
    }

    fn rank(&self) -> (usize, u64) {
        (self.older.len(), self.record)
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
    fn at(walk: &Walk) -> Self {
        let (segment, record, rank) = (walk.segment.clone(), walk.record, walk.rank());
        Self { segment, record, marks: [None; 2], is_oldest: false, rank }
    }

    fn move_to(&mut self, walk: &Walk) {
        if self.segment.inode != walk.segment.inode {
            self.segment = walk.segment.clone();
        }
        self.record = walk.record;
    }

    /// Whether its lines begin before those of `other`, which was found from the same end.
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

    /// Looks for ends of lines in a record; returns whether it has to be read.
    fn look(&mut self, segment: &mut Segment, number: u64, record: &Record) -> io::Result<bool> {
        if record.note {
            let is_counting = self.lines > 0;
            self.lines = self.lines.saturating_sub(1);
            return Ok(is_counting);
        }
        let sought = &mut self.streams[record.stream as usize];
        if sought.mark.is_some() {
            return Ok(false);
        }
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
        Ok(true)
    }
}
