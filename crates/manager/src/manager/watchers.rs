use daemon::Stream;
use serde_json::{Value, value::to_raw_value};

use crate::{events, name::Pattern};

/// Who is told of everything that becomes of daemons. A watcher that takes too little is dropped by
/// its stream; nobody waits for it.
#[derive(Debug, Default)]
pub(super) struct Watchers {
    of_daemons: Vec<(Pattern, Stream)>,
    of_history: Vec<Stream>,
}

impl Watchers {
    pub(super) fn add(&mut self, pattern: Pattern, stream: Stream) {
        // Not each time: anybody may watch, thousands of times.
        if self.of_daemons.len().is_power_of_two() {
            self.of_daemons.retain(|(_, stream)| !stream.has_ended());
        }
        self.of_daemons.push((pattern, stream));
    }

    pub(super) fn follow(&mut self, stream: Stream) {
        if self.of_history.len().is_power_of_two() {
            self.of_history.retain(|stream| !stream.has_ended());
        }
        self.of_history.push(stream);
    }

    /// Tells those who watch `name`.
    pub(super) fn tell(&mut self, name: &str, topic: &str, payload: &Value) {
        if self.of_daemons.is_empty() {
            return;
        }
        let Ok(payload) = to_raw_value(payload) else { return };
        self.of_daemons.retain(|(pattern, stream)| {
            !pattern.matches(name) || stream.emit_raw(topic, &payload).is_ok()
        });
    }

    /// Tells those who follow the history.
    pub(super) fn told(&mut self, event: &events::Event) {
        self.of_history.retain(|stream| stream.emit("event", event).is_ok());
    }
}
