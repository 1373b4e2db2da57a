//! The settings of the relay that AceBase clusters used before: `NAME=value` as arguments or in the
//! environment, in upper or lower case.

/// A flag that is set by an old setting.
#[derive(Debug)]
pub(crate) struct Set {
    pub(crate) flag: &'static str,
    pub(crate) value: String,
    /// The setting.
    pub(crate) name: &'static str,
}

/// What the old settings set, for flags that nobody sets otherwise. Arguments go before the
/// environment.
pub(crate) fn usual(
    arguments: impl Iterator<Item = String>,
    environment: impl Fn(&str) -> Option<String>,
) -> Vec<Set> {
    let arguments: Vec<_> = arguments.collect();
    let of = |name: &str| {
        let typed = arguments.iter().filter_map(|it| it.split_once('='));
        let typed = typed.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, it)| it);
        let typed = typed.map(str::to_owned).next();
        let other = || environment(&name.to_ascii_lowercase());
        typed.or_else(|| environment(name)).or_else(other).filter(|it| !it.is_empty())
    };
    let mut set: Vec<Set> = Vec::new();
    let (host, port) = (of("HOST"), of("PORT"));
    if host.is_some() || port.is_some() {
        // What makes no address of both is the port.
        let name = if port.is_some() { "PORT" } else { "HOST" };
        let host = host.unwrap_or_else(|| "localhost".to_owned());
        let port = port.unwrap_or_else(|| "9163".to_owned());
        set.push(Set { flag: "listen", value: address(&host, &port), name });
    }
    let names: [(&'static str, &[&'static str]); 2] =
        [("TOKEN", &["token"]), ("MAX_PAYLOAD", &["max-payload"])];
    let tls: [(&'static str, &[&'static str]); 4] = [
        ("KEY_PATH", &["tls-key"]),
        ("CERT_PATH", &["tls-cert"]),
        ("PFX_PATH", &["tls-pfx"]),
        ("PASSPHRASE", &["tls-passphrase", "tls-key-password"]),
    ];
    let is_secure = of("SSL").is_some_and(|it| !says_no(&it));
    if is_secure {
        set.push(Set { flag: "tls", value: "true".to_owned(), name: "SSL" });
    }
    for (name, flags) in names.into_iter().chain(tls.into_iter().filter(|_| is_secure)) {
        if let Some(value) = of(name) {
            set.extend(flags.iter().map(|flag| Set { flag, value: value.clone(), name }));
        }
    }
    // There, 0 meant that it is not set.
    set.retain(|it| it.flag != "max-payload" || it.value != "0");
    set
}

/// Whether `SSL` says that TLS is not wanted; anything else says that it is, and not in clear text.
fn says_no(ssl: &str) -> bool {
    ["0", "false", "no", "off"].iter().any(|it| it.eq_ignore_ascii_case(ssl))
}

/// An address as `--listen` takes it.
fn address(host: &str, port: &str) -> String {
    match host.contains(':') && !host.starts_with('[') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    }
}

/// Whether an argument is an old setting.
pub(crate) fn parse(text: &str) -> Result<String, String> {
    const NAMES: [&str; 9] = [
        "HOST",
        "PORT",
        "SSL",
        "KEY_PATH",
        "CERT_PATH",
        "PFX_PATH",
        "PASSPHRASE",
        "TOKEN",
        "MAX_PAYLOAD",
    ];
    let name = text.split_once('=').map(|(name, _)| name).unwrap_or_default();
    match NAMES.iter().any(|it| it.eq_ignore_ascii_case(name)) {
        true => Ok(text.to_owned()),
        false => Err(format!("wanted NAME=value with one of {}", NAMES.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(arguments: &[&str], environment: &[(&str, &str)]) -> Vec<(&'static str, String)> {
        let arguments = arguments.iter().map(|it| (*it).to_owned());
        let set = usual(arguments, |name| {
            environment.iter().find(|(it, _)| *it == name).map(|(_, value)| (*value).to_owned())
        });
        set.into_iter().map(|it| (it.flag, it.value)).collect()
    }

    fn owned(expected: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
        expected.iter().map(|(flag, value)| (*flag, (*value).to_owned())).collect()
    }

    #[test]
    fn each_old_setting_sets_what_is_its_flag_now() {
        let tls =
            [("SSL", "1"), ("CERT_PATH", "c.pem"), ("key_path", "k.pem"), ("PASSPHRASE", "p")];
        for (arguments, environment, expected) in [
            (&[][..], &[][..], &[][..]),
            (&["PORT=9000"], &[], &[("listen", "localhost:9000")]),
            (&["host=::1", "port=1"], &[], &[("listen", "[::1]:1")]),
            (&[], &[("HOST", "0.0.0.0")], &[("listen", "0.0.0.0:9163")]),
            (&["TOKEN=a=b"], &[("TOKEN", "c")], &[("token", "a=b")]),
            (&["Max_Payload=20000"], &[], &[("max-payload", "20000")]),
            (&["MAX_PAYLOAD=0"], &[("token", "")], &[]),
            (&["KEY_PATH=k.pem"], &[], &[]),
            (
                &[],
                &tls,
                &[
                    ("tls", "true"),
                    ("tls-key", "k.pem"),
                    ("tls-cert", "c.pem"),
                    ("tls-passphrase", "p"),
                    ("tls-key-password", "p"),
                ],
            ),
        ] {
            assert_eq!(
                set(arguments, environment),
                owned(expected),
                "{arguments:?} {environment:?}"
            );
        }
    }

    #[test]
    fn who_asks_for_tls_in_any_words_gets_it() {
        for (ssl, is_secure) in [
            ("1", true),
            ("true", true),
            ("maybe", true),
            ("0", false),
            ("Off", false),
            ("", false),
        ] {
            let asked = set(&[&format!("SSL={ssl}")], &[]);
            assert_eq!(asked.contains(&("tls", "true".to_owned())), is_secure, "{ssl}");
        }
    }

    #[test]
    fn other_arguments_are_refused() {
        assert!(parse("port=1").is_ok() && parse("TOKEN=x=y").is_ok());
        assert!(parse("PROT=1").is_err() && parse("port").is_err() && parse("=1").is_err());
    }
}
