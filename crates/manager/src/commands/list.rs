use serde_json::{json, value::RawValue};

use super::{Console, entry::Entry, manager::read, table::Table};
use crate::{
    cli::List,
    error::{Done, Error, Exit},
    output::Output,
};

pub(super) async fn run(args: List, console: &mut Console) -> Done {
    let manager = console.look().await?;
    let options = json!({ "all": true, "own": args.own, "wide": args.wide });
    let answer = manager.ask("list", &(options,)).await.map_err(|it| it.when("list"))?;
    if console.out.is_json {
        console.out.document(&Document { v: 1, daemons: &answer })?;
        return Ok(Exit::Done);
    }
    let entries: Vec<Entry> = read(&answer)?;
    print(&entries, args.wide, &mut console.out)?;
    if entries.is_empty() {
        console.out.aside("no daemon is installed; install one with `dae install NAME PROGRAM`");
    }
    Ok(Exit::Done)
}

#[derive(serde::Serialize)]
struct Document<'a> {
    v: u8,
    daemons: &'a RawValue,
}

/// Prints a table of daemons, foreign ones at its end; nothing if there are none.
pub(super) fn print(entries: &[Entry], is_wide: bool, out: &mut Output) -> Result<(), Error> {
    let (foreign, own): (Vec<_>, Vec<_>) = entries.iter().partition(|it| it.is_foreign());
    let all = own.into_iter().chain(foreign);
    if entries.is_empty() {
        Ok(())
    } else if is_wide {
        wide(all, out)
    } else {
        narrow(all, out)
    }
}

fn narrow<'a>(all: impl Iterator<Item = &'a Entry>, out: &mut Output) -> Result<(), Error> {
    let mut table = Table::new(["NAME", "STATE", "PID", "PORT", "FOR", "RESTARTS", "NOTE"]);
    for entry in all {
        let [name, state, pid, port, since, restarts] = columns(entry);
        table.row([name, state, pid, port, since, restarts, Some(entry.remarks())]);
    }
    table.print(out)
}

fn wide<'a>(all: impl Iterator<Item = &'a Entry>, out: &mut Output) -> Result<(), Error> {
    let mut table =
        Table::new(["NAME", "STATE", "PID", "PORT", "FOR", "RESTARTS", "CPU", "MEMORY", "NOTE"]);
    for entry in all {
        let [name, state, pid, port, since, restarts] = columns(entry);
        let cpu = entry.cpu.map(|it| format!("{it:.1}%"));
        let memory = entry.memory.map(|it| format!("{:.1}M", it as f64 / f64::from(1 << 20)));
        table.row([name, state, pid, port, since, restarts, cpu, memory, Some(entry.remarks())]);
    }
    table.print(out)
}

fn columns(entry: &Entry) -> [Option<String>; 6] {
    let state = if entry.is_foreign() { "foreign" } else { &entry.state };
    [
        Some(entry.name.clone()),
        Some(state.to_owned()),
        entry.pid.map(|it| it.to_string()),
        entry.port.map(|it| it.to_string()),
        entry.age(),
        entry.restarts.map(|it| it.to_string()),
    ]
}
