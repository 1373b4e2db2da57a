use std::{net::IpAddr, str::FromStr};

/// A scheme, a host and a port, compared as such.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    scheme: String,
    host: String,
    port: u16,
}

/// What was given as origin is none, such as `null`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no origin, as `https://app.example` is one")]
pub struct NotAnOrigin(String);

/// A name by which a server is known, in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostName(String);

/// What was given as a name could never be the host of a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no name of a host; it has no scheme, no port and no blanks")]
pub struct NotAHostName(String);

/// What a `Host` says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Host<'a> {
    pub(crate) name: &'a str,
    port: Option<u16>,
}

impl<'a> Host<'a> {
    /// The host and the port of `host:port`; an IPv6 address keeps its brackets.
    pub(crate) fn read(host: &'a str) -> Option<Self> {
        let colon = match host.rfind(']') {
            Some(bracket) => host[bracket..].find(':').map(|at| bracket + at),
            None => host.find(':'),
        };
        let (name, port) = match colon {
            None => (host, None),
            Some(at) => (&host[..at], Some(number(&host[at + 1..])?)),
        };
        let is_host = is_name(name) || name.starts_with('[') && address(name).is_some();
        is_host.then_some(Self { name, port })
    }

    /// Whether a page of this origin is one of this host, reached as it is.
    pub(crate) fn is_origin(&self, origin: &Origin, is_secure: bool) -> bool {
        let scheme = if is_secure { "https" } else { "http" };
        let port = self.port.or_else(|| default_port(scheme));
        origin.scheme == scheme && Some(origin.port) == port && self.has_name_of(origin)
    }

    pub(crate) fn has_name_of(&self, origin: &Origin) -> bool {
        origin.host.eq_ignore_ascii_case(self.name)
    }

    /// Whether it is a number, which no page can make mean something else.
    pub(crate) fn is_address(&self) -> bool {
        address(self.name).is_some()
    }

    pub(crate) fn is(&self, name: &HostName) -> bool {
        name.0.eq_ignore_ascii_case(self.name)
    }

    pub(crate) fn is_localhost(&self) -> bool {
        self.name.eq_ignore_ascii_case("localhost")
    }
}

impl Origin {
    /// Whether it is of this machine, whatever serves it there.
    pub(crate) fn is_loopback(&self) -> bool {
        self.host == "localhost" || address(&self.host).is_some_and(|it| it.is_loopback())
    }
}

impl FromStr for Origin {
    type Err = NotAnOrigin;

    /// Reads `https://app.example` or `http://[::1]:3000`.
    fn from_str(text: &str) -> Result<Self, NotAnOrigin> {
        read_origin(text).ok_or_else(|| NotAnOrigin(text.to_owned()))
    }
}

impl FromStr for HostName {
    type Err = NotAHostName;

    fn from_str(text: &str) -> Result<Self, NotAHostName> {
        if is_name(text) {
            Ok(Self(text.to_ascii_lowercase()))
        } else {
            Err(NotAHostName(text.to_owned()))
        }
    }
}

fn read_origin(text: &str) -> Option<Origin> {
    let (scheme, rest) = text.split_once("://")?;
    let Host { name, port } = Host::read(rest)?;
    let scheme = scheme.to_ascii_lowercase();
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    if scheme.is_empty() || !scheme.bytes().all(is_part) {
        return None;
    }
    let port = port.or_else(|| default_port(&scheme))?;
    Some(Origin { scheme, host: name.to_ascii_lowercase(), port })
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" | "ws" => Some(80),
        "https" | "wss" => Some(443),
        _ => None,
    }
}

fn is_name(name: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    !name.is_empty() && name.bytes().all(is_part)
}

fn number(digits: &str) -> Option<u16> {
    // `u16` would take a sign.
    digits.bytes().all(|it| it.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

fn address(name: &str) -> Option<IpAddr> {
    match name.strip_prefix('[').and_then(|it| it.strip_suffix(']')) {
        Some(inner) => inner.parse().ok().filter(IpAddr::is_ipv6),
        None => name.parse().ok().filter(IpAddr::is_ipv4),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_could_never_match_is_refused() {
        for (name, is_one) in [
            ("dae.example", true),
            ("Dae.Example", true),
            ("192.0.2.1", true),
            ("", false),
            ("dae.example:80", false),
            ("https://dae.example", false),
            ("dae.example/", false),
            ("dae example", false),
            ("*.example", false),
            ("dä.example", false),
        ] {
            assert_eq!(name.parse::<HostName>().is_ok(), is_one, "{name}");
        }
    }
}
