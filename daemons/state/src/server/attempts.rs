//! How many wrong passwords there were lately, by user and by address.

use std::{
    collections::{HashMap, VecDeque},
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

use state::name::UserName;
use tokio::time::Instant;

/// Wrong passwords are counted for so long from the first.
const WINDOW: Duration = Duration::from_secs(60);

/// So many windows are kept; beyond it the oldest goes, which is over soonest.
const REMEMBERED: usize = 10_000;

/// How many may be wrong in a minute.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowed {
    /// Of a user, and from an address of another machine.
    pub(crate) each: u32,
    /// From this machine: everybody on it has the same address, and who comes through a gateway
    /// has it too.
    pub(crate) local: u32,
}

/// Passwords that were tried in the last minute and have not turned out to be right.
#[derive(Debug)]
pub(crate) struct Attempts {
    allowed: Allowed,
    windows: HashMap<Key, Window>,
    /// The same, oldest first.
    begun: VecDeque<Key>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    User(UserName),
    /// Of IPv6 the network: its owner has all addresses in it.
    Address(IpAddr),
}

#[derive(Debug)]
struct Window {
    since: Instant,
    tried: u32,
}

/// A password that is being tried.
#[derive(Debug)]
pub(crate) struct Attempt(Vec<(Key, Instant)>);

impl Attempts {
    pub(crate) fn new(allowed: Allowed) -> Self {
        Self { allowed, windows: HashMap::new(), begun: VecDeque::new() }
    }

    /// Counts a password before it is verified, so that many at once are no more than one after the
    /// other; none if there were too many.
    pub(crate) fn begin(
        &mut self,
        user: Option<&UserName>,
        address: Option<IpAddr>,
        now: Instant,
    ) -> Option<Attempt> {
        self.forget_before(now);
        let keys = user.cloned().map(Key::User).into_iter();
        let keys: Vec<Key> = keys.chain(address.map(network).map(Key::Address)).collect();
        let may =
            |it: &Key| self.windows.get(it).is_none_or(|window| window.tried < self.allowed.to(it));
        if !keys.iter().all(may) {
            return None;
        }
        let counted = keys.into_iter().map(|it| (it.clone(), self.count(it, now))).collect();
        Some(Attempt(counted))
    }

    /// It was right, or was not tried.
    pub(crate) fn take_back(&mut self, attempt: &Attempt) {
        for (key, since) in &attempt.0 {
            if let Some(window) = self.windows.get_mut(key).filter(|it| it.since == *since) {
                window.tried = window.tried.saturating_sub(1);
            }
        }
    }

    /// Counts in the window of `key`; since when that is.
    fn count(&mut self, key: Key, now: Instant) -> Instant {
        if !self.windows.contains_key(&key) {
            while self.begun.len() >= REMEMBERED {
                self.forget_oldest();
            }
            self.begun.push_back(key.clone());
        }
        let window = self.windows.entry(key).or_insert(Window { since: now, tried: 0 });
        window.tried += 1;
        window.since
    }

    fn forget_before(&mut self, now: Instant) {
        let is_over = |it: &Window| now.duration_since(it.since) >= WINDOW;
        while let Some(oldest) = self.begun.front()
            && self.windows.get(oldest).is_none_or(is_over)
        {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(oldest) = self.begun.pop_front() {
            self.windows.remove(&oldest);
        }
    }
}

impl Allowed {
    fn to(self, key: &Key) -> u32 {
        match key {
            Key::Address(address) if address.is_loopback() => self.local,
            _ => self.each,
        }
    }
}

/// Of IPv6 the network: its owner has all addresses in it.
pub(super) fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(it) if !it.is_loopback() => {
            let [a, b, c, d, ..] = it.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempts() -> Attempts {
        Attempts::new(Allowed { each: 5, local: 7 })
    }

    fn user(name: &str) -> UserName {
        UserName::new(name).unwrap()
    }

    fn from(address: &str) -> Option<IpAddr> {
        Some(address.parse().unwrap())
    }

    #[test]
    fn five_at_once_are_as_many_as_five_in_a_row() {
        let (mut attempts, ann, start) = (attempts(), user("ann"), Instant::now());
        let tried: Vec<_> = (0..6).map(|_| attempts.begin(Some(&ann), None, start)).collect();
        assert_eq!(tried.iter().flatten().count(), 5);
        assert!(attempts.begin(Some(&user("bob")), None, start).is_some());
        // One of them was right, which says nothing of the others.
        attempts.take_back(tried[0].as_ref().unwrap());
        assert!(attempts.begin(Some(&ann), None, start).is_some());
        assert!(attempts.begin(Some(&ann), None, start + WINDOW / 2).is_none());
        let later = start + WINDOW;
        assert!(attempts.begin(Some(&ann), None, later).is_some());
        // What belongs to the minute before is not taken back from this one.
        attempts.take_back(tried[1].as_ref().unwrap());
        let more = (0..5).filter_map(|_| attempts.begin(Some(&ann), None, later));
        assert_eq!(more.count(), 4);
    }

    #[test]
    fn whoever_it_is_an_address_has_so_many_and_this_machine_more() {
        let (mut attempts, now) = (attempts(), Instant::now());
        let mut count = |address| {
            let names = (0..20).map(|it| user(&format!("u{it}")));
            names.filter(|it| attempts.begin(Some(it), from(address), now).is_some()).count()
        };
        assert_eq!(["192.0.2.1", "192.0.2.2", "127.0.0.1"].map(&mut count), [5, 5, 7]);
        let mut attempts = self::attempts();
        let mut count = |address| {
            (0..20).filter(|_| attempts.begin(None, from(address), now).is_some()).count()
        };
        let addresses = ["192.0.2.1", "192.0.2.2", "127.0.0.1", "::1", "2001:db8::1"];
        assert_eq!(addresses.map(&mut count), [5, 5, 7, 7, 5]);
        assert_eq!(["2001:db8::2", "2001:db8:0:1::2"].map(&mut count), [0, 5]);
    }

    #[test]
    fn the_oldest_is_forgotten_and_no_more() {
        let (mut attempts, start) = (attempts(), Instant::now());
        let ms = Duration::from_millis;
        let names: Vec<_> = (0..=REMEMBERED as u64).map(|it| user(&format!("u{it}"))).collect();
        let mut spend = |it: usize| {
            let at = start + ms(it as u64);
            (0..5).filter(|_| attempts.begin(Some(&names[it]), None, at).is_some()).count()
        };
        (0..=REMEMBERED).for_each(|it| assert_eq!(spend(it), 5));
        assert_eq!((attempts.windows.len(), attempts.begun.len()), (REMEMBERED, REMEMBERED));
        let at = start + ms(REMEMBERED as u64);
        assert!(attempts.begin(Some(&names[1]), None, at).is_none(), "the second is still known");
        assert!(attempts.begin(Some(&names[0]), None, at).is_some());
        attempts.forget_before(at + WINDOW);
        assert!(attempts.windows.is_empty() && attempts.begun.is_empty());
    }
}
