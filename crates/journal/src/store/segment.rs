//! A file of the log: a head, records, and room for more, all zero.

use std::{io, time::SystemTime};

use super::{
    disk::{Disk, Stored},
    head::HEAD,
    name::{name, revisions},
    record::{ALIGNMENT, Flaw, Frame, Kind, is_zero},
};
use crate::{Check, DiskError, Revision};

/// The first bytes of a segment; the last one is the version of the format.
pub(crate) const SEGMENT: &[u8; 8] = b"daelog\n\x01";

/// The end of the names of segments.
pub(crate) const EXTENSION: &str = ".log";

/// What the bytes of a segment tell.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Contents {
    /// The revision that comes next.
    pub(crate) next: Revision,
    /// Behind the last record or mark.
    pub(crate) end: u64,
    /// Another segment follows.
    pub(crate) is_sealed: bool,
    /// What lies at `end` if it is no untouched room: the rest of a group that was never durable.
    pub(crate) torn: Option<Flaw>,
}

/// What does not hold, and where.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Broken {
    pub(crate) offset: u64,
    pub(crate) check: Check,
}

/// Reads the records of a segment that begins with `first`, up to `until`.
///
/// **Torn or damaged.** A group is written only when all before it are durable, and each record
/// tells where its group begins. So if behind an unreadable record there is one whose group began
/// after it, the unreadable one was durable: that is damage. If there is none, no later write was
/// begun: then it may be part of the last group, of which a crash leaves any part, and which nobody
/// was told of. That is torn.
pub(crate) fn examine(
    file: &[u8],
    id: u64,
    first: Revision,
    until: Revision,
    mut each: impl FnMut(&Frame<'_>),
) -> Result<Contents, Broken> {
    let mut found = Contents { next: first, end: HEAD as u64, is_sealed: false, torn: None };
    while found.next <= until {
        let rest = &file[file.len().min(found.end as usize)..];
        let broken = |check| Err(Broken { offset: found.end, check });
        match Frame::parse(rest, id) {
            Ok(frame) if frame.revision != found.next => {
                return broken(Check::Order { expected: found.next, found: frame.revision });
            }
            Ok(frame) => {
                found.next += u64::from(frame.kind == Kind::Record);
                found.is_sealed = frame.kind == Kind::Seal;
                found.end += frame.length() as u64;
                each(&frame);
            }
            Err(_) if has_later(rest, id, found.next) => {
                return broken(Check::Intact { revision: found.next });
            }
            Err(flaw) => {
                found.torn = (!is_zero(rest)).then_some(flaw);
                break;
            }
        }
    }
    Ok(found)
}

/// Whether `rest` has a record that was written when `revision` was durable.
fn has_later(rest: &[u8], id: u64, revision: Revision) -> bool {
    let places = (0..rest.len()).step_by(ALIGNMENT);
    places.map(|at| Frame::parse(&rest[at..], id)).any(|it| it.is_ok_and(|it| it.group > revision))
}

/// A segment as trimming sees it.
#[derive(Debug)]
pub(crate) struct Stretch {
    pub(crate) first: Revision,
    pub(crate) bytes: u64,
    pub(crate) modified: SystemTime,
}

/// All segments, oldest first.
pub(crate) fn stretches(disk: &dyn Disk) -> Result<Vec<Stretch>, DiskError> {
    let firsts = revisions(&disk.list()?, EXTENSION).into_iter();
    let stretch = |first| {
        let file = disk.open(&name(first, EXTENSION))?;
        Ok(Stretch { first, bytes: file.length()?, modified: file.modified()? })
    };
    firsts.map(stretch).collect()
}

/// Everything in `file`, in place of what was in `buffer`.
pub(crate) fn read_all(file: &dyn Stored, buffer: &mut Vec<u8>) -> Result<(), DiskError> {
    buffer.clear();
    let length = usize::try_from(file.length()?).unwrap_or(usize::MAX);
    // A length is easily said: a file of holes may be longer than all memory.
    if buffer.try_reserve_exact(length).is_err() {
        return Err(file.failed("take memory for", io::ErrorKind::OutOfMemory.into()));
    }
    buffer.resize(length, 0);
    let length = file.read(buffer, 0)?;
    buffer.truncate(length);
    Ok(())
}
