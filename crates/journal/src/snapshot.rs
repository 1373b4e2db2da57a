use std::{
    fmt::Debug,
    io::{self, Read, Write},
};

use crate::{Revision, SnapshotError};

/// A snapshot to be read. Every byte that comes out was checked.
pub struct Snapshot {
    /// What it stands for: everything up to here.
    pub revision: Revision,
    pub(crate) bytes: Box<dyn Read + Send>,
}

/// A snapshot that is being written. Dropped unfinished, it leaves nothing.
///
/// Blocks, so it belongs on a thread where that is allowed.
#[derive(Debug)]
pub struct SnapshotWriter(Box<dyn Sink>);

/// Where a snapshot is written to.
pub(crate) trait Sink: Write + Debug + Send {
    /// Puts it in place of the one before.
    fn finish(self: Box<Self>) -> Result<(), SnapshotError>;
}

impl Read for Snapshot {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.bytes.read(buffer)
    }
}

impl Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot").field("revision", &self.revision).finish_non_exhaustive()
    }
}

impl SnapshotWriter {
    pub(crate) fn new(sink: impl Sink + 'static) -> Self {
        Self(Box::new(sink))
    }

    /// Makes it durable and puts it in place of the one before, which is kept until then.
    ///
    /// # Errors
    /// See [`SnapshotError`]; the one before is then still there.
    pub fn finish(self) -> Result<(), SnapshotError> {
        self.0.finish()
    }
}

impl Write for SnapshotWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
