//! Sessions of several people at once, as they see them, replayed to the byte.
//!
//! After `name>` is what is typed into the connection of that name, after `name<` what must come
//! there; `…` stands for anything within a line, `name<⊣` for the daemon's close. `#` and blank
//! lines are for the reader. What is typed may name the password of `root` as `$ROOT`.

use std::collections::BTreeMap;

use super::StateServer;
use crate::{harness::Netcat, transcripts::matches};

/// Plays `lines` of the page `page`, each with its number.
pub(super) fn play<'a>(
    server: &StateServer,
    page: &str,
    lines: impl Iterator<Item = (usize, &'a str)>,
) {
    let mut said = 0;
    let mut people = BTreeMap::<&str, Netcat>::new();
    for (number, line) in lines.filter(|(_, it)| !it.is_empty() && !it.starts_with('#')) {
        let (name, rest) = line.split_at(line.find(['<', '>']).expect("somebody's line"));
        let netcat = people.entry(name).or_insert_with(|| server.connect());
        if let Some(typed) = rest.strip_prefix("> ") {
            let typed = match typed.contains("$ROOT") {
                true => typed.replace("$ROOT", &server.root_password()),
                false => typed.to_owned(),
            };
            netcat.send(format!("{typed}\n")).unwrap();
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
