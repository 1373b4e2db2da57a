use std::sync::{PoisonError, RwLock};

use crate::{HostName, Origin, origin::Host};

/// Which pages and which names may reach a server. May be changed while it runs; what is connected
/// stays.
///
/// A page in a browser can send anything to any port of its own machine, with the name of that
/// page's own host in front (DNS rebinding). So `Host` is held against the names that this server
/// really has, and only then `Origin` against those that are let in.
#[derive(Debug, Default)]
pub struct Access(RwLock<Rules>);

/// The rules of an [`Access`].
#[derive(Clone, Debug)]
pub struct Rules {
    /// Names of this server, beside `localhost` and every numeric address: no page can make those
    /// mean something else.
    pub hosts: Hosts,
    /// Whose pages are let in: those for which one of these holds.
    pub origins: Vec<Pages>,
    /// Whether whoever says no origin, as programs do that are no browsers, is turned away.
    pub requires_origin: bool,
}

/// By which names a server may be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hosts {
    /// By these.
    Named(Vec<HostName>),
    /// By any. Whoever lets in pages of their own host, lets in every page then.
    Any,
}

/// Some pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pages {
    /// Those of this server itself: with the scheme by which it is reached, its host and its port.
    Own,
    /// Those of its host, with any scheme and any port. What stands in front of it may speak TLS.
    SameHost,
    /// Those of this machine, whatever serves them.
    Loopback,
    /// Those without an origin of their own, as of a file.
    Null,
    /// Those of this origin.
    Of(Origin),
    /// All.
    Any,
}

impl Default for Rules {
    /// Pages of the server itself, and programs that are no browsers.
    fn default() -> Self {
        Self { hosts: Hosts::default(), origins: vec![Pages::Own], requires_origin: false }
    }
}

impl Default for Hosts {
    fn default() -> Self {
        Self::Named(Vec::new())
    }
}

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

    /// As [`Rules::admit`].
    pub(crate) fn admits(&self, host: &str, origin: Option<&str>, is_secure: bool) -> bool {
        let rules = self.0.read().unwrap_or_else(PoisonError::into_inner);
        rules.admit(host, origin, is_secure)
    }
}

impl Rules {
    /// Whether a request with this `Host` and this `Origin` may come in, which has come over an
    /// encrypted connection or not.
    #[must_use]
    pub fn admit(&self, host: &str, origin: Option<&str>, is_secure: bool) -> bool {
        let Some(host) = Host::read(host).filter(|it| self.hosts.has(it)) else { return false };
        match origin {
            None => !self.requires_origin,
            Some(origin) => self.origins.iter().any(|it| it.has(origin, &host, is_secure)),
        }
    }
}

impl Hosts {
    fn has(&self, host: &Host<'_>) -> bool {
        match self {
            Self::Any => true,
            Self::Named(names) => {
                host.is_address() || host.is_localhost() || names.iter().any(|name| host.is(name))
            }
        }
    }
}

impl Pages {
    fn has(&self, origin: &str, host: &Host<'_>, is_secure: bool) -> bool {
        let is = |holds: &dyn Fn(&Origin) -> bool| origin.parse().is_ok_and(|it| holds(&it));
        match self {
            Self::Own => is(&|it| host.is_origin(it, is_secure)),
            Self::SameHost => is(&|it| host.has_name_of(it)),
            Self::Loopback => is(&Origin::is_loopback),
            Self::Null => origin == "null",
            Self::Of(this) => is(&|it| it == this),
            Self::Any => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(origins: &[Pages]) -> Rules {
        let hosts = Hosts::Named(vec!["dae.example".parse().unwrap()]);
        Rules { hosts, origins: origins.to_vec(), requires_origin: false }
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
            assert_eq!(rules(&[]).admit(host, None, false), is_ours, "{host}");
        }
    }

    #[test]
    fn an_origin_is_compared_in_scheme_host_and_port() {
        let these = ["https://app.example", "http://localhost:5173"]
            .map(|it| Pages::Of(it.parse().unwrap()));
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
            let found = rules(&these).admit("localhost", Some(origin), false);
            assert_eq!(found, is_let_in, "{origin}");
            assert!(rules(&[Pages::Any]).admit("localhost", Some(origin), false));
        }
    }

    #[test]
    fn one_s_own_origin_is_that_by_which_one_is_reached() {
        for (host, origin, is_secure, is_let_in) in [
            ("localhost:3000", "http://localhost:3000", false, true),
            ("localhost:3000", "https://localhost:3000", false, false),
            ("localhost:3000", "https://localhost:3000", true, true),
            ("localhost:3000", "http://localhost:3000", true, false),
            ("[::1]:3000", "http://[::1]:3000", false, true),
            ("dae.example", "https://dae.example", true, true),
            ("dae.example", "http://dae.example", true, false),
            ("dae.example", "http://dae.example", false, true),
            ("dae.example", "https://dae.example", false, false),
            ("dae.example", "http://dae.example:443", true, false),
            ("localhost:3000", "http://localhost:3001", false, false),
            ("localhost:3000", "http://127.0.0.1:3000", false, false),
            ("evil.example", "http://evil.example", false, false),
        ] {
            let found = rules(&[Pages::Own]).admit(host, Some(origin), is_secure);
            assert_eq!(found, is_let_in, "{host} {origin}");
        }
    }

    #[test]
    fn each_kind_of_pages_is_told_from_the_others() {
        for (pages, origin, is_let_in) in [
            (Pages::SameHost, "https://dae.example:8443", true),
            (Pages::SameHost, "http://other.example", false),
            (Pages::SameHost, "null", false),
            (Pages::Loopback, "http://localhost:5173", true),
            (Pages::Loopback, "https://127.0.0.9", true),
            (Pages::Loopback, "http://[::1]:1", true),
            (Pages::Loopback, "http://192.0.2.1", false),
            (Pages::Loopback, "http://localhost.evil.example", false),
            (Pages::Null, "null", true),
            (Pages::Null, "http://null", false),
            (Pages::Any, "anything", true),
        ] {
            let found =
                rules(&[Pages::Own, pages.clone()]).admit("dae.example", Some(origin), false);
            assert_eq!(found, is_let_in, "{pages:?} {origin}");
        }
        let any = Rules { hosts: Hosts::Any, ..Rules::default() };
        assert!(any.admit("whatever.example", None, false) && !any.admit("no host", None, false));
    }

    #[test]
    fn who_says_no_origin_is_let_in_unless_one_is_required() {
        let strict = Rules { requires_origin: true, ..rules(&[Pages::Any]) };
        assert!(!strict.admit("localhost", None, false));
        assert!(strict.admit("localhost", Some("https://any.example"), false));
    }
}
