//! Sessions of several people at once, as they see them, replayed to the byte.
//!
//! After `name>` is what is typed into the connection of that name, after `name<` what must come
//! there; `…` stands for anything within a line, `name<⊣` for the daemon's close. `#` and blank
//! lines are for the reader.

use std::{collections::BTreeMap, fs};

use super::{Netcat, workspace};
use crate::transcripts::matches;

/// Plays the dialogues in the page `page`, with a connection for each person; `meaning` is what a
/// typed line stands for.
pub(crate) fn play_page(
    page: &str,
    connect: impl Fn() -> Netcat,
    meaning: impl Fn(&str) -> String,
) {
    let text = fs::read_to_string(workspace().join(page)).unwrap();
    let mut is_inside = false;
    let lines = (1..).zip(text.lines()).filter(|(_, line)| {
        let was_inside = is_inside;
        is_inside = if is_inside { *line != "```" } else { *line == "```dialogue" };
        was_inside && is_inside
    });
    play(page, lines, connect, meaning);
}

/// Plays `lines` of the page `page`, each with its number.
pub(crate) fn play<'a>(
    page: &str,
    lines: impl Iterator<Item = (usize, &'a str)>,
    connect: impl Fn() -> Netcat,
    meaning: impl Fn(&str) -> String,
) {
    let mut said = 0;
    let mut people = BTreeMap::<&str, Netcat>::new();
    for (number, line) in lines.filter(|(_, it)| !it.is_empty() && !it.starts_with('#')) {
        let (name, rest) = line.split_at(line.find(['<', '>']).expect("somebody's line"));
        let netcat = people.entry(name).or_insert_with(&connect);
        if let Some(typed) = rest.strip_prefix("> ") {
            netcat.send(format!("{}\n", meaning(typed))).unwrap();
            said += 1;
            continue;
        }
        let came = netcat.read_line().unwrap();
        let is_right = match rest.strip_prefix("< ") {
            Some(pattern) => came.strip_suffix('\n').is_some_and(|it| matches(pattern, it)),
            None => rest == "<⊣" && came.is_empty(),
        };
        assert!(is_right, "{page}:{number}: expected\n{line}\ngot\n{name}< {came}");
        if came.is_empty() {
            people.remove(name);
        }
    }
    assert!(said > 0, "{page} has no dialogue");
    // Nobody was told anything more.
    for (name, mut netcat) in people {
        assert_eq!(netcat.call("ping", &serde_json::json!([7])).0, "ping", "{page}: {name}");
    }
}
