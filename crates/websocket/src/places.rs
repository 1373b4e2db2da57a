use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rustix::process::{Resource, getrlimit};

use crate::Limits;

/// How many connections there is room for: in all, and from one address.
#[derive(Debug, Default)]
pub(crate) struct Places {
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    most: usize,
    most_per_address: usize,
    all: usize,
    turned_away: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// A place, free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    whose: Whose,
}

#[derive(Clone, Copy, Debug)]
enum Whose {
    Anybodys,
    OfAddress(IpAddr),
    OfOneTurnedAway,
}

/// How many are told at once that there is no room; who comes beyond them sees the connection end.
const TURNED_AWAY: usize = 64;

impl Places {
    pub(crate) fn new(limits: &Limits) -> Self {
        let places = Self::default();
        places.set_limits(limits);
        places
    }

    /// Sets how many places there are, for those who come from now on.
    pub(crate) fn set_limits(&self, limits: &Limits) {
        let most = within_files(limits, open_files());
        if most < limits.connections {
            let wanted = limits.connections;
            let why = "fewer connections than wanted: so many files may be open (`ulimit -n`)";
            tracing::info!(most, wanted, "{why}");
        }
        let mut taken = self.lock();
        (taken.most, taken.most_per_address) = (most, limits.connections_per_address);
    }

    pub(crate) fn most(&self) -> usize {
        self.lock().most
    }

    pub(crate) fn taken(&self) -> usize {
        self.lock().all
    }

    /// A place for who comes from `peer`, if one is free.
    pub(crate) fn take(self: &Arc<Self>, peer: Option<IpAddr>) -> Option<Place> {
        let whose = peer.and_then(counted).map_or(Whose::Anybodys, Whose::OfAddress);
        let mut taken = self.lock();
        if taken.all >= taken.most {
            return None;
        }
        if let Whose::OfAddress(address) = whose {
            let of_address = taken.by_address.get(&address).copied().unwrap_or_default();
            if of_address >= taken.most_per_address {
                return None;
            }
            taken.by_address.insert(address, of_address + 1);
        }
        taken.all += 1;
        Some(Place { places: Arc::clone(self), whose })
    }

    /// A place for somebody who is told that there is none, if even that is free.
    pub(crate) fn take_for_turning_away(self: &Arc<Self>) -> Option<Place> {
        let mut taken = self.lock();
        let is_free = taken.turned_away < TURNED_AWAY;
        is_free.then(|| {
            taken.turned_away += 1;
            Place { places: Arc::clone(self), whose: Whose::OfOneTurnedAway }
        })
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        match self.whose {
            Whose::OfOneTurnedAway => return taken.turned_away -= 1,
            Whose::Anybodys => {}
            Whose::OfAddress(address) => {
                if let Some(of_address) = taken.by_address.get_mut(&address) {
                    *of_address -= 1;
                    if *of_address == 0 {
                        taken.by_address.remove(&address);
                    }
                }
            }
        }
        taken.all -= 1;
    }
}

/// How many connections may be of those that are wanted, where so many files may be open.
fn within_files(limits: &Limits, open_files: usize) -> usize {
    let share = open_files as f64 * f64::from(limits.files_percent) / 100.0;
    limits.connections.min(share as usize).max(1)
}

fn open_files() -> usize {
    let most = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(most).unwrap_or(usize::MAX)
}

/// What is counted for `address`: nothing on loopback, a network for IPv6, where everybody has as
/// many addresses as they like.
fn counted(address: IpAddr) -> Option<IpAddr> {
    match address.to_canonical() {
        it if it.is_loopback() => None,
        IpAddr::V6(it) => Some(Ipv6Addr::from_bits(it.to_bits() & !u128::from(u64::MAX)).into()),
        it => Some(it),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(connections: usize, per_address: usize) -> Arc<Places> {
        let limits =
            Limits { connections, connections_per_address: per_address, ..Limits::default() };
        Arc::new(Places::new(&limits))
    }

    #[test]
    fn one_address_can_t_take_all_places_but_loopback_can() {
        let places = places(4, 2);
        let take = |address: &str| places.take(Some(address.parse().unwrap()));
        let held = [take("192.0.2.1"), take("192.0.2.1")];
        assert!(held.iter().all(Option::is_some));
        assert!(take("192.0.2.1").is_none());
        assert!(take("::ffff:192.0.2.1").is_none(), "the same address");
        let more = [take("127.0.0.1"), take("::1")];
        assert!(more.iter().all(Option::is_some));
        assert!(take("127.0.0.1").is_none(), "four are here");
        drop(held);
        assert!(take("192.0.2.1").is_some());
        drop(more);
        assert!(places.lock().by_address.is_empty());
    }

    #[test]
    fn files_are_left_for_other_things() {
        let of =
            |connections, files_percent| Limits { connections, files_percent, ..Limits::default() };
        for (limits, open_files, most) in [
            (of(10_000, 50), 1_024, 512),
            (of(10_000, 80), 1_000, 800),
            (of(100, 50), 1_024, 100),
            (of(100, 50), 1, 1),
            (of(usize::MAX, 100), usize::MAX, usize::MAX),
        ] {
            assert_eq!(within_files(&limits, open_files), most);
        }
    }

    #[test]
    fn who_is_here_stays_when_there_is_less_room() {
        let places = places(2, 9);
        let held = [places.take(None), places.take(None)];
        places.set_limits(&Limits { connections: 1, ..Limits::default() });
        assert_eq!((places.taken(), places.most()), (2, 1));
        drop(held);
        let one = places.take(None);
        assert!(one.is_some() && places.take(None).is_none());
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one() {
        let places = places(9, 1);
        let take = |address: &str| places.take(Some(address.parse().unwrap()));
        let first = take("2001:db8::1");
        assert!(first.is_some());
        assert!(take("2001:db8::ffff:1").is_none());
        assert!(take("2001:db8:0:1::1").is_some());
    }
}
