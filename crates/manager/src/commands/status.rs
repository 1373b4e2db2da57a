use std::time::Duration;

use manager::definition::{KEYS, about};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    Console,
    daemon::is_manager,
    entry::Entry,
    manager::{Manager, read},
};
use crate::{
    cli::Status,
    error::{Done, Error, Exit},
    output::Output,
};

pub(super) async fn run(args: Status, console: &mut Console) -> Done {
    let manager = console.look().await?;
    match args.name.filter(|it| !is_manager(it)) {
        Some(name) => of_daemon(&name, &manager, console).await,
        None => of_manager(&manager, console).await,
    }
}

/// A daemon in full.
#[derive(Deserialize)]
struct Daemon {
    daemon: Entry,
    #[serde(default)]
    definition: Map<String, Value>,
    #[serde(default)]
    environment: Map<String, Value>,
    #[serde(default)]
    identity: Option<Map<String, Value>>,
    #[serde(default)]
    history: Vec<Transition>,
    #[serde(default)]
    output: Vec<Line>,
}

#[derive(Deserialize)]
struct Transition {
    time: String,
    from: Option<String>,
    to: String,
    note: Option<String>,
}

#[derive(Deserialize)]
struct Line {
    time: String,
    stream: String,
    text: String,
}

async fn of_daemon(name: &str, manager: &Manager, console: &mut Console) -> Done {
    let attempt = format!("tell the status of `{name}`");
    let answer = manager.ask("status", &(name,)).await.map_err(|it| it.when(&attempt))?;
    let status: Daemon = read(&answer)?;
    if console.out.is_json {
        console.out.document(&answer)?;
    } else {
        status.print(&mut console.out)?;
    }
    Ok(if status.daemon.is_up() { Exit::Done } else { Exit::NotUp })
}

impl Daemon {
    fn print(&self, out: &mut Output) -> Result<(), Error> {
        match self.daemon.age() {
            Some(age) => out.line(format_args!("{}  for {age}", self.daemon))?,
            None => out.line(&self.daemon)?,
        }
        let definition = KEYS.iter().filter_map(|&key| Some((key, self.definition.get(key)?)));
        self.print_sockets(out)?;
        members("definition", definition, out)?;
        members("environment", pairs(&self.environment), out)?;
        members("identity", self.identity.iter().flat_map(pairs), out)?;
        self.print_history(out)?;
        self.print_output(out)
    }

    fn print_sockets(&self, out: &mut Output) -> Result<(), Error> {
        let unix = self.daemon.unix.iter().map(|path| ("Unix", path.as_str(), "yours"));
        let held = self.daemon.sockets.iter().map(|it| {
            let held = if it.held { "held" } else { "closed" };
            (it.label(), it.address.as_str(), held)
        });
        let all: Vec<_> = held.chain(unix).collect();
        title("sockets", all.is_empty(), out)?;
        let width = all.iter().map(|it| it.0.len()).max().unwrap_or_default();
        all.iter().try_for_each(|(label, place, word)| {
            out.line(format_args!("  {label:width$}  {place}  {word}"))
        })
    }

    fn print_history(&self, out: &mut Output) -> Result<(), Error> {
        title("history", self.history.is_empty(), out)?;
        self.history.iter().try_for_each(|Transition { time, from, to, note }| {
            let from = from.as_ref().map(|it| format!("{it} → ")).unwrap_or_default();
            let note = note.as_ref().map(|it| format!("  ({it})")).unwrap_or_default();
            out.line(format_args!("  {time}  {from}{to}{note}"))
        })
    }

    fn print_output(&self, out: &mut Output) -> Result<(), Error> {
        title("output", self.output.is_empty(), out)?;
        self.output.iter().try_for_each(|Line { time, stream, text }| {
            out.line(format_args!("  {time}  {stream}  {text}"))
        })
    }
}

async fn of_manager(manager: &Manager, console: &mut Console) -> Done {
    let answer = manager.ask("status", &json!([])).await;
    let answer = answer.map_err(|it| it.when("tell the status of the manager"))?;
    if console.out.is_json {
        console.out.document(&answer)?;
        return Ok(Exit::Done);
    }
    let status: Map<String, Value> = read(&answer)?;
    let manager = status.get("manager").and_then(Value::as_object);
    members("Dae", manager.into_iter().flat_map(pairs), &mut console.out)?;
    Ok(Exit::Done)
}

fn pairs(members: &Map<String, Value>) -> impl Iterator<Item = (&str, &Value)> {
    members.iter().map(|(key, value)| (key.as_str(), value))
}

/// Prints what is known, a line each.
fn members<'a>(
    head: &str,
    members: impl Iterator<Item = (&'a str, &'a Value)>,
    out: &mut Output,
) -> Result<(), Error> {
    let known: Vec<_> = members.filter(|(_, value)| !is_nothing(value)).collect();
    title(head, known.is_empty(), out)?;
    let width = known.iter().map(|(key, _)| key.len()).max().unwrap_or_default();
    known.iter().try_for_each(|(key, value)| {
        out.line(format_args!("  {key:width$}  {}", of_key(key, value)))
    })
}

fn title(head: &str, is_empty: bool, out: &mut Output) -> Result<(), Error> {
    if is_empty { Ok(()) } else { out.line(head) }
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        _ => false,
    }
}

/// A duration is for people what it is about.
fn of_key(key: &str, value: &Value) -> String {
    match value.as_u64().filter(|_| key.ends_with("_ms")) {
        Some(ms) => about(Duration::from_millis(ms)),
        None => plain(value),
    }
}

/// A text without its quotes; what has members, with its members.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Object(members) => {
            let members = members.iter().map(|(key, value)| format!("{key} {}", plain(value)));
            members.collect::<Vec<_>>().join(", ")
        }
        _ => value.to_string(),
    }
}
