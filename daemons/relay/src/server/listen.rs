//! Where AceBase clients connect.

use std::{
    fmt, io,
    net::{SocketAddr, ToSocketAddrs},
    str::FromStr,
};

/// An address, or a name with a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place(String);

impl Place {
    /// What it stands for: `localhost` may be two addresses.
    pub(super) fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        let mut addresses: Vec<_> = self.0.to_socket_addrs()?.collect();
        addresses.sort();
        addresses.dedup();
        Ok(addresses)
    }
}

impl FromStr for Place {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let port = text.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
        match port {
            Some(_) => Ok(Self(text.to_owned())),
            None => Err("wanted ADDRESS:PORT, as in 127.0.0.1:9163 or [::1]:9163"),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
