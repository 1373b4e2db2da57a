//! What it answers: every command with good and bad arguments, and the session of its page.

use std::fs;

use super::{StateServer, dialogue::play};
use crate::harness::workspace;

/// Somebody who never logs in may take his time, however slow the machine is.
const UNHURRIED: &[&str] = &["--newcomer-idle", "1h"];

#[test]
fn every_command_answers_as_written() {
    let page = "tests/transcripts/state.txt";
    let text = fs::read_to_string(workspace().join(page)).unwrap();
    play(&StateServer::start(UNHURRIED), page, (1..).zip(text.lines()));
}

#[test]
fn the_session_of_its_page_goes_as_written() {
    let page = "daemons/state/README.md";
    let text = fs::read_to_string(workspace().join(page)).unwrap();
    let mut is_inside = false;
    let lines = (1..).zip(text.lines()).filter(|(_, line)| {
        let was_inside = is_inside;
        is_inside = if is_inside { *line != "```" } else { *line == "```dialogue" };
        was_inside && is_inside
    });
    play(&StateServer::start(UNHURRIED), page, lines);
}
