//! A command line that makes no sense, explained like any other failure; and help, which is none.

use std::env;

use clap::error::ErrorKind::{
    DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand, DisplayVersion,
};

use crate::error::{Complaint, Exit};

/// Prints help, or what is wrong with the command line.
pub(crate) fn explain(error: &clap::Error) -> Exit {
    if matches!(error.kind(), DisplayHelp | DisplayVersion) {
        // A reader that went away is no failure.
        drop(error.print());
        return Exit::Done;
    }
    if error.kind() == DisplayHelpOnMissingArgumentOrSubcommand {
        drop(error.print());
        return Exit::Usage;
    }
    complaint(&error.render().to_string()).print(is_json());
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

fn one_line(paragraph: &str) -> String {
    paragraph.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The flags could not be read, so they are looked for.
fn is_json() -> bool {
    env::args_os().take_while(|it| it != "--").any(|it| it == "--json")
}
