//! Compressed files of which any part can be read.
//!
//! Gzip in members of 32 KiB, each with its length in its header as BGZF has it (SAM specification,
//! 4.1), and an empty one at the end. `zless`, `zgrep` and Promtail read such a file as they read
//! any other.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::unix::fs::FileExt,
    path::Path,
    sync::{Mutex, PoisonError},
};

use flate2::{Compression, GzBuilder, read::GzDecoder};

/// So much of the original is in each member but the last: what a reader keeps in memory.
const MEMBER_BYTES: usize = 32 * 1024;

/// Everything of a member before its content.
const HEADER_BYTES: usize = 18;

/// Name and length of the field in the header that has the member's length, less one.
const LENGTH_FIELD: [u8; 4] = [b'B', b'C', 2, 0];

/// Compresses all that is read.
///
/// # Errors
/// Those of either end.
pub(crate) fn pack(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(MEMBER_BYTES);
    loop {
        bytes.clear();
        from.by_ref().take(MEMBER_BYTES as u64).read_to_end(&mut bytes)?;
        to.write_all(&member(&bytes)?)?;
        if bytes.is_empty() {
            return Ok(());
        }
    }
}

fn member(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let field = [&LENGTH_FIELD[..], &[0; 2]].concat();
    let mut writer = GzBuilder::new().extra(field).write(vec![], Compression::fast());
    writer.write_all(bytes)?;
    let mut member = writer.finish()?;
    let length = u16::try_from(member.len() - 1).map_err(io::Error::other)?;
    member[HEADER_BYTES - 2..HEADER_BYTES].copy_from_slice(&length.to_le_bytes());
    Ok(member)
}

/// A compressed file that is read.
#[derive(Debug)]
pub(super) struct Packed {
    file: File,
    /// Where each member begins, and the last ends.
    places: Vec<u64>,
    /// The member that was read last, by its number.
    last: Mutex<(usize, Vec<u8>)>,
}

impl Packed {
    /// Opens a file and finds its members.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let end = file.metadata()?.len();
        let mut places = vec![0];
        let mut at = 0;
        while at < end {
            let mut header = [0; HEADER_BYTES];
            file.read_exact_at(&mut header, at)?;
            let [.., low, high] = header;
            if header[..2] != [0x1f, 0x8b] || header[12..16] != LENGTH_FIELD {
                return Err(io::ErrorKind::InvalidData.into());
            }
            at += u64::from(u16::from_le_bytes([low, high])) + 1;
            places.push(at);
        }
        Ok(Self { file, places, last: Mutex::new((usize::MAX, vec![])) })
    }

    /// Reads from a place in the original, at most to the end of its member; 0 at the end.
    pub(super) fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let number = usize::try_from(offset / MEMBER_BYTES as u64).unwrap_or(usize::MAX);
        let from = (offset % MEMBER_BYTES as u64) as usize;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.0 != number {
            *last = (number, self.member(number)?);
        }
        let rest = last.1.get(from..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    /// The length of the original, if its last member were full.
    pub(super) fn end(&self) -> u64 {
        self.places.len() as u64 * MEMBER_BYTES as u64
    }

    fn member(&self, number: usize) -> io::Result<Vec<u8>> {
        let Some(&[begin, end]) = self.places.get(number..).and_then(|it| it.first_chunk()) else {
            return Ok(vec![]);
        };
        let mut packed = vec![0; (end - begin) as usize];
        self.file.read_exact_at(&mut packed, begin)?;
        let mut bytes = Vec::with_capacity(MEMBER_BYTES);
        GzDecoder::new(&packed[..]).take(MEMBER_BYTES as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use flate2::read::MultiGzDecoder;
    use proptest::prelude::*;

    use super::*;

    fn packed(bytes: &[u8]) -> (tempfile::NamedTempFile, Vec<u8>) {
        let mut packed = vec![];
        pack(&mut &bytes[..], &mut packed).unwrap();
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&packed).unwrap();
        (file, packed)
    }

    /// Text that compresses, and noise that does not.
    fn content(len: usize, is_noise: bool) -> Vec<u8> {
        let mut state = 7_u32;
        let noise = |it: usize| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if is_noise { (state >> 24) as u8 } else { b"a line\n"[it % 7] }
        };
        (0..len).map(noise).collect()
    }

    proptest! {
        #[test]
        fn any_part_is_what_it_was(len in 0..100_000_usize, is_noise: bool, at: prop::sample::Index) {
            let bytes = content(len, is_noise);
            let file = packed(&bytes).0;
            let packed = Packed::open(file.path()).unwrap();
            let mut offset = at.index(len + 1);
            let (wanted, mut read) = (&bytes[offset..], Vec::<u8>::new());
            let mut buffer = [0; 10_000];
            loop {
                let count = packed.read_at(&mut buffer, offset as u64).unwrap();
                if count == 0 {
                    break;
                }
                read.extend(&buffer[..count]);
                offset += count;
            }
            prop_assert!(read == wanted);
        }
    }

    #[test]
    fn any_program_that_knows_gzip_reads_it() {
        for len in [0, 1, MEMBER_BYTES, 3 * MEMBER_BYTES + 1] {
            let bytes = content(len, false);
            let mut read = vec![];
            MultiGzDecoder::new(&packed(&bytes).1[..]).read_to_end(&mut read).unwrap();
            assert!(read == bytes, "{len}");
        }
    }

    #[test]
    fn a_damaged_file_is_an_error_and_not_text() {
        let (file, mut bytes) = packed(&content(1000, false));
        bytes[HEADER_BYTES + 3] ^= 1;
        std::fs::write(file.path(), &bytes).unwrap();
        assert!(Packed::open(file.path()).unwrap().read_at(&mut [0; 10], 0).is_err());
        std::fs::write(file.path(), "no gzip, but long enough").unwrap();
        assert!(Packed::open(file.path()).is_err());
    }
}
