use serde::Serialize;

use crate::Failure;

/// Appends a packet to `out`, as we send it: `name#tag [args]` and a line feed.
///
/// `args` must be something that JSON writes as an array: a tuple, a slice, a `Vec`. `()` and
/// `[(); 0]` both write none.
///
/// # Errors
/// A value that JSON can't hold, such as a map with keys that are no strings. `out` is then as
/// before.
pub fn encode<T: Serialize + ?Sized>(
    out: &mut Vec<u8>,
    name: &str,
    tag: Option<&str>,
    args: &T,
) -> Result<(), serde_json::Error> {
    encode_with(out, name, tag, |out| {
        let at = out.len();
        serde_json::to_writer(&mut *out, args)?;
        if &out[at..] == b"null" {
            out.truncate(at);
            out.extend_from_slice(b"[]");
        }
        Ok(())
    })
}

/// Appends a packet whose arguments, brackets included, are written by `args`.
///
/// # Errors
/// What `args` says. `out` is then as before.
pub fn encode_with<E>(
    out: &mut Vec<u8>,
    name: &str,
    tag: Option<&str>,
    args: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
) -> Result<(), E> {
    let start = out.len();
    out.extend_from_slice(name.as_bytes());
    if let Some(tag) = tag {
        out.push(b'#');
        out.extend_from_slice(tag.as_bytes());
    }
    out.push(b' ');
    if let Err(error) = args(out) {
        out.truncate(start);
        return Err(error);
    }
    in_one_line(&mut out[start..]);
    out.push(b'\n');
    Ok(())
}

/// Turns line feeds in written arguments into blanks. JSON that somebody else wrote may have some
/// between its values, and there only; on the wire they would end the packet.
pub fn in_one_line(json: &mut [u8]) {
    // Mostly there is none, and `contains` looks at many bytes at once.
    if !json.contains(&b'\n') {
        return;
    }
    let mut rest = json;
    while let Some(at) = rest.iter().position(|&byte| byte == b'\n') {
        rest[at] = b' ';
        rest = &mut rest[at + 1..];
    }
}

/// Appends `err [{…}]`.
pub fn encode_err(out: &mut Vec<u8>, tag: Option<&str>, failure: &Failure) {
    encode(out, "err", tag, &[failure.to_wire()]).expect("a JSON value is JSON");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line<T: Serialize>(name: &str, tag: Option<&str>, args: &T) -> String {
        let mut out = Vec::new();
        encode(&mut out, name, tag, args).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_packet_is_one_line_with_its_arguments_always_present() {
        assert_eq!(line("set", None, &()), "set []\n");
        assert_eq!(line("get", Some("7"), &("k",)), "get#7 [\"k\"]\n");
        assert_eq!(line("get", None, &[None::<u8>]), "get [null]\n");
        assert_eq!(line("x", None, &("a\nb",)), "x [\"a\\nb\"]\n");
    }

    #[test]
    fn json_of_several_lines_becomes_one() {
        let raw: Box<serde_json::value::RawValue> =
            serde_json::from_str("{\n  \"a\\n\": [1,\r\n2]\n}").unwrap();
        assert_eq!(line("x", None, &(raw,)), "x [{   \"a\\n\": [1,\r 2] }]\n");
    }

    #[test]
    fn what_json_cannot_hold_leaves_nothing_behind() {
        let bad = std::collections::BTreeMap::from([((1, 2), 3)]);
        let mut out = b"before".to_vec();
        assert!(encode(&mut out, "set", None, &[bad]).is_err());
        assert_eq!(out, b"before");
    }
}
