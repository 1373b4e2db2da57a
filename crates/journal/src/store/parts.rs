//! Bytes in checked parts: each is its length, a checksum over its place and its bytes, the bytes.

use std::{
    io::{self, Read},
    mem,
    path::PathBuf,
    sync::Arc,
};

use super::{
    disk::Stored,
    head::{HEAD, head},
    record::checksum,
    snapshot_file::{END, SNAPSHOT},
};
use crate::{Check, Damage, Revision, SnapshotError, keys::Durable};

/// The longest part: what is checked before any of it is handed out.
const PART: usize = 256 << 10;

/// What is written before it is synced. All at once would hold up the log's own syncs.
const AT_ONCE: u64 = 16 << 20;

/// Writes parts into a file.
#[derive(Debug)]
pub(crate) struct Parts {
    file: Arc<dyn Stored>,
    id: u64,
    part: Vec<u8>,
    end: u64,
    synced: u64,
}

impl Parts {
    /// Begins a snapshot in an empty file.
    pub(crate) fn begin(
        file: Arc<dyn Stored>,
        id: u64,
        revision: Revision,
    ) -> Result<Self, SnapshotError> {
        file.write(&head(SNAPSHOT, id, revision), 0)?;
        Ok(Self { file, id, part: Vec::with_capacity(PART), end: HEAD as u64, synced: 0 })
    }

    pub(crate) fn add(&mut self, mut bytes: &[u8]) -> Result<(), SnapshotError> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(PART - self.part.len()));
            self.part.extend_from_slice(now);
            bytes = later;
            if self.part.len() == PART {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Adds the table of keys and the end, and makes all of it durable.
    pub(crate) fn end(mut self, keys: &Durable) -> Result<(), SnapshotError> {
        self.flush()?;
        let keys_at = self.end;
        for (key, revision) in keys.iter() {
            self.add(&revision.to_le_bytes())?;
            self.add(&[key.len() as u8])?;
            self.add(key.as_bytes())?;
        }
        self.flush()?;
        self.file.write(&head(END, self.id, keys_at), self.end)?;
        Ok(self.file.sync()?)
    }

    fn flush(&mut self) -> Result<(), SnapshotError> {
        if self.part.is_empty() {
            return Ok(());
        }
        let mut start = (self.part.len() as u32).to_le_bytes().to_vec();
        start.extend(part_sum(self.id, self.end, &self.part).to_le_bytes());
        self.file.write(&start, self.end)?;
        self.file.write(&self.part, self.end + start.len() as u64)?;
        self.end += (start.len() + self.part.len()) as u64;
        self.part.clear();
        if self.end - self.synced >= AT_ONCE {
            self.file.sync()?;
            self.synced = self.end;
        }
        Ok(())
    }
}

/// Reads parts from a file.
#[derive(Debug)]
pub(crate) struct PartReader {
    file: Arc<dyn Stored>,
    path: PathBuf,
    id: u64,
    part: Vec<u8>,
    /// How much of the part was handed out.
    read: usize,
    at: u64,
    end: u64,
}

impl PartReader {
    /// What lies from `at` to `end` in a file of the journal `id`.
    pub(crate) fn new(file: Arc<dyn Stored>, path: PathBuf, id: u64, at: u64, end: u64) -> Self {
        Self { file, path, id, part: Vec::new(), read: 0, at, end }
    }

    /// The next part; empty when there is no more.
    pub(crate) fn take(&mut self) -> Result<Vec<u8>, SnapshotError> {
        self.fill()?;
        Ok(mem::take(&mut self.part))
    }

    /// Whether there is something to hand out.
    fn fill(&mut self) -> Result<bool, SnapshotError> {
        if self.read < self.part.len() {
            return Ok(true);
        }
        if self.at == self.end {
            return Ok(false);
        }
        let mut start = [0; 8];
        self.file.read(&mut start, self.at)?;
        let [length, sum] = [0, 4]
            .map(|at| u32::from_le_bytes([start[at], start[at + 1], start[at + 2], start[at + 3]]));
        let next = self.at + start.len() as u64 + u64::from(length);
        if length == 0 || length as usize > PART || next > self.end {
            return Err(self.damage().into());
        }
        self.part.resize(length as usize, 0);
        self.read = 0;
        let read = self.file.read(&mut self.part, self.at + start.len() as u64);
        if read.is_err() || sum != part_sum(self.id, self.at, &self.part) {
            // Who reads on gets none of it.
            self.part.clear();
            read?;
            return Err(self.damage().into());
        }
        self.at = next;
        Ok(true)
    }

    pub(crate) fn damage(&self) -> Damage {
        Damage { file: self.path.clone(), offset: self.at, check: Check::Part }
    }

    fn hand_out(&mut self, wanted: &mut [u8]) -> usize {
        let there = &self.part[self.read..];
        let length = there.len().min(wanted.len());
        wanted[..length].copy_from_slice(&there[..length]);
        self.read += length;
        length
    }
}

impl Read for PartReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let is_more = self.fill().map_err(io::Error::other)?;
        Ok(if is_more { self.hand_out(buffer) } else { 0 })
    }
}

/// So that parts can't change places.
fn part_sum(id: u64, at: u64, part: &[u8]) -> u32 {
    checksum(id ^ at.rotate_left(17), part)
}
