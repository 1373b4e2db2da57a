//! The manager as a daemon: its commands, each a method that puts a request into the owner's
//! mailbox and waits for the answer.

mod history;

use std::{collections::BTreeSet, path::Path, sync::Mutex, time::Duration};

use common_tcp::{Address, Client};
use daemon::{Daemon, Failure, Guest, Limits, Settings, Stream};
use serde::Deserialize;
use serde_json::{Map, Value, json, value::RawValue};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::{Instant, timeout, timeout_at},
};

use crate::{
    causes::chain,
    definition::{Change, Definition, resolve_program, warning_if_writable_by_others},
    doctor,
    manager::{Answer, Asked, Event, Request, Target, Verb},
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

/// What may be said besides the names.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    /// How long to wait at most, in ms.
    timeout: Option<u64>,
    /// Uninstall: the logs too.
    #[serde(default)]
    purge: bool,
    /// Enable and disable: start or stop as well.
    #[serde(default)]
    now: bool,
    /// Wait: until when.
    r#for: Option<For>,
}

/// What `wait` waits for.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum For {
    #[default]
    Ready,
    Gone,
    Failed,
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

/// One name, or several patterns.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Names {
    One(String),
    Many(Vec<String>),
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

    async fn install(
        &self,
        guest: Guest,
        name: String,
        mut definition: Map<String, Value>,
    ) -> Result<Value, Failure> {
        let name = Name::new(&name)
            .map_err(|error| Failure::bad_argument(0, "name", error.to_string()))?;
        let mut flag = |key: &str| take_bool(&mut definition, key);
        let (stays, replace) = (flag("no_start")?, flag("replace")?);
        let patience = take_ms(&mut definition, "timeout")?;
        let definition = Definition::from_json(&definition)
            .map_err(|error| Failure::bad_argument(1, "definition", chain(&error)))?;
        check_program(&definition.program)?;
        let warnings = Vec::from_iter(warning_if_writable_by_others(&definition.program));
        let definition = Box::new(definition);
        let request = Request::Install { name, definition, start: !stays, replace };
        let daemon = self.ask_within(&guest, request, patience).await?;
        Ok(json!({ "v": 1, "daemon": daemon, "warnings": warnings }))
    }

    async fn uninstall(
        &self,
        guest: Guest,
        names: Names,
        options: Option<Options>,
    ) -> Result<Value, Failure> {
        let options = options.unwrap_or_default();
        let verb = Verb::Uninstall { purge: options.purge };
        self.perform(&guest, names, verb, options.timeout).await
    }

    async fn start(
        &self,
        guest: Guest,
        names: Names,
        options: Option<Options>,
    ) -> Result<Value, Failure> {
        self.perform(&guest, names, Verb::Start, options.unwrap_or_default().timeout).await
    }

    async fn stop(
        &self,
        guest: Guest,
        names: Names,
        options: Option<Options>,
    ) -> Result<Value, Failure> {
        self.perform(&guest, names, Verb::Stop, options.unwrap_or_default().timeout).await
    }

    async fn restart(
        &self,
        guest: Guest,
        names: Names,
        options: Option<Options>,
    ) -> Result<Value, Failure> {
        self.perform(&guest, names, Verb::Restart, options.unwrap_or_default().timeout).await
    }

    async fn enable(
        &self,
        guest: Guest,
        names: Names,
        options: Option<Options>,
    ) -> Result<Value, Failure> {
        self.set_enabled(&guest, names, options.unwrap_or_default(), true).await
    }

    async fn disable(
        &self,
        guest: Guest,
        names: Names,
        options: Option<Options>,
    ) -> Result<Value, Failure> {
        self.set_enabled(&guest, names, options.unwrap_or_default(), false).await
    }

    async fn wait(
        &self,
        guest: Guest,
        names: Names,
        options: Option<Options>,
    ) -> Result<Value, Failure> {
        let options = options.unwrap_or_default();
        let target = match options.r#for.unwrap_or_default() {
            For::Ready => Target::Ready,
            For::Gone => Target::Gone,
            For::Failed => Target::Failed,
        };
        self.perform(&guest, names, Verb::Wait(target), options.timeout).await
    }

    async fn edit(
        &self,
        guest: Guest,
        name: String,
        change: Map<String, Value>,
    ) -> Result<Value, Failure> {
        let name = one_name(&name)?;
        let change = Change::from_json(change)
            .map_err(|error| Failure::bad_argument(1, "change", chain(&error)))?;
        if let Some(program) = change.as_json().get("program").and_then(Value::as_str) {
            check_program(Path::new(program))?;
        }
        self.ask(&guest, Request::Edit { name, change }).await
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
        let unavailable = |error: &dyn std::error::Error| Failure::new("unavailable", chain(error));
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

    async fn set_enabled(
        &self,
        guest: &Guest,
        names: Names,
        options: Options,
        enabled: bool,
    ) -> Result<Value, Failure> {
        let verb = Verb::Enable { enabled, now: options.now };
        self.perform(guest, names, verb, options.timeout).await
    }

    /// Does the same with several daemons at once, and tells how each came out.
    async fn perform(
        &self,
        guest: &Guest,
        names: Names,
        verb: Verb,
        patience: Option<u64>,
    ) -> Result<Value, Failure> {
        let (names, mut errors) = self.resolve(guest, names).await?;
        let mut answers = Vec::with_capacity(names.len());
        let until = patience.map(|ms| (Instant::now() + Duration::from_millis(ms), ms));
        for name in names {
            let answer = self.put(guest, Request::Verb(name.clone(), verb)).await?;
            answers.push((name, answer));
        }
        let mut daemons = vec![];
        for (name, answer) in answers {
            let answer = async { answer.await.unwrap_or_else(|_| Err(ended())) };
            let answer = match until {
                None => answer.await,
                Some((until, ms)) => timeout_at(until, answer)
                    .await
                    .unwrap_or_else(|_| Err(late(ms).with("name", name.as_str()))),
            };
            match answer {
                Ok(daemon) => daemons.push(daemon),
                Err(failure) => errors.push(failure),
            }
        }
        match <[_; 1]>::try_from(errors) {
            Ok([failure]) if daemons.is_empty() => Err(failure),
            Ok(errors) => report(&daemons, &errors),
            Err(errors) => report(&daemons, &errors),
        }
    }

    /// The names that the patterns mean, each once and no one before whom it waits for, and which
    /// patterns mean nobody.
    async fn resolve(
        &self,
        guest: &Guest,
        names: Names,
    ) -> Result<(Vec<Name>, Vec<Failure>), Failure> {
        let patterns = match names {
            Names::One(name) => vec![name],
            Names::Many(names) => names,
        };
        let (mut all, mut unknown) = (BTreeSet::new(), vec![]);
        for text in patterns {
            match self.ask(guest, Request::Match(pattern(&text)?)).await {
                Ok(matching) => {
                    let matching: Vec<String> = serde_json::from_value(matching)?;
                    all.extend(matching.iter().filter_map(|name| Name::new(name).ok()));
                }
                Err(failure) => unknown.push(failure),
            }
        }
        let ordered = self.ask(guest, Request::InOrder(all)).await?;
        let ordered: Vec<String> = serde_json::from_value(ordered)?;
        Ok((ordered.iter().filter_map(|name| Name::new(name).ok()).collect(), unknown))
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

/// Several daemons, as one result.
fn report(daemons: &[Value], errors: &[Failure]) -> Result<Value, Failure> {
    let errors: Result<Vec<Value>, _> =
        errors.iter().map(|failure| serde_json::to_value(failure.to_wire())).collect();
    Ok(json!({ "v": 1, "daemons": daemons, "errors": errors? }))
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

fn take_bool(members: &mut Map<String, Value>, key: &str) -> Result<bool, Failure> {
    match members.remove(key) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(is)) => Ok(is),
        Some(other) => {
            let message = format!("`{key}` is true or false, not {other}");
            Err(Failure::bad_argument(1, "boolean", message))
        }
    }
}

fn take_ms(members: &mut Map<String, Value>, key: &str) -> Result<Option<u64>, Failure> {
    match members.remove(key) {
        None | Some(Value::Null) => Ok(None),
        Some(other) => other.as_u64().map(Some).ok_or_else(|| {
            let message = format!("`{key}` is a number of milliseconds, not {other}");
            Failure::bad_argument(1, "milliseconds", message)
        }),
    }
}

/// Over Common TCP nothing is relative: there is no directory that it could be relative to.
fn check_program(given: &Path) -> Result<(), Failure> {
    if !given.is_absolute() {
        let message = format!("`{}` is no absolute path", given.display());
        return Err(Failure::bad_argument(1, "absolute path", message));
    }
    resolve_program(given.as_os_str(), Path::new("/"), None).map(drop).map_err(|error| {
        let failure = Failure::bad_argument(1, "program", chain(&error));
        match error.hint() {
            Some(hint) => failure.with("hint", hint),
            None => failure,
        }
    })
}
