use std::path::Path;

use common_tcp::Failure;
use serde_json::{Map, Value, json};

use super::{Manager, ended::End, entry::Entry};
use crate::{
    logs::{Reader, Selection},
    name::Name,
    registry::Registry,
    scan::Foreign,
    time,
};

impl Manager {
    /// A daemon as it stands in listings. What is not known is absent.
    pub(super) fn listed(&self, name: &Name, entry: &Entry) -> Value {
        let child = &entry.child;
        let state = child.state();
        let mut members = Map::new();
        let mut put = |key: &str, value: Value| drop(members.insert(key.to_owned(), value));
        put("name", name.as_str().into());
        put("state", state.word().into());
        put("secret", Value::Null);
        put("since", time::rfc3339(entry.since_ms).into());
        put("updated", entry.since_ms.into());
        put("restarts", (child.restarts().automatic + child.restarts().asked).into());
        put("enabled", child.defined().enabled.into());
        put("host", "127.0.0.1".into());
        put("foreign", false.into());
        put("definition_changed", child.is_changed().into());
        if let Some(pid) = state.pid() {
            put("pid", pid.into());
        }
        if let Some(port) = state.port() {
            put("port", port.into());
        }
        if let Some(note) = child.note() {
            put("note", note.into());
        }
        if let Some(identity) = &entry.identity {
            put("created", identity.spawned_at_ms.into());
        }
        if let Some(socket) =
            self.socket_of(name).filter(|path| state.pid().is_some() && path.exists())
        {
            put("unix", socket.to_string_lossy().into());
        }
        Value::Object(members)
    }

    /// A daemon in full.
    pub(super) fn status(&self, name: &Name, entry: &Entry) -> Value {
        let past = entry.past.iter().map(|it| {
            json!({
                "time": time::rfc3339(it.at_ms), "from": it.from, "to": it.to, "note": it.note,
            })
        });
        let restarts = entry.child.restarts();
        json!({
            "v": 1,
            "daemon": self.listed(name, entry),
            "definition": entry.child.defined().to_json(),
            "environment": entry.child.defined().env,
            "identity": entry.identity.as_ref().map(|it| json!({
                "pid": it.pid, "start_ticks": it.start_ticks, "boot_id": it.boot_id, "inode": it.inode,
            })),
            "restarts": { "automatic": restarts.automatic, "asked": restarts.asked },
            "failures": entry.child.failures(),
            "last_exit": entry.child.last_exit().map(|exit| exit.to_string()),
            "last_exit_at": entry.end.as_ref().map(End::time),
            "history": past.collect::<Vec<_>>(),
            "output": last_output(&self.paths.daemon_logs(name), 10),
        })
    }

    /// The manager itself.
    pub(super) fn own_status(&self) -> Value {
        let mut states = Map::new();
        for entry in self.entries.values() {
            let count = states.entry(entry.child.state().word()).or_insert(json!(0));
            *count = json!(count.as_u64().unwrap_or_default() + 1);
        }
        let recovery = recovered(&self.registry).unwrap_or_else(|| "ok".to_owned());
        let mut keeper = json!({ "pid": self.keeper.pid() });
        if let Some(trouble) = self.keeper.trouble() {
            keeper["trouble"] = trouble.into();
        }
        json!({
            "v": 1,
            "manager": {
                "pid": std::process::id(),
                "port": self.port,
                "unix": self.paths.socket(),
                "version": env!("CARGO_PKG_VERSION"),
                "uptime_ms": u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
                "keeper": keeper,
                "daemons": states,
                "registry": recovery,
                "state": self.paths.logs().parent(),
            },
        })
    }
}

/// What was wrong with the registry, if it was not read as it should be.
pub(super) fn recovered(registry: &Registry) -> Option<String> {
    let recovery = registry.recovery()?;
    Some(match &recovery.problem {
        Some(problem) => format!("the version before is in force: {problem}"),
        None => "the version before is in force: the file was gone".to_owned(),
    })
}

/// A daemon that is not ours, as it stands in listings.
pub(super) fn foreign(found: &Foreign, note: Option<String>) -> Value {
    let mut listed = json!({
        "name": found.credential.name,
        "state": "foreign",
        "pid": found.process.pid,
        "port": found.socket.address.port(),
        "secret": null,
        "host": "127.0.0.1",
        "foreign": true,
        "restarts": 0,
        "enabled": false,
        "definition_changed": false,
    });
    if let Some(note) = note {
        listed["note"] = note.into();
    }
    listed
}

/// So much of each of its last lines is told: enough for any message, and ten of them for one packet.
const TOLD_BYTES: usize = 4096;

/// The last lines that a daemon printed.
pub(super) fn last_output(dir: &Path, lines: usize) -> Vec<Value> {
    let selection = Selection { lines: Some(lines), ..Selection::default() };
    let Ok(mut reader) = Reader::open(dir, &selection) else { return vec![] };
    let mut output = vec![];
    while let Ok(Some(line)) = reader.next_line() {
        output.push(json!({
            "time": time::rfc3339(line.time_ms),
            "stream": line.stream.name(),
            "text": beginning(&line.text),
        }));
    }
    output
}

/// A line, or as much of it as is told, which an ellipsis then says.
fn beginning(text: &[u8]) -> String {
    match text.split_at_checked(TOLD_BYTES) {
        Some((told, rest)) if !rest.is_empty() => format!("{}…", String::from_utf8_lossy(told)),
        _ => String::from_utf8_lossy(text).into_owned(),
    }
}

/// A failure about a daemon.
pub(super) fn about(code: &'static str, name: &Name, message: String) -> Failure {
    Failure::new(code, message).with("name", name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_line_only_the_beginning_is_told() {
        assert_eq!(beginning(&[b'x'; TOLD_BYTES]), "x".repeat(TOLD_BYTES));
        assert_eq!(beginning(&[b'x'; TOLD_BYTES + 1]), "x".repeat(TOLD_BYTES) + "…");
    }
}
