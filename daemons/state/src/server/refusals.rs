//! Which refused logins are told one by one, and which are only counted: a storm of guesses must
//! not fill the log.

use std::{collections::BTreeMap, net::IpAddr};

use state::account::Time;

use super::attempts::network;

/// Those of an address are told one by one up to a number, and counted for so long from the first.
const WINDOW: Time = 60_000;

/// So many addresses are known at once; all others together are one more.
const PLACES: usize = 64;

/// How many are told one by one where each refused login is of interest, and where it is that an
/// address is slowed down.
const FEW: [u32; 2] = [10, 1];

/// So many characters of a name are told.
const NAME: usize = 64;

/// The refused logins of the last minute.
#[derive(Debug)]
pub(crate) struct Refusals {
    is_audited: bool,
    windows: BTreeMap<Place, Window>,
}

/// From where somebody tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Address(IpAddr),
    /// The Unix socket.
    Here,
    Elsewhere,
}

#[derive(Debug)]
struct Window {
    until: Time,
    told: u32,
    more: u64,
}

/// A login that was refused, or a password that was to be changed.
#[derive(Debug)]
pub(super) struct Refused<'a> {
    pub(super) command: &'static str,
    /// As it was given; nobody's if it was by a token.
    pub(super) user: Option<&'a str>,
    pub(super) address: Option<IpAddr>,
    pub(super) code: &'a str,
}

impl Refusals {
    pub(crate) fn new(is_audited: bool) -> Self {
        Self { is_audited, windows: BTreeMap::new() }
    }

    /// Tells or counts one; true if it is the first that is counted.
    pub(super) fn note(&mut self, refused: &Refused<'_>, now: Time) -> bool {
        if !self.is_audited && refused.code != "rate-limited" {
            return false;
        }
        let more = self.count(refused.address, now);
        if more == 0 {
            self.tell(refused);
        }
        more == 1
    }

    /// Tells how many more there were, of addresses whose time is over at `now`.
    pub(super) fn tell_counted(&mut self, now: Time) {
        for (place, refused) in self.counted(now) {
            let address = place.address().map(tracing::field::display);
            if self.is_audited {
                tracing::info!(target: "audit", address, refused, "more logins were refused");
            } else {
                tracing::warn!(address, refused, "more guesses were slowed down");
            }
        }
    }

    /// When there is something to tell.
    pub(super) fn next(&self) -> Option<Time> {
        self.windows.values().filter(|it| it.more > 0).map(|it| it.until).min()
    }

    fn tell(&self, refused: &Refused<'_>) {
        let Refused { command, user, address, code } = *refused;
        let user = user.map(beginning);
        let (user, address) =
            (user.as_ref().map(tracing::field::debug), address.map(tracing::field::display));
        if self.is_audited {
            tracing::info!(target: "audit", user, command, code, address);
        } else {
            tracing::warn!(user, address, "too many wrong passwords, so guesses are slowed down");
        }
    }

    /// How many of that place are not told, with this one: none if it is.
    fn count(&mut self, address: Option<IpAddr>, now: Time) -> u64 {
        self.windows.retain(|_, it| it.more > 0 || it.until > now);
        let place = address.map_or(Place::Here, |it| Place::Address(network(it)));
        let is_known = self.windows.len() < PLACES || self.windows.contains_key(&place);
        let place = if is_known { place } else { Place::Elsewhere };
        let few = if self.is_audited { FEW[0] } else { FEW[1] };
        let fresh = Window { until: now.saturating_add(WINDOW), told: 0, more: 0 };
        let window = self.windows.entry(place).or_insert(fresh);
        if window.told < few {
            window.told += 1;
        } else {
            window.more += 1;
        }
        window.more
    }

    fn counted(&mut self, now: Time) -> Vec<(Place, u64)> {
        let over = self.windows.extract_if(.., |_, it| it.until <= now);
        over.filter(|(_, it)| it.more > 0).map(|(place, it)| (place, it.more)).collect()
    }
}

impl Place {
    /// In words.
    fn address(self) -> Option<String> {
        match self {
            Self::Address(address) => Some(address.to_string()),
            Self::Here => None,
            Self::Elsewhere => Some("others".to_owned()),
        }
    }
}

/// A name, or as much of it as is told.
fn beginning(name: &str) -> String {
    match name.char_indices().nth(NAME) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const ONE: Option<IpAddr> = Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)));

    #[test]
    fn the_first_of_an_address_are_told_and_the_others_counted() {
        let mut refusals = Refusals::new(true);
        let told = (0..1000).filter(|_| refusals.count(ONE, 5) == 0).count();
        assert_eq!((told, refusals.count(None, 5)), (10, 0));
        assert_eq!(refusals.next(), Some(5 + WINDOW));
        assert_eq!(refusals.counted(4 + WINDOW), []);
        assert_eq!(refusals.counted(5 + WINDOW), [(Place::Address(ONE.unwrap()), 990)]);
        assert_eq!((refusals.next(), refusals.windows.len()), (None, 0));
        assert_eq!(refusals.count(ONE, 5 + WINDOW), 0, "a new minute");
    }

    #[test]
    fn of_many_addresses_few_are_told() {
        let mut refusals = Refusals::new(false);
        let from = |n: u32| Some(IpAddr::from(Ipv4Addr::from(n)));
        let told = (0..10_000).filter(|it| refusals.count(from(*it), 0) == 0).count();
        assert_eq!((told, refusals.windows.len()), (PLACES + 1, PLACES + 1));
        assert_eq!(refusals.counted(WINDOW), [(Place::Elsewhere, 10_000 - 1 - PLACES as u64)]);
    }

    #[test]
    fn of_a_long_name_the_beginning_is_told() {
        assert_eq!(beginning("ann"), "ann");
        assert_eq!(beginning(&"é".repeat(NAME + 1)), "é".repeat(NAME) + "…");
    }
}
