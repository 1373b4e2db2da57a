//! The flags of a definition, which `install` and `edit` share: one for each key that has one.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Arg, Args};
use manager::{
    definition::{
        Backoff, Definition, GiveUp, HeldSocket, KEYS, Leftovers, LogFull, Ready, Restart, Size,
        StopSignal, parse_duration, print_duration,
    },
    name::{Name, nearest},
};
use serde_json::{Map, Value, json};

#[derive(Args, Debug)]
#[command(next_help_heading = "Definition")]
pub(crate) struct DefinitionFlags {
    /// Variable of its environment (repeat)
    #[arg(long, value_name = "K=V", value_parser = variable)]
    env: Vec<(String, String)>,
    /// File of variables, read at each start
    #[arg(long, value_name = "FILE")]
    env_file: Option<PathBuf>,
    /// Begin with an empty environment
    #[arg(long)]
    clean_env: bool,
    /// Where it runs
    #[arg(long, value_name = "DIR")]
    cwd: Option<PathBuf>,
    /// When it comes back: always, on-failure or never
    #[arg(long, value_name = "WHEN")]
    restart: Option<Restart>,
    /// Exit code beside 0 that means success (repeat)
    #[arg(long = "success-code", value_name = "N")]
    success_codes: Vec<u8>,
    /// Wait between attempts, from first to longest
    #[arg(long, value_name = "A..B")]
    backoff: Option<Backoff>,
    /// Ready for so long, its failures are forgotten
    #[arg(long, value_name = "DUR", value_parser = parse_duration)]
    stable: Option<Duration>,
    /// Fail for good beyond so many ends in a period
    #[arg(long, value_name = "N/DUR")]
    give_up: Option<GiveUp>,
    /// Start it after this daemon (repeat)
    #[arg(long, value_name = "NAME")]
    after: Vec<Name>,
    /// Run it only while this daemon runs (repeat)
    #[arg(long, value_name = "NAME")]
    needs: Vec<Name>,
    /// Restart it when this daemon came back (repeat)
    #[arg(long, value_name = "NAME")]
    follows: Vec<Name>,
    /// What asks it to end
    #[arg(long, value_name = "SIGNAL")]
    stop_signal: Option<StopSignal>,
    /// Time to end before it is killed
    #[arg(long, value_name = "DUR", value_parser = parse_duration)]
    grace: Option<Duration>,
    /// What becomes of processes that it leaves behind when it ends by itself: kill or keep
    #[arg(long, value_name = "HOW")]
    leftovers: Option<Leftovers>,
    /// Time to become ready
    #[arg(long, value_name = "DUR", value_parser = parse_duration)]
    start_timeout: Option<Duration>,
    /// How it shows that: dae, port, notify, delay=DUR or none
    #[arg(long, value_name = "HOW")]
    ready: Option<Ready>,
    /// Port that it is told to listen on
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// Listening socket that is kept open for it over its restarts (repeat): on loopback without an
    /// address, its Common TCP port without a label
    #[arg(long = "socket", value_name = "[LABEL=][ADDRESS:]PORT")]
    sockets: Vec<HeldSocket>,
    /// Size at which a log file is rotated
    #[arg(long, value_name = "SIZE")]
    log_max: Option<Size>,
    /// Rotated log files that are kept
    #[arg(long, value_name = "N")]
    log_keep: Option<u32>,
    /// Output while the disk is full: block, block=DUR or drop
    #[arg(long, value_name = "HOW")]
    log_full: Option<LogFull>,
}

impl DefinitionFlags {
    /// The keys that were given, as they travel. Relative paths are those of `cwd`.
    pub(crate) fn members(&self, cwd: &Path) -> Map<String, Value> {
        let path = |it: &PathBuf| json!(cwd.join(it).to_string_lossy());
        let names = |it: &[Name]| list(it, |it| json!(it.as_str()));
        let duration = |it: Duration| json!(print_duration(it));
        let members = [
            ("env", (!self.env.is_empty()).then(|| self.env.iter().cloned().collect())),
            ("env_file", self.env_file.as_ref().map(path)),
            ("clean_env", self.clean_env.then_some(json!(true))),
            ("cwd", self.cwd.as_ref().map(path)),
            ("restart", text(self.restart)),
            ("success_codes", list(&self.success_codes, |it| json!(it))),
            ("backoff", text(self.backoff)),
            ("stable", self.stable.map(duration)),
            ("give_up", text(self.give_up)),
            ("after", names(&self.after)),
            ("needs", names(&self.needs)),
            ("follows", names(&self.follows)),
            ("stop_signal", text(self.stop_signal)),
            ("grace", self.grace.map(duration)),
            ("leftovers", text(self.leftovers)),
            ("start_timeout", self.start_timeout.map(duration)),
            ("ready", text(self.ready)),
            ("port", self.port.map(|it| json!(it))),
            ("sockets", list(&self.sockets, |it| json!(it.to_string()))),
            ("log_max", text(self.log_max)),
            ("log_keep", self.log_keep.map(|it| json!(it))),
            ("log_full", text(self.log_full)),
        ];
        let given = members.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
        given.collect()
    }
}

fn text(value: Option<impl ToString>) -> Option<Value> {
    value.map(|it| Value::String(it.to_string()))
}

fn list<T>(items: &[T], item: impl Fn(&T) -> Value) -> Option<Value> {
    (!items.is_empty()).then(|| items.iter().map(item).collect())
}

/// Adds to the help of each flag what holds without it.
pub(super) fn with_defaults(install: clap::Command) -> clap::Command {
    let silent = Definition::new(PathBuf::new()).to_json();
    let install = install.mut_arg("cwd", |arg| with_default(arg, "a data folder of its own"));
    install.mut_args(|arg| match silent.get(arg.get_id().as_str()) {
        Some(Value::String(default)) if !default.is_empty() => with_default(arg, default),
        Some(Value::Number(default)) => with_default(arg, &default.to_string()),
        _ => arg,
    })
}

fn with_default(arg: Arg, default: &str) -> Arg {
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    arg.help(format!("{help} [default: {default}]"))
}

/// Reads a key that can be set back.
pub(super) fn key(text: &str) -> Result<String, String> {
    let key = text.replace('-', "_");
    let known = || KEYS.iter().copied().filter(|&it| it != "program");
    if known().any(|it| it == key) {
        return Ok(key);
    }
    let near = nearest(&key, known());
    let near = near.first().map(|it| format!("; did you mean `{it}`?")).unwrap_or_default();
    Err(format!("no setting with a default is called so{near}"))
}

fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected a variable such as `LEVEL=debug`".to_owned()),
    }
}
