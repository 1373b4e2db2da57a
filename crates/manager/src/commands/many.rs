//! What the commands share that take several names: each daemon is reported, the worst one counts.

use serde::Deserialize;
use serde_json::{Map, Value, value::RawValue};

use super::{Console, entry::Entry, manager::read};
use crate::error::{Complaint, Error, Exit};

/// A command for several daemons.
#[derive(Debug)]
pub(super) struct Many<'a> {
    command: &'static str,
    names: Vec<&'a str>,
    options: Map<String, Value>,
}

/// What became of each.
#[derive(Debug, Deserialize)]
pub(super) struct Report {
    /// Those with which all went well.
    #[serde(default)]
    pub(super) daemons: Vec<Entry>,
    #[serde(default)]
    errors: Vec<Map<String, Value>>,
    #[serde(skip)]
    command: &'static str,
}

impl<'a> Many<'a> {
    /// The command `command` of the wire, without flags.
    pub(super) fn new(command: &'static str, names: impl Iterator<Item = &'a str>) -> Self {
        Self { command, names: names.collect(), options: Map::new() }
    }

    /// The same with a flag.
    pub(super) fn with(mut self, flag: &str, value: impl Into<Value>) -> Self {
        self.options.insert(flag.to_owned(), value.into());
        self
    }

    /// Runs it. Programs have been told then, people have not.
    pub(super) async fn ask(self, console: &mut Console) -> Result<Report, Error> {
        let command = self.command;
        let answer = self.answer(console).await?;
        if console.out.is_json {
            console.out.document(&answer)?;
        }
        Ok(Report::read(command, &answer)?)
    }

    /// Runs it, and nobody has been told.
    pub(super) async fn answer(self, console: &Console) -> Result<Box<RawValue>, Error> {
        let manager = console.act().await?;
        let options = console.with_timeout(self.options);
        let answer = manager.ask(self.command, &(&self.names, options)).await;
        Ok(answer.map_err(|it| named(it, self.command, &self.names))?)
    }
}

/// Says what was tried: one daemon is named, several are not.
fn named(complaint: Complaint, command: &str, names: &[&str]) -> Complaint {
    let verb = if command == "wait" { "wait for" } else { command };
    let mut complaint = complaint.when(&match names {
        [name] => format!("{verb} `{name}`"),
        _ => format!("{verb} them"),
    });
    // That a daemon will not come is what `wait` was asked, not a failure of its own.
    if command == "wait" && matches!(complaint.code(), "not-ready" | "stopped" | "spawn-failed") {
        complaint.exit = Exit::NotUp;
    }
    complaint
}

impl Report {
    /// Reads what the manager answered.
    pub(super) fn read(command: &'static str, answer: &RawValue) -> Result<Self, Complaint> {
        Ok(Self { command, ..read(answer)? })
    }

    /// Tells people of each daemon in a line of its own, and everybody what went wrong.
    pub(super) fn tell(
        self,
        console: &mut Console,
        line: impl Fn(&Entry) -> String,
    ) -> Result<Exit, Error> {
        if !console.out.is_json {
            self.daemons.iter().try_for_each(|it| console.out.note(line(it)))?;
        }
        Ok(self.complain(console.out.is_json))
    }

    /// Programs have all errors in the document already, and get the worst as their own.
    fn complain(self, is_json: bool) -> Exit {
        let errors = self.errors.into_iter();
        let mut complaints: Vec<_> = errors.map(|it| one(self.command, it)).collect();
        complaints.sort_by_key(|it| it.exit);
        let known = if is_json { complaints.len().saturating_sub(1) } else { 0 };
        complaints.iter().skip(known).for_each(|it| it.print(is_json));
        complaints.last().map_or(Exit::Done, |it| it.exit)
    }
}

fn one(command: &str, error: Map<String, Value>) -> Complaint {
    let name = error.get("name").and_then(Value::as_str).map(str::to_owned);
    let names: Vec<_> = name.iter().map(String::as_str).collect();
    named(Complaint::told(error), command, &names)
}
