//! The manager as a daemon: its commands, each a method that puts a request into the owner's
//! mailbox and waits for the answer.

mod history;
mod verbs;

use std::{sync::Mutex, time::Duration};

use common_tcp::{Address, Client};
use daemon::{Daemon, Failure, Guest, Limits, Settings, Stream};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::timeout,
};

use crate::{
    doctor,
    manager::{Answer, Asked, Event, Request},
    name::{Name, Pattern},
    paths::Paths,
    usage,
};

/// The manager, as its guests see it.
#[derive(Debug)]
pub struct Dae {
    mailbox: mpsc::Sender<Event>,
    /// For guests that ask for more than their turn.
    patient: mpsc::Sender<Asked>,
    paths: Paths,
    /// Those who send logs to guests; each ends with its stream.
    followers: Mutex<JoinSet<()>>,
}

/// Which daemons are listed.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Listing {
    all: bool,
    own: bool,
    wide: bool,
    name: Option<String>,
}

/// What the killed are given to be gone after a `down` has taken the time it may. The CLI waits for
/// twice as long.
const KILLING_MS: u64 = 1_000;

/// How the manager ends.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Down {
    keep: bool,
    timeout: Option<u64>,
}

/// The longest that `find` waits: anybody may ask.
const FIND_MS: u64 = 60 * 60 * 1000;

/// How long the manager waits for a daemon that it calls for somebody.
const CALL: Duration = Duration::from_secs(10);

/// Connections of the manager: each daemon may keep one. Where fewer files may be open, there are
/// fewer.
pub const CONNECTIONS: usize = 4096;

/// What all its guests together may have it keep: a list of a thousand daemons has some 200 kB.
const WAITING_BYTES: usize = 16 << 20;

/// The manager's commands over `dae`.
#[rustfmt::skip] // A table: one row a command.
#[must_use]
pub fn daemon(dae: Dae, settings: Settings) -> Daemon<Dae> {
    Daemon::with_state("Dae", dae)
        .settings(settings)
        .version(env!("CARGO_PKG_VERSION"))
        .command("list", Dae::list).args(["options"]).reply("daemons").help("Running daemons; with {\"all\":true} stopped ones too")
        .command("find", Dae::find).args(["name", "wait"]).only_waits().help("Where a daemon is; waits up to so many ms until it is ready")
        .command("watch", Dae::watch).args(["name"]).help("Daemons now, then `up`, `gone` and `state` as events")
        .command("ready", Dae::ready).args(["secret", "port", "pid"]).help("From a child: I listen")
        .command("status", Dae::status).args(["name"]).auth().help("A daemon in full, or the manager")
        .command("install", Dae::install).args(["name", "definition"]).auth().help("A new daemon: {\"program\":\"/absolute/path\",…}")
        .command("uninstall", Dae::uninstall).args(["names", "options"]).auth().help("Stops and forgets")
        .command("start", Dae::start).args(["names", "options"]).auth().help("Starts; answers when ready")
        .command("stop", Dae::stop).args(["names", "options"]).auth().help("Stops; answers when nothing is left")
        .command("restart", Dae::restart).args(["names", "options"]).auth().help("Stops, then starts anew")
        .command("enable", Dae::enable).args(["names", "options"]).auth().help("Starts with the manager from now on")
        .command("disable", Dae::disable).args(["names", "options"]).auth().help("Does not start with the manager any more")
        .command("edit", Dae::edit).args(["name", "change"]).auth().help("Changes a definition, from the next start on")
        .command("wait", Dae::wait).args(["names", "options"]).auth().only_waits().help("Waits until ready, or {\"for\":\"gone\"}, or \"failed\"")
        .command("logs", Dae::logs).args(["name", "options"]).auth().help("Lines that a daemon printed: {\"lines\",\"since\",\"stream\",\"grep\",\"follow\"}")
        .command("events", Dae::events).args(["options"]).auth().help("The history; with {\"follow\":true} what comes, as events")
        .command("call", Dae::call).args(["name", "command", "args"]).auth().help("Calls a daemon for you: its reply and arguments")
        .command("scan", Dae::scan).auth().help("Looks for foreign daemons now")
        .command("doctor", Dae::doctor).auth().help("Checks that all is as it should be")
        .command("down", Dae::down).args(["options"]).auth().help("Stops everything and ends the manager")
}

/// What the manager bounds differently from other daemons.
#[must_use]
pub fn limits() -> Limits {
    Limits { connections: CONNECTIONS, waiting_bytes: WAITING_BYTES, ..Limits::default() }
}

impl Dae {
    /// The commands over the owner with these mailboxes: what it takes in at once, and what it
    /// takes in when there is nothing else.
    #[must_use]
    pub fn new(mailbox: mpsc::Sender<Event>, patient: mpsc::Sender<Asked>, paths: Paths) -> Self {
        Self { mailbox, patient, paths, followers: Mutex::default() }
    }

    async fn list(&self, guest: Guest, options: Option<Listing>) -> Result<Box<RawValue>, Failure> {
        let Listing { all, own, wide, name } = options.unwrap_or_default();
        let name = name.as_deref().map(pattern).transpose()?;
        let (entries, listed) = oneshot::channel();
        self.ask(&guest, Request::List { all, own, name, entries }).await?;
        let listed = listed.await.map_err(|_| ended())?;
        if wide { Ok(usage::added(listed).await) } else { Ok(listed) }
    }

    async fn find(&self, guest: Guest, name: String, wait: Option<u64>) -> Result<Value, Failure> {
        if name.eq_ignore_ascii_case("dae") {
            return Err(Failure::not_found("`Dae` is the manager: you are talking to it"));
        }
        let request = Request::Find { name, wait: wait.is_some() };
        self.ask_within(&guest, request, wait.map(|ms| ms.min(FIND_MS))).await
    }

    async fn watch(
        &self,
        guest: Guest,
        stream: Stream,
        name: Option<String>,
    ) -> Result<Value, Failure> {
        let pattern = pattern(name.as_deref().unwrap_or("all"))?;
        self.ask(&guest, Request::Watch { pattern, stream }).await
    }

    async fn ready(
        &self,
        guest: Guest,
        secret: String,
        port: u16,
        _pid: Option<u32>,
    ) -> Result<(), Failure> {
        self.ask(&guest, Request::Ready { secret, port }).await.map(|_| ())
    }

    async fn status(&self, guest: Guest, name: Option<String>) -> Result<Value, Failure> {
        let name = name.as_deref().map(one_name).transpose()?;
        self.ask(&guest, Request::Status(name)).await
    }

    async fn scan(&self, guest: Guest) -> Result<Value, Failure> {
        self.ask(&guest, Request::Scan).await
    }

    async fn down(&self, guest: Guest, options: Option<Down>) -> Result<Value, Failure> {
        let Down { keep, timeout } = options.unwrap_or_default();
        let limit = timeout.map(Duration::from_millis);
        let patience = timeout.map(|ms| ms.saturating_add(KILLING_MS));
        self.ask_within(&guest, Request::Down { keep, limit }, patience).await
    }

    /// Exchanges one packet with a daemon for a guest that can't connect itself.
    async fn call(
        &self,
        guest: Guest,
        name: String,
        command: String,
        args: Option<Vec<Value>>,
    ) -> Result<Value, Failure> {
        if !common_tcp::is_name(command.as_bytes()) {
            let message = format!("`{command}` can't be the name of a command");
            return Err(Failure::bad_argument(1, "name", message));
        }
        let found = self.ask(&guest, Request::Find { name: name.clone(), wait: false }).await?;
        let port = found["port"].as_u64().and_then(|port| u16::try_from(port).ok());
        let port = port.ok_or_else(|| Failure::not_found(format!("`{name}` has no port")))?;
        let unavailable =
            |error: &dyn std::error::Error| Failure::new("unavailable", daemon::causes(error));
        let daemon = Client::connect(&Address::local(port)).await.map_err(|it| unavailable(&it))?;
        let args = args.unwrap_or_default();
        match daemon.with_deadline(CALL).exchange(&command, &args).await {
            Ok(reply) => {
                let args: Value = serde_json::from_str(&reply.args)?;
                Ok(json!({ "reply": reply.name, "args": args }))
            }
            Err(common_tcp::CallError::Failed(failure)) => {
                Ok(json!({ "reply": "err", "args": [serde_json::to_value(failure.to_wire())?] }))
            }
            Err(error) => Err(unavailable(&error)),
        }
    }

    async fn doctor(&self) -> Result<Value, Failure> {
        let paths = self.paths.clone();
        let checks = doctor::run(&paths).await;
        Ok(json!({ "v": 1, "checks": checks }))
    }

    async fn ask(&self, guest: &Guest, request: Request) -> Result<Value, Failure> {
        self.put(guest, request).await?.await.unwrap_or_else(|_| Err(ended()))
    }

    async fn ask_within(
        &self,
        guest: &Guest,
        request: Request,
        patience: Option<u64>,
    ) -> Result<Value, Failure> {
        within(patience, self.ask(guest, request)).await?
    }

    async fn put(
        &self,
        guest: &Guest,
        request: Request,
    ) -> Result<oneshot::Receiver<Result<Value, Failure>>, Failure> {
        let (answer, waiting) = Answer::new();
        let by = match guest.uid() {
            Some(uid) => format!("uid {uid}"),
            None => format!("tcp {}", guest.id()),
        };
        let asked = Asked { request, by, answer };
        let is_taken = match guest.is_patient() {
            true => self.patient.send(asked).await.is_ok(),
            false => self.mailbox.send(Event::Asked(asked)).await.is_ok(),
        };
        if is_taken { Ok(waiting) } else { Err(ended()) }
    }
}

async fn within<T>(patience_ms: Option<u64>, what: impl Future<Output = T>) -> Result<T, Failure> {
    let Some(ms) = patience_ms else { return Ok(what.await) };
    timeout(Duration::from_millis(ms), what).await.map_err(|_| late(ms))
}

fn late(ms: u64) -> Failure {
    Failure::new("timeout", format!("not done within {ms} ms; it goes on all the same"))
        .with("limit", ms)
}

fn ended() -> Failure {
    Failure::new("shutting-down", "the manager is ending")
}

fn pattern(text: &str) -> Result<Pattern, Failure> {
    Pattern::new(text)
        .map_err(|error| Failure::bad_argument(0, "name or pattern", error.to_string()))
}

/// A name that is looked up; one that can't be installed can't be there.
fn one_name(text: &str) -> Result<Name, Failure> {
    Name::new(text).map_err(|error| Failure::not_found(error.to_string()).with("name", text))
}
