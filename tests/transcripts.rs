//! Sessions as a person with netcat sees them, replayed to the byte.
//!
//! In `transcripts/*.txt` a line after `>` is typed, one after `<` must come back, `…` stands for
//! anything within a line, `<⊣` for the daemon's close, after which the next line opens a new
//! connection. `#` and blank lines are for the reader.

use std::fs;

use crate::harness::{Daemon, Netcat, workspace};

#[test]
fn the_sample_talks_as_written() {
    let sample = Daemon::sample(&[]);
    replay("sample", || sample.connect());
}

/// Plays the transcript `name` on connections made by `connect`.
fn replay(name: &str, connect: impl Fn() -> Netcat) {
    let path = workspace().join(format!("tests/transcripts/{name}.txt"));
    let transcript = fs::read_to_string(&path).unwrap();
    let mut netcat = None;
    for (index, line) in transcript.lines().enumerate() {
        let fault = play(line, &mut netcat, &connect).err();
        assert_eq!(fault, None, "{}:{}: `{line}`", path.display(), index + 1);
    }
}

/// Plays one line; a fault says what came instead.
fn play(
    line: &str,
    netcat: &mut Option<Netcat>,
    connect: impl Fn() -> Netcat,
) -> Result<(), String> {
    if line.is_empty() || line.starts_with('#') {
        return Ok(());
    }
    let open = netcat.get_or_insert_with(connect);
    if let Some(typed) = line.strip_prefix("> ") {
        return open.send(format!("{typed}\n")).map_err(|it| it.to_string());
    }
    let came = open.read_line().map_err(|it| it.to_string())?;
    let right = match line.strip_prefix("< ") {
        Some(pattern) => came.strip_suffix('\n').is_some_and(|it| matches(pattern, it)),
        None if line == "<⊣" => {
            *netcat = None;
            came.is_empty()
        }
        None => return Err("is no line of a transcript".into()),
    };
    if right { Ok(()) } else { Err(came) }
}

/// Whether `text` is `pattern`, where `…` stands for any run of characters.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('…') {
        None => pattern == text,
        Some((head, tail)) => text.strip_prefix(head).is_some_and(|rest| {
            rest.char_indices()
                .map(|(at, _)| at)
                .chain([rest.len()])
                .any(|at| matches(tail, &rest[at..]))
        }),
    }
}

#[test]
fn an_ellipsis_stands_for_anything() {
    assert!(matches("a…c", "abc"));
    assert!(matches("a…c", "ac"));
    assert!(matches("…b…", "abcb"));
    assert!(!matches("a…c", "abcd"));
    assert!(!matches("abc", "abcd"));
}
