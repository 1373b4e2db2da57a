use std::{
    net::IpAddr,
    str::FromStr,
    sync::{PoisonError, RwLock},
};

/// Which pages and which names may reach a server. May be changed while it runs; what is connected
/// stays.
///
/// A page in a browser can send anything to any port of its own machine, with the name of that
/// page's own host in front (DNS rebinding). So `Host` is held against the names that this server
/// really has, and only then `Origin` against those that are let in.
#[derive(Debug, Default)]
pub struct Access(RwLock<Rules>);

/// The rules of an [`Access`].
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Names of this server, beside `localhost` and every numeric address: no page can make those
    /// mean something else.
    pub hosts: Vec<String>,
    /// Whose pages are let in.
    pub origins: Origins,
    /// Whether whoever says no origin, as programs do that are no browsers, is turned away.
    pub requires_origin: bool,
}

/// Whose pages are let in.
#[derive(Clone, Debug, Default)]
pub enum Origins {
    /// Pages of this server itself.
    #[default]
    Own,
    /// Pages of these.
    These(Vec<Origin>),
    /// All pages.
    Any,
}

/// A scheme, a host and a port, compared as such.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    scheme: String,
    host: String,
    port: u16,
}

/// What was given as origin is none, such as `null`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAnOrigin;

impl Access {
    /// Access by `rules`.
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        Self(RwLock::new(rules))
    }

    /// Sets other rules, for those who come from now on.
    pub fn set(&self, rules: Rules) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = rules;
    }

    /// Whether a request with this `Host` and this `Origin` may come in.
    pub(crate) fn admits(&self, host: &str, origin: Option<&str>) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).admit(host, origin)
    }
}

impl Rules {
    /// Whether a request with this `Host` and this `Origin` may come in.
    #[must_use]
    pub fn admit(&self, host: &str, origin: Option<&str>) -> bool {
        let Some((name, port)) = split_port(host) else { return false };
        if !self.is_own(name) {
            return false;
        }
        let Some(origin) = origin else { return !self.requires_origin };
        match &self.origins {
            Origins::Any => true,
            Origins::These(these) => origin.parse().is_ok_and(|it| these.contains(&it)),
            Origins::Own => origin.parse().is_ok_and(|it: Origin| it.is_of(name, port)),
        }
    }

    fn is_own(&self, name: &str) -> bool {
        is_address(name)
            || name.eq_ignore_ascii_case("localhost")
            || self.hosts.iter().any(|it| it.eq_ignore_ascii_case(name))
    }
}

impl Origin {
    fn is_of(&self, name: &str, port: Option<u16>) -> bool {
        let port = port.or_else(|| default_port(&self.scheme));
        self.host.eq_ignore_ascii_case(name) && Some(self.port) == port
    }
}

impl FromStr for Origin {
    type Err = NotAnOrigin;

    /// Reads `https://app.example` or `http://[::1]:3000`.
    fn from_str(text: &str) -> Result<Self, NotAnOrigin> {
        let (scheme, rest) = text.split_once("://").ok_or(NotAnOrigin)?;
        let (host, port) = split_port(rest).ok_or(NotAnOrigin)?;
        let scheme = scheme.to_ascii_lowercase();
        let is_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
        if scheme.is_empty() || !scheme.bytes().all(is_scheme) {
            return Err(NotAnOrigin);
        }
        let port = port.or_else(|| default_port(&scheme)).ok_or(NotAnOrigin)?;
        Ok(Self { scheme, host: host.to_ascii_lowercase(), port })
    }
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" | "ws" => Some(80),
        "https" | "wss" => Some(443),
        _ => None,
    }
}

/// The host and the port of `host:port`; an IPv6 address keeps its brackets.
fn split_port(host: &str) -> Option<(&str, Option<u16>)> {
    let colon = match host.rfind(']') {
        Some(bracket) => host[bracket..].find(':').map(|at| bracket + at),
        None => host.find(':'),
    };
    let (name, port) = match colon {
        None => (host, None),
        Some(at) => (&host[..at], Some(number(&host[at + 1..])?)),
    };
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let is_name = !name.is_empty() && name.bytes().all(is_part);
    (is_name || name.starts_with('[') && is_address(name)).then_some((name, port))
}

fn number(digits: &str) -> Option<u16> {
    // `u16` would take a sign.
    digits.bytes().all(|it| it.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

fn is_address(name: &str) -> bool {
    match name.strip_prefix('[').and_then(|it| it.strip_suffix(']')) {
        Some(inner) => inner.parse::<IpAddr>().is_ok_and(|it| it.is_ipv6()),
        None => name.parse::<IpAddr>().is_ok_and(|it| it.is_ipv4()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(origins: Origins) -> Rules {
        Rules { hosts: vec!["dae.example".to_owned()], origins, requires_origin: false }
    }

    #[test]
    fn a_host_is_a_name_of_ours_or_an_address() {
        for (host, is_ours) in [
            ("localhost", true),
            ("LOCALHOST:3000", true),
            ("127.0.0.1:3000", true),
            ("192.0.2.7", true),
            ("[::1]:3000", true),
            ("dae.example:80", true),
            ("Dae.Example", true),
            ("", false),
            (":80", false),
            ("evil.example", false),
            ("localhost.evil.example", false),
            ("evil.example:localhost", false),
            ("localhost:", false),
            ("localhost:+80", false),
            ("localhost:99999", false),
            ("localhost@evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("[::1", false),
            ("[::1]x", false),
            ("[evil]:80", false),
            ("::1", false),
            ("xdae.example", false),
            ("dae.example.", false),
            ("localhost, evil.example", false),
        ] {
            assert_eq!(rules(Origins::Own).admit(host, None), is_ours, "{host}");
        }
    }

    #[test]
    fn an_origin_is_compared_in_scheme_host_and_port() {
        let these = Origins::These(
            ["https://app.example", "http://localhost:5173"].map(|it| it.parse().unwrap()).into(),
        );
        for (origin, is_let_in) in [
            ("https://app.example", true),
            ("https://app.example:443", true),
            ("HTTPS://App.Example", true),
            ("http://localhost:5173", true),
            ("http://app.example", false),
            ("https://app.example:444", false),
            ("https://app.example.evil.example", false),
            ("https://evil.example", false),
            ("https://xapp.example", false),
            ("http://localhost", false),
            ("https://app.example/", false),
            ("https://app.example@evil.example", false),
            ("null", false),
            ("", false),
            ("file://", false),
        ] {
            assert_eq!(
                rules(these.clone()).admit("localhost", Some(origin)),
                is_let_in,
                "{origin}"
            );
            assert!(rules(Origins::Any).admit("localhost", Some(origin)));
        }
    }

    #[test]
    fn one_s_own_origin_is_that_of_the_host() {
        for (host, origin, is_let_in) in [
            ("localhost:3000", "http://localhost:3000", true),
            ("[::1]:3000", "http://[::1]:3000", true),
            ("dae.example", "https://dae.example", true),
            ("dae.example", "http://dae.example", true),
            ("localhost:3000", "http://localhost:3001", false),
            ("localhost:3000", "http://127.0.0.1:3000", false),
            ("evil.example", "http://evil.example", false),
        ] {
            let found = rules(Origins::Own).admit(host, Some(origin));
            assert_eq!(found, is_let_in, "{host} {origin}");
        }
    }

    #[test]
    fn who_says_no_origin_is_let_in_unless_one_is_required() {
        let strict = Rules { requires_origin: true, ..rules(Origins::Any) };
        assert!(!strict.admit("localhost", None));
        assert!(strict.admit("localhost", Some("https://any.example")));
    }
}
