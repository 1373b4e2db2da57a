use hyper::{Method, Version, header, header::HeaderMap};
use sha1::{Digest, Sha1};

/// Why a request is no handshake that can be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoUpgrade {
    /// Plain HTTP, or a version other than 13.
    Required,
    /// It asks for WebSocket, and not as RFC 6455, 4.1 says.
    Malformed,
}

/// What a server appends to a key (RFC 6455, 1.3).
const SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The value of `Sec-WebSocket-Accept` for a request.
pub(crate) fn accept(
    method: &Method,
    version: Version,
    headers: &HeaderMap,
) -> Result<String, NoUpgrade> {
    if !has_token(headers, header::UPGRADE, "websocket") {
        return Err(NoUpgrade::Required);
    }
    if method != Method::GET
        || version != Version::HTTP_11
        || !has_token(headers, header::CONNECTION, "upgrade")
    {
        return Err(NoUpgrade::Malformed);
    }
    let is_13 = |it: &str| it.trim() == "13";
    if !only(headers, header::SEC_WEBSOCKET_VERSION).is_some_and(is_13) {
        return Err(NoUpgrade::Required);
    }
    let key = only(headers, header::SEC_WEBSOCKET_KEY).map(str::trim).filter(|it| is_key(it));
    key.map(accept_of).ok_or(NoUpgrade::Malformed)
}

/// The first subprotocol that the client offers.
pub(crate) fn first_subprotocol(headers: &HeaderMap) -> Option<&str> {
    let offered = headers.get(header::SEC_WEBSOCKET_PROTOCOL)?.to_str().ok()?;
    offered.split(',').map(str::trim).find(|it| !it.is_empty())
}

/// The value of a header that is there exactly once.
pub(crate) fn only(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

fn has_token(headers: &HeaderMap, name: header::HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|it| it.to_str().ok())
        .flat_map(|it| it.split(','))
        .any(|it| it.trim().eq_ignore_ascii_case(token))
}

/// Whether it is 16 bytes in base64.
fn is_key(key: &str) -> bool {
    let is_digit = |byte: u8| byte.is_ascii_alphanumeric() || b"+/".contains(&byte);
    key.len() == 24 && key.ends_with("==") && key[..22].bytes().all(is_digit)
}

fn accept_of(key: &str) -> String {
    base64(&Sha1::new().chain_update(key).chain_update(SUFFIX).finalize())
}

/// RFC 4648, 4.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0, |bits, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * place)) as usize & 63];
            text.push(if place > chunk.len() { '=' } else { digit.into() });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_rfc_6455_is_answered_as_there() {
        assert_eq!(accept_of("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn base64_is_that_of_rfc_4648() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }

    fn headers(changed: &str, value: Option<&str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, given) in [
            ("upgrade", "WebSocket"),
            ("connection", "keep-alive, Upgrade"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ] {
            let value = if name == changed { value } else { Some(given) };
            if let Some(value) = value {
                headers.insert(name, value.parse().unwrap());
            }
        }
        headers
    }

    #[test]
    fn a_handshake_is_as_rfc_6455_says_or_refused() {
        use NoUpgrade::{Malformed, Required};
        for (changed, value, expected) in [
            ("", None, None),
            ("upgrade", None, Some(Required)),
            ("upgrade", Some("h2c"), Some(Required)),
            ("upgrade", Some("h2c, websocket"), None),
            ("connection", None, Some(Malformed)),
            ("connection", Some("close"), Some(Malformed)),
            ("sec-websocket-version", None, Some(Required)),
            ("sec-websocket-version", Some("8"), Some(Required)),
            ("sec-websocket-key", None, Some(Malformed)),
            ("sec-websocket-key", Some("short"), Some(Malformed)),
            ("sec-websocket-key", Some("dGhlIHNhbXBsZSBub25jZQ=*"), Some(Malformed)),
        ] {
            let found = accept(&Method::GET, Version::HTTP_11, &headers(changed, value));
            assert_eq!(found.err(), expected, "{changed}: {value:?}");
        }
        let headers = headers("", None);
        assert_eq!(accept(&Method::POST, Version::HTTP_11, &headers), Err(Malformed));
        assert_eq!(accept(&Method::GET, Version::HTTP_10, &headers), Err(Malformed));
    }
}
