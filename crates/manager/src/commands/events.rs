//! `dae events`: reads the files, so that it works without a manager.

use std::{collections::VecDeque, time::Duration};

use manager::{
    events::{Event, EventsError, Follow, Kind, Reader},
    name::Pattern,
    time::{now_ms, rfc3339},
};
use serde_json::Value;

use super::Console;
use crate::{
    cli::Events,
    error::{Complaint, Done, Error, Exit},
    output::Output,
};

pub(super) fn run(args: Events, console: &mut Console) -> Done {
    let dir = console.paths()?.events();
    let wanted = Wanted { names: args.names, count: args.lines };
    if args.follow {
        let past = if args.lines.is_some() { 0 } else { now_ms() };
        let follow = Follow::open(&dir, args.since.unwrap_or(past)).map_err(|it| failed(&it))?;
        return follow_on(follow, &wanted, &mut console.out);
    }
    let mut reader = Reader::open(&dir, args.since.unwrap_or_default());
    let mut next = || reader.next_event().map_err(|it| failed(&it));
    if wanted.count.is_none() {
        while let Some(event) = next()? {
            wanted.print(&event, &mut console.out)?;
        }
        return Ok(Exit::Done);
    }
    let mut last = VecDeque::new();
    while let Some(event) = next()? {
        wanted.keep(&mut last, event);
    }
    last.iter().try_for_each(|it| print(it, &mut console.out))?;
    Ok(Exit::Done)
}

/// Which events.
struct Wanted {
    /// Whose; all without one.
    names: Vec<Pattern>,
    /// Only so many of those that are there already.
    count: Option<usize>,
}

impl Wanted {
    fn admits(&self, event: &Event) -> bool {
        let name = event.what.name.as_deref();
        self.names.is_empty() || name.is_some_and(|it| self.names.iter().any(|by| by.matches(it)))
    }

    fn print(&self, event: &Event, out: &mut Output) -> Result<(), Error> {
        if self.admits(event) { print(event, out) } else { Ok(()) }
    }

    /// Puts an event behind the last ones, of which there are never too many.
    fn keep(&self, last: &mut VecDeque<Event>, event: Event) {
        if self.admits(&event) {
            last.push_back(event);
        }
        if self.count.is_some_and(|it| last.len() > it) {
            last.pop_front();
        }
    }
}

fn follow_on(mut follow: Follow, wanted: &Wanted, out: &mut Output) -> Done {
    let mut next = || follow.next_batch(Some(Duration::ZERO)).map_err(|it| failed(&it));
    if wanted.count.is_some() {
        let mut last = VecDeque::new();
        loop {
            let batch = next()?;
            if batch.is_empty() {
                break;
            }
            batch.into_iter().for_each(|it| wanted.keep(&mut last, it));
        }
        last.iter().try_for_each(|it| print(it, out))?;
    }
    loop {
        let batch = follow.next_batch(Some(Duration::ZERO)).map_err(|it| failed(&it))?;
        if batch.is_empty() {
            out.wait_for(&follow)?;
        }
        batch.iter().try_for_each(|it| wanted.print(it, out))?;
    }
}

fn failed(error: &EventsError) -> Complaint {
    Complaint::of("failed", error)
}

fn print(event: &Event, out: &mut Output) -> Result<(), Error> {
    if out.is_json { out.document(event) } else { out.line(line(event)) }
}

/// `TIME  transition  Sample  starting → up  pid 4242`: what it is, then whatever else is known of
/// it.
fn line(event: &Event) -> String {
    let what = &event.what;
    let kind = match what.kind {
        Kind::Transition => "transition",
        Kind::Command => "command",
        Kind::Note => "note",
    };
    let mut members = what.members.clone();
    let mut words = vec![rfc3339(event.time_ms), kind.to_owned()];
    words.extend(what.name.clone());
    if let (Some(from), Some(to)) = (members.remove("from"), members.remove("to")) {
        words.push(format!("{} → {}", plain(&from), plain(&to)));
    }
    words.extend(members.remove(kind).as_ref().map(plain));
    members.extend(what.by.clone().map(|it| ("by".to_owned(), it)));
    let known = members.iter().filter(|(_, value)| !value.is_null());
    words.extend(known.map(|(key, value)| format!("{key} {}", plain(value))));
    words.join("  ")
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
