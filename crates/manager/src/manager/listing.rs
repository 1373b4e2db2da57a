use std::{borrow::Cow, collections::HashSet, ffi::OsString, fs, path::Path};

use common_tcp::Failure;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{Manager, ended::End, entry::Entry};
use crate::{
    logs::{Reader, Selection},
    name::Name,
    registry::Registry,
    scan::Foreign,
    time,
};

/// A daemon as it stands in listings. What is not known is absent.
///
/// Written straight to text for a whole listing: as values a thousand took the manager 5 ms.
#[derive(Serialize)]
pub(super) struct Listed<'a> {
    name: &'a str,
    state: &'static str,
    /// Opens nothing, so nobody is shown it.
    secret: (),
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    updated: Option<u64>,
    restarts: u32,
    enabled: bool,
    host: &'static str,
    foreign: bool,
    definition_changed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unix: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    sockets: Vec<ListedSocket<'a>>,
}

/// A listening socket that outlives the processes of its daemon.
#[derive(Serialize)]
struct ListedSocket<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<&'a str>,
    address: String,
    /// Whether whoever connects is waited for just now, process or not.
    held: bool,
}

impl Listed<'_> {
    pub(super) fn name(&self) -> &str {
        self.name
    }

    /// For those who add to it, or send it on.
    pub(super) fn to_value(&self) -> Value {
        serde_json::to_value(self).expect("texts and numbers are JSON")
    }
}

impl Manager {
    /// A daemon as it stands in listings.
    pub(super) fn listed(&self, name: &Name, entry: &Entry) -> Value {
        self.listed_with(name, entry, Path::exists).to_value()
    }

    /// Those of our daemons that `wants`, as they stand in listings.
    pub(super) fn all_listed(
        &self,
        wants: impl Fn(&Name, &Entry) -> bool,
    ) -> impl Iterator<Item = Listed<'_>> {
        let sockets = self.sockets();
        let wanted = self.entries.iter().filter(move |(name, entry)| wants(name, entry));
        wanted.map(move |(name, entry)| {
            self.listed_with(name, entry, |socket| {
                socket.file_name().is_some_and(|it| sockets.contains(it))
            })
        })
    }

    /// What lies where daemons have their sockets: one look for all of them.
    fn sockets(&self) -> HashSet<OsString> {
        let runtime = self.paths.socket();
        let files = runtime.parent().and_then(|it| fs::read_dir(it).ok());
        files.into_iter().flatten().flatten().map(|it| it.file_name()).collect()
    }

    fn listed_with<'a>(
        &self,
        name: &'a Name,
        entry: &'a Entry,
        is_there: impl Fn(&Path) -> bool,
    ) -> Listed<'a> {
        let child = &entry.child;
        let state = child.state();
        let socket = || self.socket_of(name).filter(|path| is_there(path));
        Listed {
            name: name.as_str(),
            state: state.word(),
            secret: (),
            since: Some(time::rfc3339(entry.since_ms)),
            updated: Some(entry.since_ms),
            restarts: child.restarts().automatic + child.restarts().asked,
            enabled: child.defined().enabled,
            host: "127.0.0.1",
            foreign: false,
            definition_changed: child.is_changed(),
            pid: state.pid(),
            port: state.port(),
            note: child.note().map(Into::into),
            created: entry.identity.as_ref().map(|it| it.spawned_at_ms),
            unix: state.pid().and_then(|_| socket()).map(|it| it.to_string_lossy().into_owned()),
            sockets: self.listed_sockets(name, entry),
        }
    }

    /// Those of the process that runs; of a daemon at rest, those that it would have.
    fn listed_sockets<'a>(&self, name: &Name, entry: &'a Entry) -> Vec<ListedSocket<'a>> {
        let child = &entry.child;
        let is_at_rest = child.state().is_at_rest();
        let definition = if is_at_rest { child.defined() } else { child.definition() };
        let held = self.held_sockets(name, &definition.sockets);
        let all = definition.sockets.iter().zip(held);
        all.map(|(socket, held)| ListedSocket {
            label: socket.label.as_deref(),
            address: socket.address.to_string(),
            held,
        })
        .collect()
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
            "output": last_output(&self.paths.daemon_logs(name), 10, None),
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
                "ending": self.ending.is_some(),
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
pub(super) fn foreign(found: &Foreign, note: Option<String>) -> Listed<'_> {
    Listed {
        name: &found.credential.name,
        state: "foreign",
        secret: (),
        since: None,
        updated: None,
        restarts: 0,
        enabled: false,
        host: "127.0.0.1",
        foreign: true,
        definition_changed: false,
        pid: Some(found.process.pid),
        port: Some(found.socket.address.port()),
        note: note.map(Into::into),
        created: None,
        unix: None,
        sockets: vec![],
    }
}

/// So much of each of its last lines is told: enough for any message, and ten of them for one
/// packet.
const TOLD_BYTES: usize = 4096;

/// The last lines that a daemon printed, none from before `since_ms`.
pub(super) fn last_output(dir: &Path, lines: usize, since_ms: Option<u64>) -> Vec<Value> {
    let selection = Selection { lines: Some(lines), since_ms, ..Selection::default() };
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
