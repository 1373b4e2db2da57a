//! Listening sockets that are held for a daemon over its restarts.

use std::{
    collections::BTreeSet,
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    str::FromStr,
};

use super::value::ValueError;
use crate::keeper::protocol::SOCKETS;

/// A listening socket that is held: `[LABEL=][ADDRESS:]PORT`, on `127.0.0.1` without an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldSocket {
    /// By which the daemon tells it from others; without one it is the Common TCP port.
    pub label: Option<String>,
    /// Where it listens.
    pub address: SocketAddr,
}

/// All that are held for one daemon: no two at one address, and at most one without a label.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeldSockets(Vec<HeldSocket>);

/// What a socket without a label is called in `LISTEN_FDNAMES`.
const UNLABELLED: &str = "unknown";

/// How long a label may be; sd_listen_fds(3) allows 255.
const LONGEST_LABEL: usize = 64;

impl HeldSocket {
    pub(super) const WANTED: &str = "a port such as `9163`, `ws=9163` or `ws=[::1]:9163`";

    /// As it is called in `LISTEN_FDNAMES`.
    pub fn name(&self) -> &str {
        self.label.as_deref().unwrap_or(UNLABELLED)
    }
}

impl FromStr for HeldSocket {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let (label, place) = match text.split_once('=') {
            Some((label, place)) => (Some(label), place),
            None => (None, text),
        };
        let address = address(place).filter(|_| label.is_none_or(is_label));
        let address = address.ok_or_else(|| ValueError::new(Self::WANTED, text))?;
        Ok(Self { label: label.map(str::to_owned), address })
    }
}

impl fmt::Display for HeldSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.label.iter().try_for_each(|label| write!(f, "{label}="))?;
        write!(f, "{}", self.address)
    }
}

impl HeldSockets {
    const WANTED: &str = "at most 16 sockets, no two at one address, and one without a label";

    /// Puts them together.
    ///
    /// # Errors
    /// If they can't be held, or not be told from each other.
    pub fn new(sockets: Vec<HeldSocket>) -> Result<Self, ValueError> {
        let addresses: BTreeSet<_> = sockets.iter().map(|it| it.address).collect();
        let unlabelled = sockets.iter().filter(|it| it.label.is_none()).count();
        if sockets.len() > SOCKETS || addresses.len() < sockets.len() || unlabelled > 1 {
            let all: Vec<_> = sockets.iter().map(ToString::to_string).collect();
            return Err(ValueError::new(Self::WANTED, &all.join(" ")));
        }
        Ok(Self(sockets))
    }

    /// Each of them, in the order in which they were given.
    pub fn iter(&self) -> impl Iterator<Item = &HeldSocket> {
        self.0.iter()
    }

    /// What to know of those that other machines reach.
    pub fn warning_if_open_to_others(&self) -> Option<String> {
        let open: Vec<_> = self.iter().filter(|it| !it.address.ip().is_loopback()).collect();
        let places: Vec<_> = open.iter().map(|it| it.address.to_string()).collect();
        let what = "is open to other machines: the daemon itself decides who may come in";
        (!places.is_empty()).then(|| format!("{} {what}", places.join(", ")))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn address(text: &str) -> Option<SocketAddr> {
    let port = || Some((IpAddr::from(Ipv4Addr::LOCALHOST), text.parse().ok()?).into());
    text.parse().ok().or_else(port).filter(|it: &SocketAddr| it.port() != 0)
}

fn is_label(text: &str) -> bool {
    let is_plain = |it: u8| it.is_ascii_alphanumeric() || b"-_.".contains(&it);
    (1..=LONGEST_LABEL).contains(&text.len()) && text.bytes().all(is_plain) && text != UNLABELLED
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_a_port_with_or_without_label_and_address() {
        for (text, printed) in [
            ("9163", "127.0.0.1:9163"),
            ("ws=9163", "ws=127.0.0.1:9163"),
            ("ws=0.0.0.0:1", "ws=0.0.0.0:1"),
            ("a-B_c.1=[::1]:65535", "a-B_c.1=[::1]:65535"),
        ] {
            let read: HeldSocket = text.parse().unwrap();
            assert_eq!(read.to_string(), printed);
            assert_eq!(printed.parse(), Ok(read), "it comes back");
        }
        for wrong in
            ["", "ws", "0", "ws=", "=1", "ws=0", "65536", "a b=1", "a:b=1", "unknown=1", "::1:80"]
        {
            assert!(wrong.parse::<HeldSocket>().is_err(), "{wrong}");
        }
        assert!(format!("{}=1", "x".repeat(65)).parse::<HeldSocket>().is_err());
    }

    #[test]
    fn sockets_differ_in_their_addresses_and_one_may_lack_a_label() {
        let all =
            |texts: &[&str]| HeldSockets::new(texts.iter().map(|it| it.parse().unwrap()).collect());
        assert!(all(&[]).is_ok() && all(&["ws=1", "ws=[::1]:1", "1000"]).is_ok());
        assert!(all(&["ws=1", "1"]).is_err(), "one address");
        assert!(all(&["1", "2"]).is_err(), "two without a label");
        assert_eq!(all(&["ws=[::1]:1"]).unwrap().warning_if_open_to_others(), None);
        let open = all(&["1", "a=0.0.0.0:2", "b=[::]:3"]).unwrap().warning_if_open_to_others();
        assert!(open.unwrap().starts_with("0.0.0.0:2, [::]:3 is open"));
        let many: Vec<String> = (1..=17).map(|it| format!("x={it}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(all(&many[..16]).is_ok() && all(&many).is_err());
    }
}
