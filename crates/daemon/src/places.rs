use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use common_tcp::Limits;

/// How many guests a daemon has room for: in all, and apart from that for the daemon's owner and
/// for those who are only told that there is no room.
///
/// Each takes a descriptor, so there are never more than the limit of open files allows beside what
/// the daemon itself has to open: who can reach the port may fill it, and can't keep the daemon
/// from its work.
#[derive(Debug)]
pub(crate) struct Places {
    common: Room,
    owners: Room,
    parting: Room,
}

/// Room for a number of guests.
#[derive(Debug)]
struct Room {
    most: usize,
    taken: Arc<AtomicUsize>,
}

/// A place in a room, free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Place(Arc<AtomicUsize>);

/// Places beyond the limit for guests of the Unix socket.
const OWNERS: usize = 64;

/// How many are told at once that there is no room; who comes beyond them sees the connection end.
const PARTING: usize = 64;

impl Places {
    /// Places within the limits, and within that of open files of this process.
    pub(crate) fn new(limits: &Limits) -> Self {
        Self::within(limits.connections, open_files())
    }

    /// Half of the descriptors are for guests, and a quarter beside them for owners and for those
    /// who are turned away.
    fn within(connections: usize, open_files: usize) -> Self {
        Self {
            common: Room::for_at_most(connections.min(open_files / 2)),
            owners: Room::for_at_most(OWNERS.min(open_files / 8)),
            parting: Room::for_at_most(PARTING.min(open_files / 8)),
        }
    }

    /// How many guests are let in, owners aside.
    pub(crate) fn most(&self) -> usize {
        self.common.most
    }

    /// A place for a guest, if one is free.
    pub(crate) fn take(&self, is_owner: bool) -> Option<Place> {
        self.common.take().or_else(|| if is_owner { self.owners.take() } else { None })
    }

    /// A place for somebody who is turned away, if one is free.
    pub(crate) fn take_parting(&self) -> Option<Place> {
        self.parting.take()
    }
}

impl Room {
    fn for_at_most(most: usize) -> Self {
        Self { most: most.max(1), taken: Arc::default() }
    }

    fn take(&self) -> Option<Place> {
        // One task lets guests in, so nobody comes between the two.
        let is_free = self.taken.load(Relaxed) < self.most;
        is_free.then(|| {
            self.taken.fetch_add(1, Relaxed);
            Place(Arc::clone(&self.taken))
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// How many descriptors this process may have; no limit where nobody tells.
fn open_files() -> usize {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    limits.lines().find_map(soft_limit).unwrap_or(usize::MAX)
}

/// Reads `Max open files            1024                 524288               files`.
fn soft_limit(line: &str) -> Option<usize> {
    line.strip_prefix("Max open files")?.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guests_owners_and_those_turned_away_leave_descriptors_for_the_daemon() {
        for open_files in [16, 64, 256, 1024, 20_000] {
            let places = Places::within(4096, open_files);
            let most = places.common.most + places.owners.most + places.parting.most;
            assert!(most <= open_files / 4 * 3, "{most} of {open_files}");
        }
        assert_eq!(Places::within(4096, 256).most(), 128);
        assert_eq!(Places::within(4096, usize::MAX).most(), 4096);
    }

    #[test]
    fn the_owner_has_places_that_nobody_else_gets() {
        let places = Places::within(1, 64);
        let one = places.take(false);
        assert!(one.is_some());
        assert!(places.take(false).is_none());
        let owner = places.take(true);
        assert!(owner.is_some());
        drop(one);
        assert!(places.take(false).is_some());
    }

    #[test]
    fn the_kernels_table_is_read() {
        assert_eq!(
            soft_limit("Max open files            1024                 4096       files"),
            Some(1024)
        );
        assert_eq!(
            soft_limit("Max open files            unlimited            unlimited  files"),
            None
        );
        assert_eq!(
            soft_limit("Max processes             1024                 4096       processes"),
            None
        );
        assert!(open_files() < usize::MAX);
    }
}
