//! The index of one log file: when and through which stream each piece of it came.
//!
//! A record is 24 bytes, little endian: time (u64, Unix milliseconds), offset in the log (u64),
//! length (u32), stream (u8, `o` or `e`), flags (u8, see [`FLAG_DROPPED`]), zero (u16).

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

use super::Stream;

/// The size of one index record.
pub const RECORD_BYTES: u64 = 24;

/// Set in the flags of the record whose line the keeper wrote itself, about output it dropped.
pub const FLAG_DROPPED: u8 = 1;

/// A piece of a log file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece {
    pub(super) time_ms: u64,
    pub(super) offset: u64,
    pub(super) len: usize,
    pub(super) stream: Stream,
    pub(super) flags: u8,
}

/// An index that is written.
#[derive(Debug)]
pub(super) struct Index {
    file: File,
    bytes: u64,
}

impl Index {
    /// Goes on behind what the file holds.
    pub(super) fn new(file: File) -> io::Result<Self> {
        let bytes = file.metadata()?.len();
        Ok(Self { file, bytes })
    }

    /// Its length.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds records; on failure the file may have to be cut.
    pub(super) fn append(&mut self, pieces: &[Piece]) -> io::Result<()> {
        let records: Vec<u8> = pieces.iter().flat_map(Piece::encode).collect();
        self.file.write_all(&records)?;
        self.bytes += records.len() as u64;
        Ok(())
    }

    /// Takes back what was added since it was so long.
    pub(super) fn shorten(&mut self, bytes: u64) {
        self.bytes = bytes;
    }

    /// Cuts off what was taken back, or not written whole.
    pub(super) fn cut_to_length(&self) -> io::Result<()> {
        self.file.set_len(self.bytes)
    }

    /// Cuts off a torn record, and those whose bytes are not there; returns where the last piece
    /// ends.
    pub(super) fn mend(&mut self, data_bytes: u64) -> io::Result<u64> {
        let mut bytes = self.bytes - self.bytes % RECORD_BYTES;
        let mut end = self.piece_end(bytes)?;
        while end > data_bytes {
            bytes -= RECORD_BYTES;
            end = self.piece_end(bytes)?;
        }
        if bytes < self.bytes {
            self.bytes = bytes;
            self.cut_to_length()?;
        }
        Ok(end)
    }

    /// Which stream the last piece is of.
    pub(super) fn last_stream(&mut self) -> io::Result<Stream> {
        let last = self.record_before(self.bytes)?;
        let is_err = last.is_some_and(|record| record[20] == Stream::Err.letter());
        Ok(if is_err { Stream::Err } else { Stream::Out })
    }

    /// Where the piece ends whose record does at `bytes`.
    fn piece_end(&mut self, bytes: u64) -> io::Result<u64> {
        let Some(record) = self.record_before(bytes)? else { return Ok(0) };
        let [mut offset, mut len] = [[0; 8]; 2];
        offset.copy_from_slice(&record[8..16]);
        len[..4].copy_from_slice(&record[16..20]);
        Ok(u64::from_le_bytes(offset).saturating_add(u64::from_le_bytes(len)))
    }

    fn record_before(&mut self, bytes: u64) -> io::Result<Option<[u8; RECORD_BYTES as usize]>> {
        let Some(at) = bytes.checked_sub(RECORD_BYTES) else { return Ok(None) };
        let mut record = [0; RECORD_BYTES as usize];
        self.file.seek(SeekFrom::Start(at))?;
        self.file.read_exact(&mut record)?;
        Ok(Some(record))
    }
}

impl Piece {
    fn encode(&self) -> [u8; RECORD_BYTES as usize] {
        let mut record = [0; RECORD_BYTES as usize];
        record[..8].copy_from_slice(&self.time_ms.to_le_bytes());
        record[8..16].copy_from_slice(&self.offset.to_le_bytes());
        record[16..20].copy_from_slice(&u32::try_from(self.len).unwrap_or(u32::MAX).to_le_bytes());
        record[20] = self.stream.letter();
        record[21] = self.flags;
        record
    }
}
