use std::time::Duration;

use serde_json::{Map, Value, json};

use super::Manager;
use crate::{
    child::{Event, State},
    keeper::protocol::{Listed, State as Kept, Status},
    name::Name,
    policy::Exit,
    time,
};

/// How a leader ended, as the keeper saw it: perhaps long before anybody was there to hear it.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    /// The leader; 0 once another one has taken its place.
    pid: u32,
    exit: Exit,
    /// In Unix ms.
    at_ms: u64,
    is_told: bool,
}

impl End {
    pub(super) fn new(pid: u32, status: Status, at_ms: u64) -> Self {
        let exit = match status {
            Status::Code(code) => Exit::Code(code),
            Status::Signal(signal) => Exit::Signal(signal),
            Status::Unknown => Exit::Unknown,
        };
        Self { pid, exit, at_ms, is_told: false }
    }

    /// Whether it is that of the leader with this pid.
    pub(super) fn is_of(&self, pid: u32) -> bool {
        self.pid == pid
    }

    /// Another leader begins, which may be given the same pid.
    pub(super) fn retire(&mut self) {
        self.pid = 0;
    }

    /// When it was, for people.
    pub(super) fn time(&self) -> String {
        time::rfc3339(self.at_ms)
    }

    /// What the history says of it, with the first transition out of a state with that process.
    pub(super) fn tell(&mut self, from: State) -> Option<Map<String, Value>> {
        if from.pid() != Some(self.pid) || std::mem::replace(&mut self.is_told, true) {
            return None;
        }
        let exit = match self.exit {
            Exit::Code(code) => json!({ "code": code }),
            Exit::Signal(signal) => json!({ "signal": signal }),
            Exit::Unknown => Value::Null,
        };
        let members = [("exit", exit), ("exited", self.time().into())];
        Some(members.map(|(key, value)| (key.to_owned(), value)).into_iter().collect())
    }
}

impl Manager {
    /// A leader has ended.
    pub(super) fn ended(&mut self, name: &Name, end: End, is_empty: bool) {
        let Some(entry) = self.entries.get_mut(name) else { return };
        entry.end = Some(end);
        self.step(name, Event::Exited { pid: end.pid, exit: end.exit, is_empty });
    }

    /// A child of an earlier manager may have ended since. It counts as one that was stable if it
    /// lived for long enough: whether it had failed before that, nobody knows any more.
    pub(super) fn was_stable(&mut self, name: &Name, listed: &Listed) {
        let lived = lived(listed).unwrap_or_default();
        if let Some(State::Up { stable: Some(timer), .. }) = self.state(name)
            && self.definition(name).is_some_and(|it| lived >= it.stable)
        {
            self.step(name, Event::Elapsed(timer));
        }
    }
}

/// How long a child lived that has ended.
pub(super) fn lived(listed: &Listed) -> Option<Duration> {
    let Kept::Exited { at_ms, .. } = listed.state else { return None };
    Some(Duration::from_millis(at_ms.saturating_sub(listed.identity.spawned_at_ms)))
}
