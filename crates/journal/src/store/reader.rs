//! Reads records back, for those who follow.

use std::sync::{Arc, Mutex, PoisonError};

use super::{
    disk::{Disk, Stored},
    head::HEAD,
    name::{name, revisions},
    record::{Flaw, Frame, HEADER, Kind},
    segment::EXTENSION,
};
use crate::{
    Check, Damage, DiskError, FollowError, Revision,
    follow::{Batch, Source},
};

/// How much is read at once, at most, unless a record is longer.
const CHUNK: usize = 1 << 20;

/// How long a record is believed to be: a follower at the end need not read far ahead.
const GUESS: u64 = 1 << 10;

/// Reads one part after the other.
#[derive(Debug)]
pub(crate) struct Reader {
    disk: Arc<dyn Disk>,
    id: u64,
    /// Where the next part is expected; another is found from the start of its segment.
    place: Mutex<Option<Place>>,
}

/// A place in a segment, in front of a record.
#[derive(Debug)]
struct Place {
    next: Revision,
    /// Of the segment.
    first: Revision,
    file: Arc<dyn Stored>,
    offset: u64,
}

/// Why a look at a segment ended.
enum Stop {
    /// There may be more.
    Enough,
    /// A record is longer than what was looked at.
    Longer,
    /// The segment has no more: there is no such record at the place where the next one belongs.
    End(Check),
}

impl Source for Reader {
    fn read(&self, from: Revision, until: Revision) -> Result<Batch, FollowError> {
        let mut kept = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        let mut place = match kept.take() {
            Some(place) if place.next == from => place,
            _ => self.seek(from)?,
        };
        let batch = self.find(&mut place, from, until)?;
        *kept = Some(place);
        Ok(batch)
    }
}

impl Reader {
    pub(crate) fn new(disk: Arc<dyn Disk>, id: u64) -> Self {
        Self { disk, id, place: Mutex::default() }
    }

    /// In front of the segment with the record `revision`.
    fn seek(&self, revision: Revision) -> Result<Place, FollowError> {
        let segments = revisions(&self.disk.list()?, EXTENSION);
        match segments.iter().rfind(|it| **it <= revision) {
            Some(first) => self.open(*first, revision),
            None => Err(FollowError::Trimmed { first: segments.first().copied().unwrap_or(0) }),
        }
    }

    /// In front of the segment `first`, to look for `revision`.
    fn open(&self, first: Revision, revision: Revision) -> Result<Place, FollowError> {
        match self.disk.open(&name(first, EXTENSION)) {
            Ok(file) => Ok(Place { next: first, first, file, offset: HEAD as u64 }),
            Err(error) => match revisions(&self.disk.list()?, EXTENSION).first() {
                Some(&first) if first > revision => Err(FollowError::Trimmed { first }),
                _ => Err(error.into()),
            },
        }
    }

    /// Goes through a segment, and the next ones, until there are records from `from` on.
    fn find(
        &self,
        place: &mut Place,
        from: Revision,
        until: Revision,
    ) -> Result<Batch, FollowError> {
        let mut length = (until - from + 1).saturating_mul(GUESS).min(CHUNK as u64) as usize;
        loop {
            let (batch, stop) = self.look(place, length, from, until)?;
            if !batch.is_empty() {
                return Ok(batch);
            }
            match stop {
                Stop::Enough => length = CHUNK.max(length),
                Stop::Longer => length *= 2,
                Stop::End(check) => *place = self.follower(place, from, check)?,
            }
        }
    }

    /// Reads up to `length` bytes, and takes the records from `from` to `until`.
    fn look(
        &self,
        place: &mut Place,
        length: usize,
        from: Revision,
        until: Revision,
    ) -> Result<(Batch, Stop), DiskError> {
        let mut bytes = vec![0; length];
        let there = place.file.read(&mut bytes, place.offset)?;
        bytes.truncate(there);
        let (mut batch, mut stop, mut at) = (Batch::default(), Stop::Enough, 0);
        while place.next <= until {
            match Frame::parse(&bytes[at..], self.id) {
                Ok(frame) if frame.revision == place.next => {
                    if frame.kind == Kind::Record {
                        let key = at + HEADER..at + HEADER + frame.key.len();
                        let body = key.end..key.end + frame.bytes.len();
                        if frame.revision >= from {
                            batch.push(frame.revision, key, body);
                        }
                        place.next += 1;
                    }
                    at += frame.length();
                    continue;
                }
                Err(flaw) if there == length && (flaw == Flaw::Short || there - at < HEADER) => {
                    stop = if at == 0 { Stop::Longer } else { Stop::Enough };
                }
                Ok(frame) => {
                    let (expected, found) = (place.next, frame.revision);
                    stop = Stop::End(Check::Order { expected, found });
                }
                Err(Flaw::Header | Flaw::Checksum) => {
                    stop = Stop::End(Check::Intact { revision: place.next });
                }
                Err(_) => stop = Stop::End(Check::Whole { first: place.next }),
            }
            break;
        }
        place.offset += at as u64;
        Ok((batch.fill(bytes), stop))
    }

    /// The next segment. Only what was durable is looked for, so what is not here is there; if
    /// there is none, `check` does not hold here.
    fn follower(&self, place: &Place, from: Revision, check: Check) -> Result<Place, FollowError> {
        let segments = revisions(&self.disk.list()?, EXTENSION);
        if place.next > place.first && segments.contains(&place.next) {
            return self.open(place.next, from);
        }
        match segments.first() {
            Some(&first) if first > from => Err(FollowError::Trimmed { first }),
            _ => Err(self.damage(place, check).into()),
        }
    }

    fn damage(&self, place: &Place, check: Check) -> Damage {
        let file = self.disk.path(&name(place.first, EXTENSION));
        Damage { file, offset: place.offset, check }
    }
}
