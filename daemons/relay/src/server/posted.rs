//! How much is being posted.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

/// Bytes of bodies that are being read.
#[derive(Clone, Debug, Default)]
pub(super) struct Posting(Arc<AtomicUsize>);

/// Room for one body; free again when this is dropped.
#[derive(Debug)]
pub(super) struct Reserved(Arc<AtomicUsize>, usize);

impl Posting {
    /// Room for a body of so many bytes, if there are at most `most` with it.
    pub(super) fn reserve(&self, bytes: usize, most: usize) -> Option<Reserved> {
        let add = |all: usize| all.checked_add(bytes).filter(|all| *all <= most);
        self.0.fetch_update(Relaxed, Relaxed, add).ok()?;
        Some(Reserved(Arc::clone(&self.0), bytes))
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.0.fetch_sub(self.1, Relaxed);
    }
}
