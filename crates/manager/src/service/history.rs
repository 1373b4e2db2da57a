//! What has been: the lines that daemons printed, and the manager's own events.

use std::{os::fd::AsFd, path::Path, sync::PoisonError, time::Duration};

use daemon::{Failure, Guest, Stream};
use regex::bytes::Regex;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{
    io::{Interest, unix::AsyncFd},
    task::spawn_blocking,
};

use super::{Dae, one_name};
use crate::{
    events::Reader as Events,
    logs::{Follow, Line, Reader, Selection, Stream as Output},
    manager::Request,
    name::Name,
    time,
};

/// Which lines of a log.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Which {
    lines: Option<usize>,
    since: Option<String>,
    before: Option<String>,
    stream: Option<String>,
    grep: Option<String>,
    follow: bool,
}

/// Which events.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Since {
    since: Option<String>,
    follow: bool,
}

/// How many lines are sent unless more are asked for.
const LINES: usize = 100;

/// The most events that are sent at once; the newest.
const EVENTS: usize = 10_000;

impl Dae {
    pub(super) async fn logs(
        &self,
        guest: Guest,
        stream: Stream,
        name: String,
        which: Option<Which>,
    ) -> Result<Value, Failure> {
        let which = which.unwrap_or_default();
        let (follow, selection) = (which.follow, which.selection()?);
        let name = one_name(&name)?;
        let named = self.ask(&guest, Request::Status(Some(name.clone()))).await;
        let dir = self.paths.daemon_logs(&name);
        // A daemon that is no longer installed may have left its log.
        if let Err(failure) = named
            && !dir.exists()
        {
            return Err(failure);
        }
        if !follow {
            stream.decline();
            return spawn_blocking(move || read_lines(&dir, name.as_str(), &selection)).await?;
        }
        let (past, follower) =
            spawn_blocking(move || Follower::open(&dir, &name, &selection, stream)).await??;
        let mut followers = self.followers.lock().unwrap_or_else(PoisonError::into_inner);
        while followers.try_join_next().is_some() {}
        followers.spawn(follower.run());
        Ok(past)
    }

    pub(super) async fn events(
        &self,
        guest: Guest,
        stream: Stream,
        since: Option<Since>,
    ) -> Result<Value, Failure> {
        let Since { since, follow } = since.unwrap_or_default();
        let since = since.as_deref().map(parse_time).transpose()?.unwrap_or_default();
        let dir = self.paths.events();
        // What comes while the files are read is the stream's: nothing is told twice, and nothing
        // not at all.
        let last = match follow {
            true => self.ask(&guest, Request::Follow { stream }).await?.as_u64(),
            false => {
                stream.decline();
                None
            }
        };
        spawn_blocking(move || read_events(&dir, since, last.unwrap_or(u64::MAX))).await?
    }
}

impl Which {
    fn selection(self) -> Result<Selection, Failure> {
        Ok(Selection {
            lines: Some(self.lines.unwrap_or(LINES)),
            since_ms: self.since.as_deref().map(parse_time).transpose()?,
            before_ms: self.before.as_deref().map(parse_time).transpose()?,
            stream: self.stream.as_deref().map(parse_output).transpose()?,
            grep: self.grep.as_deref().map(parse_pattern).transpose()?,
        })
    }
}

/// Who sends what a daemon prints from now on to one guest.
struct Follower {
    name: Name,
    lines: Follow,
    stream: Stream,
}

impl Follower {
    /// The lines that are there already, and who sends those to come.
    fn open(
        dir: &Path,
        name: &Name,
        selection: &Selection,
        stream: Stream,
    ) -> Result<(Value, Self), Failure> {
        let mut lines = Follow::open(vec![dir.to_owned()], selection)?;
        let mut past = vec![];
        loop {
            let batch = lines.next_batch(Some(Duration::ZERO))?;
            if batch.is_empty() {
                break;
            }
            past.extend(batch.iter().map(|(_, line)| told(name.as_str(), line)));
        }
        Ok((past.into(), Self { name: name.clone(), lines, stream }))
    }

    /// Sends until the guest has enough.
    async fn run(mut self) {
        if let Err(error) = self.send().await {
            tracing::warn!(?error, daemon = %self.name, "its log cannot be followed");
        }
    }

    async fn send(&mut self) -> Result<(), Failure> {
        // The descriptor is the follower's own, which outlives this.
        let changes = self.lines.as_fd().try_clone_to_owned()?;
        #[expect(
            deprecated,
            reason = "an `OwnedFd` has the safety that the new, unsafe one asks for"
        )]
        let changes = AsyncFd::with_interest(changes, Interest::READABLE)?;
        loop {
            // Both are cancel safe.
            let mut ready = tokio::select! {
                ready = changes.readable() => ready?,
                () = self.stream.ended() => return Ok(()),
            };
            ready.clear_ready();
            loop {
                let batch = self.lines.next_batch(Some(Duration::ZERO))?;
                if batch.is_empty() {
                    break;
                }
                for (_, line) in batch {
                    if self.stream.emit("line", &told(self.name.as_str(), &line)).is_err() {
                        return Ok(());
                    }
                }
            }
        }
    }
}

/// A line, as it goes over the wire.
fn told(name: &str, line: &Line) -> Value {
    json!({
        "name": name,
        "time": time::rfc3339(line.time_ms),
        "stream": line.stream.name(),
        "text": String::from_utf8_lossy(&line.text),
    })
}

fn read_lines(dir: &Path, name: &str, selection: &Selection) -> Result<Value, Failure> {
    let mut lines = vec![];
    if dir.exists() {
        let mut reader = Reader::open(dir, selection)?;
        while let Some(line) = reader.next_line()? {
            lines.push(told(name, &line));
        }
    }
    Ok(lines.into())
}

fn read_events(dir: &Path, since_ms: u64, last: u64) -> Result<Value, Failure> {
    let mut events = std::collections::VecDeque::new();
    let mut reader = Events::open(dir, since_ms);
    while let Some(event) = reader.next_event()?.filter(|it| it.seq <= last) {
        if events.len() == EVENTS {
            events.pop_front();
        }
        events.push_back(event);
    }
    Ok(serde_json::to_value(events)?)
}

fn parse_time(text: &str) -> Result<u64, Failure> {
    time::since(text, &jiff::Zoned::now())
        .map_err(|error| Failure::bad_argument(1, "time", error.to_string()))
}

fn parse_output(text: &str) -> Result<Output, Failure> {
    match text {
        "out" => Ok(Output::Out),
        "err" => Ok(Output::Err),
        _ => Err(Failure::bad_argument(
            1,
            "out or err",
            format!("`{text}` is neither `out` nor `err`"),
        )),
    }
}

fn parse_pattern(text: &str) -> Result<Regex, Failure> {
    Regex::new(text)
        .map_err(|error| Failure::bad_argument(1, "regular expression", error.to_string()))
}
