//! The command line: its shape and its help texts, and nothing that runs.

mod definition;

use std::{path::PathBuf, time::Duration};

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum, builder::Styles};
use clap_complete::engine::ArgValueCandidates;
use manager::{
    definition::parse_duration,
    logs::Stream,
    name::{Name, Pattern},
};
use regex::bytes::Regex;

pub(crate) use self::definition::DefinitionFlags;
use crate::commands::names;

/// What stands below the list of commands.
const AFTER: &str = "\
Examples:
  dae up                                  start the manager in the background
  dae install Sample ./target/release/sample
  dae call Sample set key 5               one packet to a daemon, and its reply
  dae COMMAND --help                      flags and an example

Exit codes: 0 done, 1 failed, 2 usage, 3 not up (`status`, `wait`), 4 no such
daemon, 5 no manager, 6 refused, 7 timed out, 8 the daemon answered `err`.
Of several names, the highest counts.";

/// Supervises small long-running programs that all speak Common TCP
#[derive(Debug, Parser)]
#[command(name = "dae", version, after_help = AFTER, max_term_width = 80)]
#[command(disable_help_subcommand = true, styles = Styles::plain())]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The flags that every command has.
#[derive(Args, Debug)]
#[command(next_help_heading = "Everywhere")]
pub(crate) struct Global {
    /// Where all files of the manager are [env: DAE_HOME]
    // Read by hand: clap would show it in every usage as if it had been typed.
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) home: Option<PathBuf>,
    /// Print one JSON document; an error as one on stderr
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Print nothing but errors and what was asked for
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
    /// When to colour; `auto`: on a terminal, unless NO_COLOR is set
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    #[arg(hide_possible_values = true)]
    pub(crate) color: Color,
    /// How long to wait at most, such as `500ms`, `10s` or `5m`
    #[arg(long, global = true, value_name = "DUR", value_parser = parse_duration)]
    pub(crate) timeout: Option<Duration>,
}

/// When to colour.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal.
    Auto,
    /// Also into a file.
    Always,
    /// Not at all.
    Never,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start the manager and every enabled daemon
    Up(Up),
    /// Stop every daemon, then the manager
    Down(Down),
    /// Register a daemon and start it
    Install(Install),
    /// Stop daemons and forget them
    Uninstall(Uninstall),
    /// Start daemons
    #[command(after_help = "Example: dae start Sample State")]
    Start(Names),
    /// Stop daemons, and whatever they started
    #[command(after_help = "Example: dae stop 'sam*'")]
    Stop(Names),
    /// Stop daemons, then start them as they are defined now
    #[command(after_help = "Example: dae restart all")]
    Restart(Names),
    /// Let daemons start with `up`
    #[command(after_help = "Example: dae enable Sample --now")]
    Enable(Switch),
    /// Let daemons not start with `up`
    #[command(after_help = "Example: dae disable Sample --now")]
    Disable(Switch),
    /// Change how a daemon is defined, from its next start on
    Edit(Edit),
    /// List daemons, foreign ones too
    List(List),
    /// Tell all about one daemon, or about the manager
    Status(Status),
    /// Show what daemons printed
    Logs(Logs),
    /// Show what happened, and who asked for it
    Events(Events),
    /// Send a daemon one packet and print its reply
    Call(Call),
    /// List the commands of a daemon
    Options(Options),
    /// Wait until daemons are ready, gone or failed
    Wait(Wait),
    /// Look for daemons now, foreign ones too
    #[command(after_help = "Example: dae scan --json")]
    Scan,
    /// Check everything that the manager stands on
    #[command(after_help = "Example: dae doctor")]
    Doctor,
    /// Print the completion file of a shell
    Completions(Completions),
}

#[derive(Args, Debug)]
#[command(after_help = "\
The manager reads config.toml in $DAE_HOME/config, or else in ~/.config/dae:
  scan = \"off\"           look for no daemons but its own
  scan_ignore = [8080]   ports that are never asked

With DAE_CGROUP=off in its environment, daemons get no cgroups.

Example: dae up --wait")]
pub(crate) struct Up {
    /// Stay in this terminal and log to it, as DAE_LOG=info says
    #[arg(long)]
    pub(crate) foreground: bool,
    /// Port of the manager [default: the last one, else a free one]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: Option<u16>,
    /// Start no daemon
    #[arg(long)]
    pub(crate) no_start: bool,
    /// Wait until every enabled daemon is ready or has failed
    #[arg(long, conflicts_with_all = ["foreground", "no_start"])]
    pub(crate) wait: bool,
    /// Leave the terminal: how `up` calls itself
    #[arg(long, hide = true, requires = "foreground")]
    pub(crate) background: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Daemons end in waves. After --timeout (default: the longest grace and 10 s)
whoever is left is killed.

Example: dae down --timeout 30s")]
pub(crate) struct Down {
    /// End the manager only; the daemons live on until the next `up`
    #[arg(long)]
    pub(crate) keep: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  dae install Sample ./target/release/sample
  dae install Web node --env PORT=8080 --ready port -- server.js --verbose")]
pub(crate) struct Install {
    /// What it is called: a letter, then letters, digits, `_` or `-`
    pub(crate) name: Name,
    /// Its program: a path, or a word that PATH knows
    #[arg(value_name = "PROGRAM")]
    pub(crate) program: PathBuf,
    /// Do not start it now
    #[arg(long)]
    pub(crate) no_start: bool,
    /// Replace the daemon of this name, if there is one
    #[arg(long)]
    pub(crate) replace: bool,
    /// What the program is called with
    #[arg(last = true)]
    pub(crate) args: Vec<String>,
    #[command(flatten)]
    pub(crate) definition: DefinitionFlags,
}

#[derive(Args, Debug)]
#[command(after_help = "Example: dae uninstall Sample --purge")]
pub(crate) struct Uninstall {
    #[command(flatten)]
    pub(crate) names: Names,
    /// Remove their logs too
    #[arg(long)]
    pub(crate) purge: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Names {
    /// Daemons: names, patterns such as 'sam*', or `all`
    #[arg(value_name = "NAME", required = true, add = ArgValueCandidates::new(names))]
    names: Vec<Pattern>,
}

impl Names {
    /// The patterns as they were typed.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(Pattern::as_str)
    }
}

#[derive(Args, Debug)]
pub(crate) struct Switch {
    #[command(flatten)]
    pub(crate) names: Names,
    /// Start or stop them now, too
    #[arg(long)]
    pub(crate) now: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  dae edit Sample --grace 2s --env LEVEL=debug
  dae edit Sample --unset port -- --verbose")]
pub(crate) struct Edit {
    /// The daemon
    #[arg(add = ArgValueCandidates::new(names))]
    pub(crate) name: Name,
    /// Another program: a path, or a word that PATH knows
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) program: Option<PathBuf>,
    /// Set a key back to its default, such as `port` or `env` (repeat)
    #[arg(long, value_name = "KEY", value_parser = definition::key)]
    pub(crate) unset: Vec<String>,
    /// What the program is called with from now on
    #[arg(last = true)]
    pub(crate) args: Vec<String>,
    #[command(flatten)]
    pub(crate) definition: DefinitionFlags,
}

#[derive(Args, Debug)]
#[command(after_help = "Example: dae list --wide")]
pub(crate) struct List {
    /// With processor time and memory
    #[arg(long)]
    pub(crate) wide: bool,
    /// Without foreign daemons
    #[arg(long)]
    pub(crate) own: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "Example: dae status Sample")]
pub(crate) struct Status {
    /// The daemon; without it, the manager
    #[arg(add = ArgValueCandidates::new(names))]
    pub(crate) name: Option<String>,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  dae logs Sample -f
  dae logs --since 10m --stream err --grep 'panic|fatal'")]
pub(crate) struct Logs {
    /// Daemons: names, patterns, or `all` [default: all]
    #[arg(value_name = "NAME", add = ArgValueCandidates::new(names))]
    pub(crate) names: Vec<Pattern>,
    /// Go on with what comes; begins with the last 10 lines
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// Only the last N lines [default: all there are]
    #[arg(long, short = 'n', value_name = "N")]
    pub(crate) lines: Option<usize>,
    /// Only since then: `10m`, `14:30`, `2026-11-21T14:30:00Z`
    #[arg(long, value_name = "TIME", value_parser = since)]
    pub(crate) since: Option<u64>,
    /// Only one of the two outputs
    #[arg(long, value_name = "out|err", value_parser = stream)]
    pub(crate) stream: Option<Stream>,
    /// Only lines that match a regular expression
    #[arg(long, value_name = "RE")]
    pub(crate) grep: Option<Regex>,
    /// Bytes as they were printed, control characters too
    #[arg(long)]
    pub(crate) raw: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "Example: dae events -f --since 1h")]
pub(crate) struct Events {
    /// Daemons: names or patterns [default: all, and the manager itself]
    #[arg(value_name = "NAME", add = ArgValueCandidates::new(names))]
    pub(crate) names: Vec<Pattern>,
    /// Go on with what comes; without -n and --since, only that
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// Only the last N events [default: all there are]
    #[arg(long, short = 'n', value_name = "N")]
    pub(crate) lines: Option<usize>,
    /// Only since then: `10m`, `14:30`, `2026-11-21T14:30:00Z`
    #[arg(long, value_name = "TIME", value_parser = since)]
    pub(crate) since: Option<u64>,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Prints the result as one JSON document: nothing if there is none, an array if
there are several. `Dae` is the manager itself.

Examples:
  dae call Sample set key 5
  dae call Sample set '[\"key\", {\"x\": 1}]'
  dae call Dae find Sample")]
pub(crate) struct Call {
    /// The daemon
    #[arg(add = ArgValueCandidates::new(names))]
    pub(crate) name: String,
    /// Its command
    #[arg(value_parser = command)]
    pub(crate) command: String,
    /// One JSON array, or words: what is JSON is JSON, all else is text
    #[arg(value_name = "ARG", allow_negative_numbers = true)]
    pub(crate) args: Vec<String>,
}

#[derive(Args, Debug)]
#[command(after_help = "Example: dae options Sample")]
pub(crate) struct Options {
    /// The daemon; `Dae` is the manager
    #[arg(add = ArgValueCandidates::new(names))]
    pub(crate) name: String,
}

#[derive(Args, Debug)]
#[command(after_help = "Example: dae wait Sample --for ready --timeout 30s")]
pub(crate) struct Wait {
    #[command(flatten)]
    pub(crate) names: Names,
    /// What to wait for
    #[arg(long = "for", value_name = "STATE", default_value = "ready")]
    pub(crate) state: Awaited,
}

/// What can be waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "lower")]
pub(crate) enum Awaited {
    Ready,
    Gone,
    Failed,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Names are completed too, as long as the manager runs.

Examples:
  source <(dae completions bash)
  dae completions fish > ~/.config/fish/completions/dae.fish
  dae completions zsh > ~/.zfunc/_dae")]
pub(crate) struct Completions {
    /// The shell
    pub(crate) shell: Shell,
}

/// Shells that can be told how to complete.
#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "lower")]
pub(crate) enum Shell {
    Bash,
    Elvish,
    Fish,
    Powershell,
    Zsh,
}

impl Cli {
    /// Reads the arguments of this process.
    pub(crate) fn read() -> Result<Self, clap::Error> {
        Self::from_arg_matches(&command_line().try_get_matches()?)
    }
}

/// The whole command line, with the defaults of a definition in the help of `install`.
pub(crate) fn command_line() -> clap::Command {
    Cli::command().mut_subcommand("install", definition::with_defaults)
}

fn stream(text: &str) -> Result<Stream, String> {
    let streams = [Stream::Out, Stream::Err];
    let found = streams.into_iter().find(|it| it.name() == text);
    found.ok_or_else(|| "expected `out` or `err`".to_owned())
}

fn since(text: &str) -> Result<u64, manager::time::SinceError> {
    manager::time::since(text, &jiff::Zoned::now())
}

fn command(text: &str) -> Result<String, String> {
    let is_name = common_tcp::is_name(text.as_bytes()) && !text.is_empty();
    is_name.then(|| text.to_owned()).ok_or_else(|| {
        "a command is a letter or `_`, then letters, digits, `_`, `-`, `.`, `:` or `/`".to_owned()
    })
}
