//! What it answers: every command with good and bad arguments, and the session of its page.

use std::fs;

use super::StateServer;
use crate::harness::{play, play_page, workspace};

/// Somebody who never logs in may take his time, however slow the machine is.
const UNHURRIED: &[&str] = &["--newcomer-idle", "1h"];

/// What is typed may name the password of `root` as `$ROOT`.
fn meaning(server: &StateServer, typed: &str) -> String {
    match typed.contains("$ROOT") {
        true => typed.replace("$ROOT", &server.root_password()),
        false => typed.to_owned(),
    }
}

#[test]
fn every_command_answers_as_written() {
    let page = "tests/transcripts/state.txt";
    let text = fs::read_to_string(workspace().join(page)).unwrap();
    let server = StateServer::start(UNHURRIED);
    let lines = (1..).zip(text.lines());
    play(page, lines, || server.connect(), |typed| meaning(&server, typed));
}

#[test]
fn the_session_of_its_page_goes_as_written() {
    let server = StateServer::start(UNHURRIED);
    let connect = || server.connect();
    play_page("daemons/state/README.md", connect, |typed| meaning(&server, typed));
}
