//! Lines for terminals and for programs.

use std::io::{self, Write};

use serde::Serialize;

use super::line::Line;
use crate::time::rfc3339;

/// Colours of names: those readable on dark and light, without red, which says "error".
const COLOURS: [&str; 5] = ["\x1b[32m", "\x1b[33m", "\x1b[34m", "\x1b[35m", "\x1b[36m"];
const PLAIN: &str = "\x1b[0m";

/// How lines look on a terminal.
#[derive(Debug, Clone, Copy, Default)]
pub struct Style {
    /// Whether the name has a colour of its own.
    pub is_coloured: bool,
    /// Whether text goes out as the daemon printed it, control bytes included.
    pub is_raw: bool,
    /// Names are filled up to this many characters.
    pub name_width: usize,
}

/// A line as programs get it: `{"v":1,"name","time","stream","text"}`, with `"partial":true` and
/// `"note":true` where they are so.
///
/// The text is valid UTF-8: what was not is U+FFFD there.
#[derive(Debug, Serialize)]
pub struct Entry {
    v: u8,
    name: String,
    time: String,
    stream: &'static str,
    text: String,
    #[serde(skip_serializing_if = "is_false")]
    partial: bool,
    #[serde(skip_serializing_if = "is_false")]
    note: bool,
}

impl Entry {
    /// The line of the daemon called `name`.
    pub fn new(name: &str, line: &Line) -> Self {
        Self {
            v: 1,
            name: name.to_owned(),
            time: rfc3339(line.time_ms),
            stream: line.stream.name(),
            text: String::from_utf8_lossy(&line.text).into_owned(),
            partial: line.partial,
            note: line.note,
        }
    }
}

/// Writes `TIME NAME STREAM text` and a newline. The stream of a note is `dae`.
///
/// Unless raw, nothing a daemon printed can steer the terminal: control characters but the tab, and
/// bytes that are no UTF-8, come as `\x1b`. A backslash stays as it is.
///
/// # Errors
/// Those of `out`.
pub fn write(out: &mut impl Write, style: Style, name: &str, line: &Line) -> io::Result<()> {
    let (on, off) = if style.is_coloured { (colour(name), PLAIN) } else { ("", "") };
    let width = style.name_width;
    let stream = if line.note { "dae" } else { line.stream.name() };
    write!(out, "{} {on}{name:width$}{off} {stream} ", rfc3339(line.time_ms))?;
    if style.is_raw {
        out.write_all(&line.text)?
    } else {
        write_escaped(out, &line.text)?
    }
    out.write_all(b"\n")
}

fn write_escaped(out: &mut impl Write, text: &[u8]) -> io::Result<()> {
    for chunk in text.utf8_chunks() {
        let mut rest = chunk.valid();
        while let Some(at) = rest.find(|it: char| it.is_control() && it != '\t') {
            let (before, from) = rest.split_at(at);
            out.write_all(before.as_bytes())?;
            let (control, after) = from.split_at(from.chars().next().map_or(0, char::len_utf8));
            write_hex(out, control.as_bytes())?;
            rest = after;
        }
        out.write_all(rest.as_bytes())?;
        write_hex(out, chunk.invalid())?;
    }
    Ok(())
}

fn write_hex(out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    bytes.iter().try_for_each(|it| write!(out, "\\x{it:02x}"))
}

/// The same for a name every time and everywhere.
fn colour(name: &str) -> &'static str {
    let sum = name.bytes().fold(0, |sum: usize, it| sum.wrapping_mul(31).wrapping_add(it.into()));
    COLOURS[sum % COLOURS.len()]
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
fn is_false(it: &bool) -> bool {
    !it
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::{Cursor, Stream};

    fn line(text: &[u8]) -> Line {
        let cursor = Cursor { inode: 0, offset: 0 };
        let (stream, text) = (Stream::Err, text.to_vec());
        Line { time_ms: 1, stream, text, partial: false, note: false, cursor }
    }

    fn written(style: Style, line: &Line) -> Vec<u8> {
        let mut out = vec![];
        write(&mut out, style, "Sample", line).unwrap();
        out
    }

    #[test]
    fn a_line_has_time_name_and_stream() {
        let style = Style { name_width: 8, ..Style::default() };
        let out = written(style, &line("grün".as_bytes()));
        assert_eq!(out, "1970-01-01T00:00:00.001Z Sample   err grün\n".as_bytes());
        let note = Line { note: true, ..line(b"x") };
        assert!(written(Style::default(), &note).ends_with(b"Sample dae x\n"));
    }

    #[test]
    fn control_bytes_are_escaped_unless_raw() {
        for (text, expected) in [
            (&b"\x1b[2Ja\tb\0\r\x7f"[..], &b"\\x1b[2Ja\tb\\x00\\x0d\\x7f"[..]),
            (b"a\xff\xfeb", b"a\\xff\\xfeb"),
            // CSI as one character, which some terminals obey.
            (b"\xc2\x9b2J", b"\\xc2\\x9b2J"),
        ] {
            let out = written(Style::default(), &line(text));
            assert_eq!(out, [b"1970-01-01T00:00:00.001Z Sample err ", expected, b"\n"].concat());
            let raw = written(Style { is_raw: true, ..Style::default() }, &line(text));
            assert!(raw.ends_with(&[text, b"\n"].concat()));
        }
    }

    #[test]
    fn only_the_name_is_coloured_and_only_when_asked() {
        let out = written(Style { is_coloured: true, ..Style::default() }, &line(b"x"));
        let out = String::from_utf8(out).unwrap();
        assert_eq!(
            out,
            format!("1970-01-01T00:00:00.001Z {}Sample\x1b[0m err x\n", colour("Sample"))
        );
        assert!(!written(Style::default(), &line(b"x")).contains(&0x1b));
    }

    #[test]
    fn json_has_the_documented_members() {
        let json = |line: &Line| serde_json::to_string(&Entry::new("Sample", line)).unwrap();
        let plain = r#"{"v":1,"name":"Sample","time":"1970-01-01T00:00:00.001Z","stream":"err","text":"a�\u001b""#;
        assert_eq!(json(&line(b"a\xff\x1b")), format!("{plain}}}"));
        let both = Line { partial: true, note: true, ..line(b"a\xff\x1b") };
        assert_eq!(json(&both), format!(r#"{plain},"partial":true,"note":true}}"#));
    }
}
