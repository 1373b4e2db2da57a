//! Where the data of a command goes. Everything that reaches stdout goes through here.

use std::{
    fmt,
    io::{self, IsTerminal, Stdout, Write},
    os::fd::AsFd,
};

use rustix::event::{PollFd, PollFlags, poll};
use serde::Serialize;

use crate::{
    cli::{Color, Global},
    error::{Complaint, Error},
};

/// The output of a command: lines for people, or documents for programs.
///
/// That nobody reads it any more is [`Error::Closed`], which ends the command quietly.
#[derive(Debug)]
pub(crate) struct Output<W = Stdout> {
    out: W,
    /// Documents, not lines.
    pub(crate) is_json: bool,
    /// Nothing but what was asked for.
    pub(crate) is_quiet: bool,
    /// Colours where they help.
    pub(crate) is_coloured: bool,
}

impl Output {
    /// The output of this process.
    pub(crate) fn of_process(flags: &Global) -> Self {
        let (is_json, is_quiet) = (flags.json, flags.quiet);
        Self { out: io::stdout(), is_json, is_quiet, is_coloured: is_coloured(flags.color) }
    }

    /// Waits until `source` has something new, or nobody reads the output any more.
    pub(crate) fn wait_for(&self, source: impl AsFd) -> Result<(), Error> {
        let mut both = [
            PollFd::new(&source, PollFlags::IN),
            // Nothing is asked for, so that only its end is told.
            PollFd::new(&self.out, PollFlags::empty()),
        ];
        match poll(&mut both, None) {
            Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(Complaint::of("failed", &io::Error::from(error)).into()),
            Ok(_) if both[1].revents().intersects(PollFlags::ERR | PollFlags::HUP) => {
                Err(Error::Closed)
            }
            Ok(_) => Ok(()),
        }
    }
}

impl<W: Write> Output<W> {
    /// Prints one document for programs.
    pub(crate) fn document(&mut self, document: &impl Serialize) -> Result<(), Error> {
        let mut bytes = serde_json::to_vec(document).map_err(|it| Complaint::of("failed", &it))?;
        bytes.push(b'\n');
        self.bytes(&bytes)
    }

    /// Prints one line for people. Nothing in it can steer the terminal.
    pub(crate) fn line(&mut self, line: impl fmt::Display) -> Result<(), Error> {
        self.bytes(format!("{}\n", printable(&line.to_string())).as_bytes())
    }

    /// Prints one line that says what was done; not for the quiet.
    pub(crate) fn note(&mut self, line: impl fmt::Display) -> Result<(), Error> {
        if self.is_quiet { Ok(()) } else { self.line(line) }
    }

    /// Prints bytes as they are.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let written = self.out.write_all(bytes).and_then(|()| self.out.flush());
        written.map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe => Error::Closed,
            _ => Complaint::of("failed", &error).when("write the output").into(),
        })
    }

    /// Says something beside the data, on stderr; not to the quiet, nor to programs.
    pub(crate) fn aside(&self, line: &str) {
        if !self.is_quiet && !self.is_json {
            // With stderr closed there is nobody to tell.
            drop(writeln!(io::stderr(), "dae: {}", printable(line)));
        }
    }
}

/// `text` without what a terminal would obey.
pub(crate) fn printable(text: &str) -> String {
    if !text.contains(char::is_control) {
        return text.to_owned();
    }
    let escaped =
        |it: char| if it.is_control() { it.escape_default().to_string() } else { it.into() };
    text.chars().map(escaped).collect()
}

fn is_coloured(color: Color) -> bool {
    let is_refused = || std::env::var_os("NO_COLOR").is_some_and(|it| !it.is_empty());
    match color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => io::stdout().is_terminal() && !is_refused(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reader that has gone away.
    struct Gone;

    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn to<W>(out: W) -> Output<W> {
        Output { out, is_json: false, is_quiet: true, is_coloured: false }
    }

    #[test]
    fn nothing_in_a_line_steers_the_terminal() {
        let mut output = to(vec![]);
        output.line("a\x1b[2J\nb\u{9b}ü").unwrap();
        assert_eq!(output.out, "a\\u{1b}[2J\\nb\\u{9b}ü\n".as_bytes());
    }

    #[test]
    fn the_quiet_get_only_what_they_asked_for() {
        let mut output = to(vec![]);
        output.note("done").unwrap();
        output.document(&[1]).unwrap();
        assert_eq!(output.out, b"[1]\n");
    }

    #[test]
    fn a_reader_that_went_away_is_no_failure() {
        assert!(matches!(to(Gone).line("x"), Err(Error::Closed)));
    }
}
