//! How much is being posted.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

/// Bytes of bodies that are being read.
#[derive(Clone, Debug, Default)]
pub(super) struct Posting(Arc<AtomicUsize>);

/// Room for what has come of one body; free again when this is dropped.
#[derive(Debug)]
pub(super) struct Reserved(Arc<AtomicUsize>, usize);

impl Posting {
    /// Room for nothing yet.
    pub(super) fn begin(&self) -> Reserved {
        Reserved(Arc::clone(&self.0), 0)
    }
}

impl Reserved {
    /// Room for so many bytes more, if there are at most `most` with them; whether there is.
    pub(super) fn grow(&mut self, bytes: usize, most: usize) -> bool {
        let add = |all: usize| all.checked_add(bytes).filter(|all| *all <= most);
        let has_room = self.0.fetch_update(Relaxed, Relaxed, add).is_ok();
        self.1 += if has_room { bytes } else { 0 };
        has_room
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.0.fetch_sub(self.1, Relaxed);
    }
}
