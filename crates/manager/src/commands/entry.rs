//! A daemon as the manager lists it.

use std::{fmt, time::Duration};

use manager::{
    definition::about,
    time::{now_ms, parse_rfc3339},
};
use serde::Deserialize;

/// What people are shown of a daemon. Absent is not known.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) state: String,
    pub(super) pid: Option<u32>,
    pub(super) port: Option<u16>,
    pub(super) since: Option<String>,
    pub(super) restarts: Option<u64>,
    pub(super) enabled: Option<bool>,
    pub(super) foreign: Option<bool>,
    pub(super) definition_changed: Option<bool>,
    pub(super) cpu: Option<f64>,
    pub(super) memory: Option<u64>,
    /// Where its owner reaches it without a token.
    pub(super) unix: Option<String>,
    pub(super) sockets: Vec<HeldSocket>,
    note: Option<String>,
}

/// A listening socket that outlives the processes of its daemon.
#[derive(Debug, Deserialize)]
pub(super) struct HeldSocket {
    label: Option<String>,
    pub(super) address: String,
    pub(super) held: bool,
}

impl HeldSocket {
    /// What it is for.
    pub(super) fn label(&self) -> &str {
        self.label.as_deref().unwrap_or("Common TCP")
    }
}

impl Entry {
    /// Whether it is ready to be used.
    pub(super) fn is_up(&self) -> bool {
        self.state == "up" || self.is_foreign()
    }

    /// Whether somebody else started it.
    pub(super) fn is_foreign(&self) -> bool {
        self.foreign == Some(true)
    }

    /// Why it does not run though it is to, if that is so and known.
    pub(super) fn trouble(&self) -> Option<&str> {
        let is_to_run = matches!(&*self.state, "waiting" | "failed");
        self.note.as_deref().filter(|it| is_to_run && !it.is_empty())
    }

    /// How long it has been in its state.
    pub(super) fn age(&self) -> Option<String> {
        let since = parse_rfc3339(self.since.as_deref()?)?;
        Some(about(Duration::from_millis(now_ms().saturating_sub(since))))
    }

    /// Everything to know beside the columns.
    pub(super) fn remarks(&self) -> String {
        let changed = (self.definition_changed == Some(true)).then_some("changed since its start");
        let is_disabled = self.enabled == Some(false) && !self.is_foreign();
        let disabled = is_disabled.then_some("disabled");
        let note = self.note.as_deref().filter(|it| !it.is_empty());
        [disabled, changed, note].into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

/// One line: `Sample  up  pid 4242  port 40123`.
impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}  {}", self.name, self.state)?;
        self.pid.iter().try_for_each(|it| write!(f, "  pid {it}"))?;
        self.port.iter().try_for_each(|it| write!(f, "  port {it}"))?;
        let remarks = self.remarks();
        if remarks.is_empty() { Ok(()) } else { write!(f, "  ({remarks})") }
    }
}
