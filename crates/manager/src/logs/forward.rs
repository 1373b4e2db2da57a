//! Goes through a log forwards, from one file to the next.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{
    channel::{Began, Channel},
    index::{Record, Stream},
    line::{Cursor, Line},
    rotation::Key,
    segment::Segment,
    walk::Start,
};

/// A pass over a log.
#[derive(Debug)]
pub(super) struct Forward {
    dir: PathBuf,
    bounds: Bounds,
    segment: Option<Segment>,
    record: u64,
    byte: u32,
    /// The record before, as it was when it was read.
    last: Option<Record>,
    /// In which record of the segment the last line of each stream begins.
    begun: [Option<u64>; 2],
    /// Whether the segment has been seen under another name, so that it grows no more.
    is_retired: bool,
    streams: [Channel; 2],
    note: Channel,
}

/// How far a pass goes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Bounds {
    /// Only this stream.
    pub(super) stream: Option<Stream>,
    /// Whether the log goes on: a line that has not ended yet is kept back for its end.
    pub(super) is_following: bool,
    /// Nothing from here on.
    pub(super) end: Option<Place>,
    /// From here on only the rest of lines that began before.
    pub(super) horizon: Option<Horizon>,
}

/// A place between two records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) inode: u64,
    pub(super) record: u64,
}

/// The place behind the last record before a time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Horizon {
    pub(super) place: Place,
    pub(super) before_ms: u64,
    /// Whether the pass has come by.
    pub(super) is_passed: bool,
}

impl Forward {
    /// Begins with the oldest line there is.
    pub(super) fn new(dir: &Path, bounds: Bounds) -> Self {
        Self {
            dir: dir.to_owned(),
            bounds,
            segment: None,
            record: 0,
            byte: 0,
            last: None,
            begun: [None; 2],
            is_retired: false,
            streams: Default::default(),
            note: Channel::default(),
        }
    }

    /// Begins at a place found before.
    pub(super) fn from(dir: &Path, bounds: Bounds, start: Start) -> Self {
        let streams = start.marks.map(Channel::starting);
        let segment = Some(start.segment);
        Self { segment, record: start.record, streams, ..Self::new(dir, bounds) }
    }

    /// The next line of any text; `None` at the end, or if there is nothing new yet.
    pub(super) fn next_line(&mut self) -> io::Result<Option<Line>> {
        while !self.is_over() {
            let Some(record) = self.peek()? else {
                if self.turn()? {
                    continue;
                }
                break;
            };
            if let Some(line) = self.take(&record)? {
                return Ok(Some(line));
            }
        }
        Ok(if self.bounds.is_following { None } else { self.unfinished() })
    }

    fn is_over(&mut self) -> bool {
        let Some(segment) = &self.segment else { return false };
        let (inode, record) = (segment.inode, self.record);
        let is_behind = |it: Place| it.inode == inode && it.record <= record;
        if self.bounds.end.is_some_and(is_behind) {
            return true;
        }
        let Some(horizon) = &mut self.bounds.horizon else { return false };
        horizon.is_passed |= is_behind(horizon.place);
        let is_wanted = |it: &Channel| it.pending_since().is_some_and(|at| at < horizon.before_ms);
        horizon.is_passed && !self.streams.iter().any(is_wanted)
    }

    fn peek(&mut self) -> io::Result<Option<Record>> {
        if self.bounds.is_following {
            self.go_back()?;
        }
        self.segment.as_mut().map_or(Ok(None), |it| it.record(self.record))
    }

    /// Goes back to where a line began that was read and then taken back, for want of room for its
    /// rest. It is the one that began last: nothing else was behind it.
    fn go_back(&mut self) -> io::Result<()> {
        let is_any_pending = self.streams.iter().any(|it| it.pending_since().is_some());
        let (Some(segment), Some(last)) = (&mut self.segment, &self.last) else { return Ok(()) };
        if !is_any_pending || !segment.is_taken_back(self.record - 1, last)? {
            return Ok(());
        }
        let begun = (0..2).filter(|&it| self.streams[it].pending_since().is_some());
        if let Some(stream) = begun.max_by_key(|&it| self.begun[it]) {
            (self.record, self.byte) = (self.begun[stream].unwrap_or_default(), 0);
            self.streams[stream] = Channel::default();
        }
        self.last = None;
        Ok(())
    }

    /// Goes on at the end of a file; `false` if there is nothing more for now.
    fn turn(&mut self) -> io::Result<bool> {
        let Some(segment) = &self.segment else {
            let oldest = Segment::oldest(&self.dir)?;
            return Ok(self.enter(oldest));
        };
        if segment.key == Key::Current && !self.is_retired {
            // Records may have come between the last look and the rename: look again first.
            self.is_retired = self.bounds.is_following && !segment.is_current(&self.dir)?;
            return Ok(self.is_retired);
        }
        let next = segment.next(&self.dir)?;
        if next.as_ref().is_some_and(|it| it.is_gap) {
            self.streams = Default::default();
        }
        Ok(self.enter(next.map(|it| it.segment)))
    }

    fn enter(&mut self, segment: Option<Segment>) -> bool {
        let Some(segment) = segment else { return false };
        (self.record, self.byte, self.is_retired) = (0, 0, false);
        (self.last, self.begun) = (None, [None; 2]);
        self.segment = Some(segment);
        true
    }

    /// Takes what is left of a record, up to the end of a line.
    fn take(&mut self, record: &Record) -> io::Result<Option<Line>> {
        let is_wanted = self.bounds.stream.is_none_or(|it| it == record.stream);
        let line = if is_wanted { self.feed(record)? } else { None };
        if line.is_some() {
            return Ok(line);
        }
        (self.record, self.byte, self.last) = (self.record + 1, 0, Some(*record));
        Ok(self.note.finish(false))
    }

    fn feed(&mut self, record: &Record) -> io::Result<Option<Line>> {
        let Some(segment) = &mut self.segment else { return Ok(None) };
        let Record { time_ms, stream, note, .. } = *record;
        let inode = segment.inode;
        let channel = if note { &mut self.note } else { &mut self.streams[stream as usize] };
        self.byte = channel.enter(inode, self.record, self.byte).unwrap_or(record.len);
        while self.byte < record.len {
            let bytes = segment.bytes(record, self.byte)?;
            if bytes.is_empty() {
                break;
            }
            if channel.pending_since().is_none() && !note {
                self.begun[stream as usize] = Some(self.record);
            }
            let cursor = Cursor { inode, offset: record.offset + u64::from(self.byte) };
            let (taken, line) = channel.feed(Began { time_ms, stream, note, cursor }, bytes);
            self.byte += taken as u32;
            if line.is_some() {
                return Ok(line);
            }
        }
        Ok(None)
    }

    fn unfinished(&mut self) -> Option<Line> {
        let pending = self.streams.iter_mut().filter(|it| it.pending_since().is_some());
        pending.min_by_key(|it| it.pending_since())?.finish(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::fixture::Keeper;

    #[test]
    fn a_line_that_is_taken_back_is_forgotten_and_nothing_behind_it_is_lost() {
        let dir = tempfile::tempdir().unwrap();
        let mut keeper = Keeper::new(dir.path());
        let bounds = Bounds { is_following: true, ..Bounds::default() };
        let mut forward = Forward::new(dir.path(), bounds);
        let mut next = || forward.next_line().unwrap().map(|it| it.text);
        keeper.out(1, "one\n");
        keeper.err(1, "two\n");
        let before = keeper.len();
        keeper.out(2, "ha");
        keeper.out(3, "lf");
        assert_eq!(next().unwrap(), b"one");
        assert_eq!(next().unwrap(), b"two");
        assert_eq!(next(), None);
        keeper.take_back(before);
        keeper.note(4, "lost\n");
        keeper.out(5, "three\n");
        assert_eq!(next().unwrap(), b"lost");
        assert_eq!(next().unwrap(), b"three");
        assert_eq!(next(), None);
    }

    #[test]
    fn a_line_between_the_last_look_and_the_rename_is_not_lost() {
        let dir = tempfile::tempdir().unwrap();
        let mut keeper = Keeper::new(dir.path());
        let bounds = Bounds { is_following: true, ..Bounds::default() };
        let mut forward = Forward::new(dir.path(), bounds);
        assert_eq!(forward.next_line().unwrap(), None);
        keeper.out(1, "late\n");
        keeper.rotate(1);
        keeper.out(2, "new\n");
        assert!(forward.turn().unwrap());
        for text in ["late", "new"] {
            assert_eq!(forward.next_line().unwrap().unwrap().text, text.as_bytes());
        }
    }
}
