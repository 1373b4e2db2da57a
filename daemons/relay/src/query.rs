use std::borrow::Cow;

/// What follows the `?` of a URL: values by key, as they came.
#[derive(Clone, Copy, Debug, Default)]
pub struct Query<'a>(&'a str);

impl<'a> Query<'a> {
    /// The query `text`, without its `?`.
    #[must_use]
    pub fn new(text: &'a str) -> Self {
        Self(text)
    }

    /// The last value of `key`: what follows the first `=`. Nothing is decoded.
    #[must_use]
    pub fn get(self, key: &str) -> Option<&'a str> {
        let pairs = self.0.rsplit('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        pairs.into_iter().find_map(|(it, value)| (it == key).then_some(value))
    }
}

/// The text that `%XX` in `raw` stand for; as it is if that is no UTF-8.
#[must_use]
pub fn decoded(raw: &str) -> Cow<'_, str> {
    if !raw.contains('%') {
        return raw.into();
    }
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.as_bytes();
    while let [first, more @ ..] = rest {
        (bytes, rest) = match escaped(rest) {
            Some(byte) => (with(bytes, byte), &rest[3..]),
            None => (with(bytes, *first), more),
        };
    }
    String::from_utf8(bytes).map_or(raw.into(), Cow::Owned)
}

/// The byte at the start of `bytes`, if it is escaped.
fn escaped(bytes: &[u8]) -> Option<u8> {
    let [b'%', high, low, ..] = bytes else { return None };
    let digit = |it: &u8| char::from(*it).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

fn with(mut bytes: Vec<u8>, byte: u8) -> Vec<u8> {
    bytes.push(byte);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_value_behind_the_first_equals_sign_counts() {
        let query = Query::new("v=1.0.0&id=[master]&t=a=b&x&id=second&=empty");
        for (key, value) in [
            ("v", Some("1.0.0")),
            ("id", Some("second")),
            ("t", Some("a=b")),
            ("x", Some("")),
            ("y", None),
            ("", Some("empty")),
        ] {
            assert_eq!(query.get(key), value, "{key}");
        }
    }

    #[test]
    fn what_is_escaped_can_be_read() {
        for (raw, text) in [
            ("plain", "plain"),
            ("%5Bmaster%5d", "[master]"),
            ("a%20b+c", "a b+c"),
            ("%", "%"),
            ("%5", "%5"),
            ("%zz", "%zz"),
            ("%C3%A4", "ä"),
            ("%C3", "%C3"),
            ("100%25", "100%"),
        ] {
            assert_eq!(decoded(raw), text, "{raw}");
        }
    }
}
