use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use crate::{End, outbox::Outbox};

/// What all peers together have begun to send and not ended.
///
/// Each has a bound of its own; thousands at theirs would still be too much. Beyond the common one
/// the peer goes that has been at its message for longest: who sends as fast as it can is always
/// younger than who holds on to something.
#[derive(Debug)]
pub(crate) struct Unfinished {
    most: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    bytes: usize,
    last: u64,
    /// Who holds how much, the one that has begun first before the others.
    holders: BTreeMap<u64, (Arc<Outbox>, usize)>,
}

/// What one peer holds of it; its place among the holders, if it is one.
#[derive(Debug, Default)]
pub(crate) struct Share(Option<u64>);

/// What is not counted: most messages come whole, or nearly so.
const ALLOWANCE: usize = 4 << 10;

impl Unfinished {
    pub(crate) fn new(most: usize) -> Self {
        Self { most: AtomicUsize::new(most), state: Mutex::default() }
    }

    pub(crate) fn set_most(&self, bytes: usize) {
        self.most.store(bytes, Relaxed);
    }

    /// Notes how much is here of the message that a peer is at. Closes those for whom it all is too
    /// much; one alone may have more.
    pub(crate) fn note(&self, peer: &Arc<Outbox>, share: &mut Share, bytes: usize) {
        if bytes <= ALLOWANCE {
            return self.release(share);
        }
        let mut state = self.lock();
        let place = share.0.unwrap_or(state.last + 1);
        if share.0.replace(place).is_none() {
            state.last = place;
        } else if !state.holders.contains_key(&place) {
            // It is to go already.
            return;
        }
        let before = state.holders.insert(place, (Arc::clone(peer), bytes)).map_or(0, |it| it.1);
        state.bytes = state.bytes - before + bytes;
        let mut gone = Vec::new();
        while state.bytes > self.most.load(Relaxed) && state.holders.len() > 1 {
            gone.extend(state.pop_oldest());
        }
        drop(state);
        gone.iter().for_each(|it| it.end(End::Crowded, "all peers together send too much at once"));
    }

    /// The message is whole, or does not come.
    pub(crate) fn release(&self, share: &mut Share) {
        if let Some(place) = share.0.take() {
            self.lock().remove(place);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn remove(&mut self, place: u64) {
        if let Some((_, bytes)) = self.holders.remove(&place) {
            self.bytes -= bytes;
        }
    }

    fn pop_oldest(&mut self) -> Option<Arc<Outbox>> {
        let (_, (peer, bytes)) = self.holders.pop_first()?;
        self.bytes -= bytes;
        Some(peer)
    }
}
