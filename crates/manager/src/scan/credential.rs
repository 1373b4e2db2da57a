//! What a daemon answers to `dae`, as far as it has come.

use std::borrow::Cow;

use serde_json::Value;

/// What a daemon says it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// Its name.
    pub name: String,
    /// Its process.
    pub pid: u32,
    /// Its port.
    pub port: u16,
    /// Which spawn it is; none if it was started by hand.
    pub secret: Option<String>,
}

/// The beginning of a stream, read as the reply to `dae`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// A credential may still come of it.
    Partial,
    Credential(Credential),
    Other,
}

impl Reply {
    pub(crate) fn read(heard: &[u8]) -> Self {
        const NAME: &str = "credential";

        let text = text(heard);
        let text = text.trim_ascii_start();
        let Some(args) = text.strip_prefix(NAME) else {
            return if NAME.starts_with(text) { Self::Partial } else { Self::Other };
        };
        // This reader knows where an array ends, and takes no heed of what follows.
        match serde_json::Deserializer::from_str(args).into_iter::<Vec<Value>>().next() {
            Some(Ok(values)) => Credential::of(&values).map_or(Self::Other, Self::Credential),
            Some(Err(error)) if !error.is_eof() => Self::Other,
            Some(Err(_)) | None => Self::Partial,
        }
    }
}

impl Credential {
    /// By position, as daemons send it. Numbers may stand in strings and the secret may be missing:
    /// originals put in whatever their environment held.
    fn of(values: &[Value]) -> Option<Self> {
        let [name, pid, port, rest @ ..] = values else { return None };
        Some(Self {
            name: name.as_str()?.to_owned(),
            pid: number(pid)?.try_into().ok()?,
            port: number(port)?.try_into().ok()?,
            secret: rest.first().and_then(Value::as_str).map(str::to_owned),
        })
    }
}

fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

/// UTF-8, without a last character that has not arrived in full; else Latin-1, as originals write.
fn text(bytes: &[u8]) -> Cow<'_, str> {
    match str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(error) if error.error_len().is_none() => {
            String::from_utf8_lossy(&bytes[..error.valid_up_to()])
        }
        Err(_) => bytes.iter().map(|&byte| char::from(byte)).collect::<String>().into(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_credential_is_read_as_daemons_write_it() {
        let read = |text: &str| match Reply::read(text.as_bytes()) {
            Reply::Credential(it) => Some((it.name, it.pid, it.port, it.secret)),
            _ => None,
        };
        let sample =
            |secret: Option<&str>| Some(("Sample".to_owned(), 42, 80, secret.map(str::to_owned)));
        for (text, secret) in [
            (r#"credential ["Sample",42,80,"s"]"#, Some("s")),
            (r#"credential ["Sample",42,80,null]"#, None),
            (r#"credential ["Sample",42,80]"#, None),
            (r#"credential ["Sample","42","80",7]"#, None),
            ("\r\n credential \t[ \"Sample\" , 42,80,\"]\\\"\" ]get [", Some("]\"")),
            (r#"credential ["Sample",42,80,"s","more"]"#, Some("s")),
        ] {
            assert_eq!(read(text), sample(secret), "{text}");
        }
    }

    #[test]
    fn what_can_not_become_a_credential_is_other_at_once() {
        for text in [
            "err [",
            "credentials [",
            "credential 5",
            "credential {",
            "credential [}",
            "x",
            r#"credential [null,1,2,null]"#,
            r#"credential ["a",-1,2,null]"#,
            r#"credential ["a",1,65536,null]"#,
            r#"credential ["a",1,null,null]"#,
            r#"credential ["a"]"#,
        ] {
            assert_eq!(Reply::read(text.as_bytes()), Reply::Other, "{text}");
        }
    }

    #[test]
    fn a_name_in_latin_1_or_cut_utf_8_is_read() {
        let name = |bytes: &[u8]| match Reply::read(bytes) {
            Reply::Credential(it) => it.name,
            other => format!("{other:?}"),
        };
        assert_eq!(name(b"credential [\"Jos\xe9\",1,2,null]"), "José");
        assert_eq!(name("credential [\"José\",1,2,null]".as_bytes()), "José");
        assert_eq!(name(b"credential [\"Jos\xc3"), "Partial");
    }

    proptest! {
        #[test]
        fn every_beginning_of_a_credential_is_partial(
            name in "\\PC{0,20}", pid: u32, port: u16, secret: Option<String>, cut in 0.0f64..1.0,
        ) {
            let array = serde_json::to_string(&(&name, pid, port, &secret)).unwrap();
            let whole = format!("credential {array}");
            let credential = Credential { name, pid, port, secret };
            prop_assert_eq!(Reply::read(whole.as_bytes()), Reply::Credential(credential));
            let cut = (whole.len() as f64 * cut) as usize;
            prop_assert_eq!(Reply::read(&whole.as_bytes()[..cut]), Reply::Partial);
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes: Vec<u8>) {
            Reply::read(&bytes);
            Reply::read(&[b"credential ", &bytes[..]].concat());
            Reply::read(&[b"credential [\"", &bytes[..]].concat());
        }
    }
}
