//! One data file with its index, opened together.

use std::{fs::File, io, os::unix::fs::MetadataExt, path::Path, sync::Arc};

use super::{
    data::{Data, ReadAt},
    index::{Record, SIZE, Stream},
    rotation::{self, INDEX, Key, Listing},
};

/// Index bytes kept in memory: a whole number of records that fits a page.
const RECORD_BLOCK: u64 = 170 * SIZE as u64;
/// Data bytes kept in memory; a thousand open logs keep 16 MiB.
const DATA_BLOCK: u64 = 16 * 1024;

/// What a record that cannot be decoded stands for: no bytes at all.
const NOTHING: Record = Record { time_ms: 0, offset: 0, len: 0, stream: Stream::Out, note: false };

/// The names of a data file and its index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) key: Key,
    index: String,
    data: Key,
}

/// A data file and its index. Stays readable when they are renamed, compressed or removed.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    pub(super) key: Key,
    /// The inode of the index: what it is known by across renames. For its sake an index is never
    /// compressed.
    pub(super) inode: u64,
    index: Arc<File>,
    data: Data,
    records: Block,
    bytes: Block,
}

/// What comes behind a segment.
#[derive(Debug)]
pub(super) struct Next {
    pub(super) segment: Segment,
    /// Whether some between may have been removed.
    pub(super) is_gap: bool,
}

/// An aligned part of a file in memory, which grows as the file does.
#[derive(Debug, Clone)]
struct Block {
    size: u64,
    /// Bytes are taken in multiples of this.
    unit: usize,
    start: u64,
    filled: usize,
    buffer: Vec<u8>,
}

/// The pairs in a directory, oldest first.
///
/// Between the two renames of a rotation the newest pair is called by one old and one new name.
pub(super) fn pairs(listing: &Listing) -> Vec<Pair> {
    let (indexes, data) = (listing.keys(&INDEX), Data::keys(listing));
    let mut pairs: Vec<_> =
        indexes.iter().filter(|it| data.contains(it)).map(|&key| Pair::new(key, key)).collect();
    let newest = pairs.last().map(|it| it.key);
    let torn = |keys: &[Key], others: &[Key]| {
        keys.last().copied().filter(|it| !others.contains(it) && newest.is_none_or(|n| n < *it))
    };
    if let (Some(index), Some(data)) = (torn(&indexes, &data), torn(&data, &indexes)) {
        pairs.push(Pair::new(index, data));
    }
    pairs
}

impl Pair {
    fn new(index: Key, data: Key) -> Self {
        Self { key: index, index: INDEX.file(index), data }
    }
}

impl Segment {
    /// Opens a pair by name; the caller sees to it that the names still belong together.
    pub(super) fn open(dir: &Path, pair: &Pair) -> io::Result<Self> {
        let index = File::open(dir.join(&pair.index))?;
        Ok(Self {
            key: pair.key,
            inode: index.metadata()?.ino(),
            index: Arc::new(index),
            data: Data::open(dir, pair.data)?,
            records: Block::new(RECORD_BLOCK, SIZE),
            bytes: Block::new(DATA_BLOCK, 1),
        })
    }

    /// Opens the pair behind `self`, or the oldest if `self` is not there any more.
    pub(super) fn next(&self, dir: &Path) -> io::Result<Option<Next>> {
        rotation::settled(dir, |listing| {
            let pairs = pairs(listing);
            let mut behind = 0;
            for (at, pair) in pairs.iter().enumerate() {
                if rotation::is_file(&dir.join(&pair.index), self.inode)? {
                    behind = at + 1;
                }
            }
            let Some(pair) = pairs.get(behind) else { return Ok(None) };
            Ok(Some(Next { segment: Self::open(dir, pair)?, is_gap: behind == 0 }))
        })
    }

    /// Opens the oldest pair.
    pub(super) fn oldest(dir: &Path) -> io::Result<Option<Self>> {
        rotation::settled(dir, |listing| {
            pairs(listing).first().map(|pair| Self::open(dir, pair)).transpose()
        })
    }

    /// Whether records may still be added to it.
    pub(super) fn is_current(&self, dir: &Path) -> io::Result<bool> {
        rotation::is_file(&dir.join(INDEX.current), self.inode)
    }

    /// How many whole records there are now.
    pub(super) fn len(&self) -> io::Result<u64> {
        Ok(self.index.metadata()?.len() / SIZE as u64)
    }

    /// The record with this number, if it has been written.
    pub(super) fn record(&mut self, number: u64) -> io::Result<Option<Record>> {
        let bytes = self.records.read(&*self.index, number * SIZE as u64, SIZE, u64::MAX)?;
        Ok(bytes.first_chunk().map(|it| Record::decode(it).unwrap_or(NOTHING)))
    }

    /// Whether a record that was read is there no more, because the line that it began was taken
    /// back. Then nothing in memory counts.
    pub(super) fn is_taken_back(&mut self, number: u64, record: &Record) -> io::Result<bool> {
        let mut fresh = Block::new(SIZE as u64, SIZE);
        let bytes = fresh.read(&*self.index, number * SIZE as u64, SIZE, u64::MAX)?;
        let is_same = bytes.first_chunk().and_then(Record::decode).as_ref() == Some(record);
        if !is_same {
            (self.records.filled, self.bytes.filled) = (0, 0);
        }
        Ok(!is_same)
    }

    /// Some bytes of a record, beginning `from` bytes into it; none if there are no more.
    pub(super) fn bytes(&mut self, record: &Record, from: u32) -> io::Result<&[u8]> {
        let offset = record.offset.saturating_add(u64::from(from));
        self.bytes_until(record, offset, record.end())
    }

    /// Where in a record the last newline before `end` is.
    pub(super) fn newline_before(&mut self, record: &Record, end: u32) -> io::Result<Option<u32>> {
        let mut end = record.offset.saturating_add(u64::from(end));
        while end > record.offset {
            let start = (end - 1 - (end - 1) % DATA_BLOCK).max(record.offset);
            let bytes = self.bytes_until(record, start, end)?;
            if let Some(at) = bytes.iter().rposition(|&it| it == b'\n') {
                return Ok(u32::try_from(start - record.offset + at as u64).ok());
            }
            // A damaged index may tell of gigabytes that are not there.
            end = if bytes.is_empty() { start.min(self.data.end()?) } else { start };
        }
        Ok(None)
    }

    fn bytes_until(&mut self, record: &Record, start: u64, end: u64) -> io::Result<&[u8]> {
        let wanted = end.saturating_sub(start).min(DATA_BLOCK - start % DATA_BLOCK) as usize;
        let covered = self.covered().max(record.end());
        let bytes = self.bytes.read(&self.data, start, wanted, covered)?;
        Ok(&bytes[..wanted.min(bytes.len())])
    }

    /// How far the records in memory reach. Bytes behind it may yet change: a keeper that died
    /// between data and record leaves some that its successor may cut off.
    fn covered(&self) -> u64 {
        let records = &self.records.buffer[..self.records.filled];
        records.last_chunk().and_then(Record::decode).map_or(0, |it| it.end())
    }
}

impl Block {
    fn new(size: u64, unit: usize) -> Self {
        Self { size, unit, start: 0, filled: 0, buffer: vec![] }
    }

    /// The bytes from `offset` to the end of its block, at least `wanted` if the file has them.
    fn read(
        &mut self,
        file: &impl ReadAt,
        offset: u64,
        wanted: usize,
        limit: u64,
    ) -> io::Result<&[u8]> {
        let start = offset - offset % self.size;
        if start != self.start {
            (self.start, self.filled) = (start, 0);
        }
        let from = (offset - start) as usize;
        if self.filled < from + wanted {
            self.extend(file, limit)?;
        }
        Ok(self.buffer[..self.filled].get(from..).unwrap_or_default())
    }

    fn extend(&mut self, file: &impl ReadAt, limit: u64) -> io::Result<()> {
        self.buffer.resize(self.size as usize, 0);
        let end = limit.saturating_sub(self.start).min(self.size) as usize;
        while self.filled < end {
            let at = self.start + self.filled as u64;
            match file.read_at(&mut self.buffer[self.filled..end], at) {
                Ok(0) => break,
                Ok(count) => self.filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.filled -= self.filled % self.unit;
        Ok(())
    }
}
