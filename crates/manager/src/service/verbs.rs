//! What changes daemons, one or several at once.

use std::{collections::BTreeSet, path::Path, time::Duration};

use daemon::{Failure, Guest};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::time::{Instant, timeout_at};

use super::{Dae, ended, late, one_name, pattern};
use crate::{
    definition::{Change, Definition, resolve_program, warning_if_writable_by_others},
    manager::{Request, Target, Verb},
    name::Name,
};

/// What may be said besides the names.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Options {
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

/// One name, or several patterns.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Names {
    One(String),
    Many(Vec<String>),
}

impl Dae {
    pub(super) async fn install(
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
            .map_err(|error| Failure::bad_argument(1, "definition", daemon::causes(&error)))?;
        check_program(&definition.program)?;
        let mut warnings = Vec::from_iter(warning_if_writable_by_others(&definition.program));
        warnings.extend(definition.sockets.warning_if_open_to_others());
        let definition = Box::new(definition);
        let request = Request::Install { name, definition, start: !stays, replace };
        let daemon = self.ask_within(&guest, request, patience).await?;
        Ok(json!({ "v": 1, "daemon": daemon, "warnings": warnings }))
    }

    pub(super) async fn uninstall(
        &self,
        guest: Guest,
        names: Names,
        options: Option<Options>,
    ) -> Result<Value, Failure> {
        let options = options.unwrap_or_default();
        let verb = Verb::Uninstall { purge: options.purge };
        self.perform(&guest, names, verb, options.timeout).await
    }

    pub(super) async fn start(
        &self,
        guest: Guest,
        names: Names,
        options: Option<Options>,
    ) -> Result<Value, Failure> {
        self.perform(&guest, names, Verb::Start, options.unwrap_or_default().timeout).await
    }

    pub(super) async fn stop(
        &self,
        guest: Guest,
        names: Names,
        options: Option<Options>,
    ) -> Result<Value, Failure> {
        self.perform(&guest, names, Verb::Stop, options.unwrap_or_default().timeout).await
    }

    pub(super) async fn restart(
        &self,
        guest: Guest,
        names: Names,
        options: Option<Options>,
    ) -> Result<Value, Failure> {
        self.perform(&guest, names, Verb::Restart, options.unwrap_or_default().timeout).await
    }

    pub(super) async fn enable(
        &self,
        guest: Guest,
        names: Names,
        options: Option<Options>,
    ) -> Result<Value, Failure> {
        self.set_enabled(&guest, names, options.unwrap_or_default(), true).await
    }

    pub(super) async fn disable(
        &self,
        guest: Guest,
        names: Names,
        options: Option<Options>,
    ) -> Result<Value, Failure> {
        self.set_enabled(&guest, names, options.unwrap_or_default(), false).await
    }

    pub(super) async fn wait(
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

    pub(super) async fn edit(
        &self,
        guest: Guest,
        name: String,
        change: Map<String, Value>,
    ) -> Result<Value, Failure> {
        let name = one_name(&name)?;
        let change = Change::from_json(change)
            .map_err(|error| Failure::bad_argument(1, "change", daemon::causes(&error)))?;
        if let Some(program) = change.as_json().get("program").and_then(Value::as_str) {
            check_program(Path::new(program))?;
        }
        self.ask(&guest, Request::Edit { name, change }).await
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
}

/// Several daemons, as one result.
fn report(daemons: &[Value], errors: &[Failure]) -> Result<Value, Failure> {
    let errors: Result<Vec<Value>, _> =
        errors.iter().map(|failure| serde_json::to_value(failure.to_wire())).collect();
    Ok(json!({ "v": 1, "daemons": daemons, "errors": errors? }))
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
        let failure = Failure::bad_argument(1, "program", daemon::causes(&error));
        match error.hint() {
            Some(hint) => failure.with("hint", hint),
            None => failure,
        }
    })
}
