//! `dae events`: reads the files, so that it works without a manager.

use std::time::Duration;

use manager::{
    events::{Event, EventsError, Follow, Kind, Reader},
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
    let paths = console.paths()?;
    if args.follow {
        let follow = Follow::open(&paths.events(), args.since.unwrap_or_else(now_ms));
        return follow_on(follow.map_err(|it| failed(&it))?, &mut console.out);
    }
    let mut reader = Reader::open(&paths.events(), args.since.unwrap_or_default());
    while let Some(event) = reader.next_event().map_err(|it| failed(&it))? {
        print(&event, &mut console.out)?;
    }
    Ok(Exit::Done)
}

fn follow_on(mut follow: Follow, out: &mut Output) -> Done {
    loop {
        let batch = follow.next_batch(Some(Duration::ZERO)).map_err(|it| failed(&it))?;
        if batch.is_empty() {
            out.wait_for(&follow)?;
        }
        batch.iter().try_for_each(|it| print(it, out))?;
    }
}

fn failed(error: &EventsError) -> Complaint {
    Complaint::of("failed", error)
}

fn print(event: &Event, out: &mut Output) -> Result<(), Error> {
    if out.is_json { out.document(event) } else { out.line(line(event)) }
}

/// `TIME  transition  Sample  starting → up  pid 4242`: what it is, then whatever else is known of it.
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
