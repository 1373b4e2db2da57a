//! A command line that makes no sense, explained like any other failure; and help, which is none.

use std::{
    env,
    io::{self, Write},
};

use clap::error::ErrorKind::{
    DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand, DisplayVersion, MissingSubcommand,
};

use crate::{
    cli::command_line,
    error::{Complaint, Exit, one_line},
};

/// Prints help, or what is wrong with the command line.
pub(crate) fn explain(error: &clap::Error) -> Exit {
    match error.kind() {
        DisplayHelp | DisplayVersion => {
            // A reader that went away is no failure.
            drop(error.print());
            return Exit::Done;
        }
        MissingSubcommand | DisplayHelpOnMissingArgumentOrSubcommand if !is_json() => {
            drop(write!(io::stderr(), "{}", command_line().render_help()));
        }
        _ => complaint(&error.render().to_string()).print(is_json()),
    }
    Exit::Usage
}

/// The paragraphs of clap: what is wrong, tips, usage, and where more is told.
fn complaint(text: &str) -> Complaint {
    let mut paragraphs = text.split("\n\n").map(one_line);
    let wrong = paragraphs.next().unwrap_or_default();
    let wrong = wrong.strip_prefix("error: ").unwrap_or(&wrong);
    let hints = paragraphs.filter(|it| !it.is_empty() && !it.starts_with("For more information"));
    hints.fold(Complaint::new("bad-argument", wrong), |complaint, hint| {
        complaint.hint(hint.strip_prefix("tip: ").unwrap_or(&hint))
    })
}

/// The flags could not be read, so they are looked for.
fn is_json() -> bool {
    env::args_os().take_while(|it| it != "--").any(|it| it == "--json")
}
