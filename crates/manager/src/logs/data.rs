//! The bytes of a log file, raw or compressed.

use std::{fs::File, io, os::unix::fs::FileExt, path::Path, sync::Arc};

use super::{
    packed::Packed,
    rotation::{DATA, Key, Listing, PACKED},
};

/// What can be read from anywhere.
pub(super) trait ReadAt {
    /// Reads some bytes from `offset`; 0 at the end.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
}

impl ReadAt for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(self, buffer, offset)
    }
}

/// A file with bytes of a log. Stays readable when it is renamed, compressed or removed.
#[derive(Debug, Clone)]
pub(super) enum Data {
    Raw(Arc<File>),
    Packed(Arc<Packed>),
}

impl Data {
    /// Opens the file with this key. While it is there in both forms, the raw one counts: it is
    /// removed only when the other is whole.
    pub(super) fn open(dir: &Path, key: Key) -> io::Result<Self> {
        match File::open(dir.join(DATA.file(key))) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && key != Key::Current => {
                Ok(Self::Packed(Arc::new(Packed::open(&dir.join(PACKED.file(key)))?)))
            }
            opened => Ok(Self::Raw(Arc::new(opened?))),
        }
    }

    /// Where in the original there is nothing any more: its length, or some bytes behind that.
    pub(super) fn end(&self) -> io::Result<u64> {
        match self {
            Self::Raw(file) => Ok(file.metadata()?.len()),
            Self::Packed(packed) => Ok(packed.end()),
        }
    }

    /// The keys of all there are, oldest first.
    pub(super) fn keys(listing: &Listing) -> Vec<Key> {
        let mut keys = listing.keys(&DATA);
        keys.extend(listing.keys(&PACKED));
        keys.sort_unstable();
        keys.dedup();
        keys
    }
}

impl ReadAt for Data {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        match self {
            Self::Raw(file) => ReadAt::read_at(&**file, buffer, offset),
            Self::Packed(packed) => packed.read_at(buffer, offset),
        }
    }
}
