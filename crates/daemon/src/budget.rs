use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::Guest;

/// What all guests together make a daemon keep: packets without their end, and replies that are not
/// read.
///
/// Each guest has bounds of its own; a thousand at theirs would still be too much. Beyond the
/// budget the one goes that has got no further for longest: who sends and reads as fast as it can
/// is always younger than who holds on to something.
#[derive(Debug)]
pub(crate) struct Budget {
    bytes: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    bytes: usize,
    last: u64,
    /// Who holds how much, the one that has held it for longest first.
    holders: BTreeMap<u64, (Guest, usize)>,
}

/// What one guest holds of the budget; its place among the holders, if it is one.
#[derive(Debug, Default)]
pub(crate) struct Share(Option<u64>);

/// What is not counted: a guest that holds so little may stay as long as it likes.
const ALLOWANCE: usize = 4 << 10;

impl Budget {
    pub(crate) fn new(bytes: usize) -> Self {
        Self { bytes, state: Mutex::default() }
    }

    /// Notes how much a guest holds now, and whether it has got further since the last time. Sends
    /// away those for whom it is too much.
    pub(crate) fn note(&self, guest: &Guest, share: &mut Share, bytes: usize, moved: bool) {
        if bytes <= ALLOWANCE {
            return self.release(share);
        }
        let mut state = self.lock();
        let place = match share.0 {
            Some(place) if !moved && state.holders.contains_key(&place) => place,
            _ => {
                state.remove(share);
                state.last += 1;
                state.last
            }
        };
        share.0 = Some(place);
        let before = state.holders.insert(place, (guest.clone(), bytes)).map_or(0, |it| it.1);
        state.bytes = state.bytes - before + bytes;
        let mut gone = Vec::new();
        while state.bytes > self.bytes && state.holders.len() > 1 {
            gone.extend(state.pop_oldest());
        }
        drop(state);
        gone.iter().for_each(Guest::evict);
    }

    /// Takes a guest out.
    pub(crate) fn release(&self, share: &mut Share) {
        if share.0.is_some() {
            self.lock().remove(share);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn remove(&mut self, share: &mut Share) {
        if let Some((_, bytes)) = share.0.take().and_then(|place| self.holders.remove(&place)) {
            self.bytes -= bytes;
        }
    }

    fn pop_oldest(&mut self) -> Option<Guest> {
        let (_, (guest, bytes)) = self.holders.pop_first()?;
        self.bytes -= bytes;
        Some(guest)
    }
}

#[cfg(test)]
mod tests {
    use common_tcp::Limits;

    use super::*;

    fn guests(count: u64) -> Vec<(Guest, Share)> {
        let guest = |id| (Guest::new(id, None, None, &Limits::default()), Share::default());
        (0..count).map(guest).collect()
    }

    fn evicted(guests: &[(Guest, Share)]) -> Vec<u64> {
        guests.iter().filter(|it| it.0.take_eviction()).map(|it| it.0.id()).collect()
    }

    #[test]
    fn beyond_the_budget_the_one_goes_that_got_no_further_for_longest() {
        let budget = Budget::new(30_000);
        let mut guests = guests(4);
        for (guest, share) in &mut guests[..3] {
            budget.note(guest, share, 10_000, false);
        }
        let (first, share) = &mut guests[0];
        budget.note(first, share, 10_000, true);
        assert!(evicted(&guests).is_empty());
        let (last, share) = &mut guests[3];
        budget.note(last, share, 5_000, false);
        assert_eq!(evicted(&guests), [1]);
        assert_eq!(budget.lock().bytes, 25_000);
    }

    #[test]
    fn little_is_not_counted_and_one_alone_may_have_all() {
        let budget = Budget::new(10_000);
        let mut guests = guests(10);
        for (guest, share) in &mut guests {
            budget.note(guest, share, ALLOWANCE, false);
        }
        assert_eq!(budget.lock().bytes, 0);
        let (guest, share) = &mut guests[0];
        budget.note(guest, share, 1_000_000, false);
        assert!(evicted(&guests).is_empty());
        let (guest, share) = &mut guests[0];
        budget.note(guest, share, 10, false);
        assert_eq!(budget.lock().bytes, 0);
        assert!(budget.lock().holders.is_empty());
    }
}
