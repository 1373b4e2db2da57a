//! One record of a log's index.

/// Length of an encoded [`Record`] in bytes.
pub const SIZE: usize = 24;

/// Bit 0 of the flags: a note of the manager's own.
const NOTE: u8 = 1;

/// Which of its two outputs a daemon wrote to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// Where in the data file one read of the keeper lies, and what it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// When it was read, in Unix milliseconds.
    pub time_ms: u64,
    /// Where in the data file its bytes begin.
    pub offset: u64,
    /// How many bytes.
    pub len: u32,
    /// The output they came from.
    pub stream: Stream,
    /// Whether the manager wrote them and not the daemon. A note holds whole lines.
    pub note: bool,
}

impl Stream {
    /// The short name: `out` or `err`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Out => "out",
            Self::Err => "err",
        }
    }
}

impl Record {
    /// The record as it stands in the index: little endian, two reserved bytes at the end.
    pub fn encode(&self) -> [u8; SIZE] {
        let mut bytes = [0; SIZE];
        bytes[..8].copy_from_slice(&self.time_ms.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.offset.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.len.to_le_bytes());
        bytes[20] = match self.stream {
            Stream::Out => b'o',
            Stream::Err => b'e',
        };
        bytes[21] = if self.note { NOTE } else { 0 };
        bytes
    }

    /// Reads a record back.
    ///
    /// Flags and reserved bytes of a newer version are ignored. `None` for bytes that are no
    /// record, such as the zeros a file system may leave after a power loss.
    pub fn decode(bytes: &[u8; SIZE]) -> Option<Self> {
        let (time_ms, rest) = bytes.split_first_chunk()?;
        let (offset, rest) = rest.split_first_chunk()?;
        let (len, rest) = rest.split_first_chunk()?;
        let stream = match rest[0] {
            b'o' => Stream::Out,
            b'e' => Stream::Err,
            _ => return None,
        };
        Some(Self {
            time_ms: u64::from_le_bytes(*time_ms),
            offset: u64::from_le_bytes(*offset),
            len: u32::from_le_bytes(*len),
            stream,
            note: rest[1] & NOTE != 0,
        })
    }

    /// Where in the data file its bytes end.
    pub fn end(&self) -> u64 {
        self.offset.saturating_add(u64::from(self.len))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_record_lies_on_disk_as_documented() {
        let record =
            Record { time_ms: 0x0102, offset: 0x0304, len: 5, stream: Stream::Err, note: true };
        let bytes = record.encode();
        assert_eq!(bytes[..8], [2, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes[8..16], [4, 3, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes[16..], [5, 0, 0, 0, b'e', 1, 0, 0]);
    }

    #[test]
    fn zeros_are_no_record() {
        assert_eq!(Record::decode(&[0; SIZE]), None);
    }

    proptest! {
        #[test]
        fn records_survive(time_ms: u64, offset: u64, len: u32, err: bool, note: bool) {
            let stream = if err { Stream::Err } else { Stream::Out };
            let record = Record { time_ms, offset, len, stream, note };
            prop_assert_eq!(Record::decode(&record.encode()), Some(record));
        }
    }
}
