//! How a record lies in a file: a header with checksums, the key, the bytes, padding.
//!
//! | bytes | what |
//! |---|---|
//! | 4 | checksum of the rest of the header |
//! | 4 | checksum of what follows the header |
//! | 8 | revision; of a mark, the revision that comes next |
//! | 4 | length of the bytes |
//! | 4 | how many revisions the first record of the same group is before this one |
//! | 1, 1, 2 | length of the key, kind, zero |
//!
//! Numbers are little endian. Both checksums start from the journal's random id, so a record of
//! another journal is none here, and who does not know the id can only guess which bytes, stored
//! inside a record, would pass for one. They find accidents and are no signature.
//! Everything is padded with zeros to [`ALIGNMENT`]; room that was never written is zero and reads
//! as [`Flaw::Nothing`].

use crate::Revision;

/// Before the key and the bytes of each record.
pub(crate) const HEADER: usize = 28;

/// Records begin at multiples of this, so that the search behind a torn one is short.
pub(crate) const ALIGNMENT: usize = 8;

/// No journal gets so far, so what is counted on from there does not overflow.
pub(crate) const LAST: Revision = Revision::MAX / 2;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A record of the caller.
    Record = 1,
    /// Everything before it was durable when it was written.
    Mark = 2,
    /// The same, and the next segment was there.
    Seal = 3,
}

/// A record, or a mark between records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub(crate) kind: Kind,
    pub(crate) revision: Revision,
    /// The first revision of its group: whatever is before was durable when this was written.
    pub(crate) group: Revision,
    pub(crate) key: &'a str,
    pub(crate) bytes: &'a [u8],
}

/// Why no frame can be read at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// Nothing was ever written here.
    Nothing,
    /// The file ends within it.
    Short,
    /// The header is not one.
    Header,
    /// The header is one, what follows it is not what was written.
    Checksum,
}

impl<'a> Frame<'a> {
    /// A mark in front of the record `next`.
    pub(crate) fn mark(kind: Kind, next: Revision) -> Self {
        Self { kind, revision: next, group: next, key: "", bytes: &[] }
    }

    /// How much room it takes.
    pub(crate) fn length(&self) -> usize {
        room(self.key.len(), self.bytes.len())
    }

    /// Appends it to `out`. The key must not be longer than a byte can tell, nor the bytes than
    /// four.
    pub(crate) fn encode(&self, id: u64, out: &mut Vec<u8>) {
        let start = out.len();
        out.resize(start + HEADER, 0);
        out.extend_from_slice(self.key.as_bytes());
        out.extend_from_slice(self.bytes);
        out.resize(start + self.length(), 0);
        let (header, body) = out[start..].split_at_mut(HEADER);
        header[4..8].copy_from_slice(&checksum(id, body).to_le_bytes());
        header[8..16].copy_from_slice(&self.revision.to_le_bytes());
        header[16..20].copy_from_slice(&(self.bytes.len() as u32).to_le_bytes());
        header[20..24].copy_from_slice(&((self.revision - self.group) as u32).to_le_bytes());
        header[24] = self.key.len() as u8;
        header[25] = self.kind as u8;
        let sum = checksum(id, &header[4..]);
        header[..4].copy_from_slice(&sum.to_le_bytes());
    }

    /// Reads the frame at the start of `file`.
    pub(crate) fn parse(file: &'a [u8], id: u64) -> Result<Self, Flaw> {
        let Some((header, rest)) = file.split_first_chunk::<HEADER>() else {
            return Err(if is_zero(file) { Flaw::Nothing } else { Flaw::Short });
        };
        if number(header, 0) != checksum(id, &header[4..]) {
            return Err(if is_zero(header) { Flaw::Nothing } else { Flaw::Header });
        }
        let kind = kind(header[25]).ok_or(Flaw::Header)?;
        let revision = u64::from(number(header, 8)) | u64::from(number(header, 12)) << 32;
        let group = revision.checked_sub(number(header, 20).into()).ok_or(Flaw::Header)?;
        if revision > LAST {
            return Err(Flaw::Header);
        }
        let (key_length, length) = (usize::from(header[24]), number(header, 16) as usize);
        let body = rest.get(..room(key_length, length) - HEADER).ok_or(Flaw::Short)?;
        if number(header, 4) != checksum(id, body) {
            return Err(Flaw::Checksum);
        }
        let (key, bytes) = body[..key_length + length].split_at(key_length);
        let key = str::from_utf8(key).map_err(|_| Flaw::Checksum)?;
        Ok(Self { kind, revision, group, key, bytes })
    }
}

/// How much room a frame takes.
pub(crate) const fn room(key: usize, bytes: usize) -> usize {
    (HEADER + key + bytes).next_multiple_of(ALIGNMENT)
}

/// The checksum of `bytes` in the journal `id`.
pub(crate) fn checksum(id: u64, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial((id ^ id >> 32) as u32);
    hasher.update(bytes);
    hasher.finalize()
}

/// Whether `bytes` are as they are in a file that was not written to.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| byte == 0)
}

/// The four bytes at `at`.
fn number(header: &[u8; HEADER], at: usize) -> u32 {
    u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
}

fn kind(byte: u8) -> Option<Kind> {
    [Kind::Record, Kind::Mark, Kind::Seal].into_iter().find(|it| *it as u8 == byte)
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    proptest! {
        #[test]
        fn what_was_written_is_read(
            id: u64, revision in 0..=LAST, back: u32, key in "[a-z]{0,40}", bytes in vec(any::<u8>(), 0..300),
        ) {
            let group = revision.saturating_sub(back.into());
            let frame = Frame { kind: Kind::Record, revision, group, key: &key, bytes: &bytes };
            let mut file = Vec::new();
            frame.encode(id, &mut file);
            prop_assert_eq!(file.len(), frame.length());
            prop_assert_eq!(file.len() % ALIGNMENT, 0);
            prop_assert_eq!(Frame::parse(&file, id), Ok(frame));
        }

        #[test]
        fn no_changed_bit_and_no_cut_goes_unnoticed(
            bytes in vec(any::<u8>(), 0..100), place: prop::sample::Index, bit in 0..8, cut: prop::sample::Index,
        ) {
            let mut file = Vec::new();
            Frame { kind: Kind::Record, revision: 7, group: 5, key: "k", bytes: &bytes }.encode(1, &mut file);
            prop_assert!(Frame::parse(&file[..cut.index(file.len())], 1).is_err());
            let at = place.index(file.len());
            file[at] ^= 1u8 << bit;
            prop_assert!(Frame::parse(&file, 1).is_err());
        }

        #[test]
        fn any_bytes_can_be_read(bytes in vec(any::<u8>(), 0..100), id: u64) {
            let _ = Frame::parse(&bytes, id);
        }
    }

    #[test]
    fn a_record_of_another_journal_is_none() {
        let mut file = Vec::new();
        Frame { kind: Kind::Record, revision: 1, group: 1, key: "", bytes: b"x" }
            .encode(1, &mut file);
        assert_eq!(Frame::parse(&file, 2), Err(Flaw::Header));
    }
}
