//! The flags that all daemons share, and those that a daemon adds.

use std::{
    env,
    net::{IpAddr, Ipv4Addr},
    path::{self, PathBuf},
    time::Duration,
};

use clap::{Args, Command, FromArgMatches, error::ErrorKind, value_parser};
use common_tcp::{Limits, causes};
use tracing_subscriber::EnvFilter;

use crate::{
    Admission, Environment, Settings,
    config::{self, ConfigError, Refused, Setting},
};

/// The flags that all daemons share. Each may also be set by `DAE_<NAME>_<FLAG>`.
#[derive(Args, Clone, Debug)]
pub struct Flags {
    /// Port to listen on; 0 takes a free one
    #[arg(long, default_value_t = 0)]
    pub port: u16,

    /// Address to listen on; anything but loopback needs a token or accounts
    #[arg(long, value_name = "ADDRESS", default_value_t = Ipv4Addr::LOCALHOST.into(), value_parser = parse_address)]
    pub bind: IpAddr,

    /// Directory for what the daemon keeps, if it keeps anything [default: a folder of its name in
    /// `$DAE_HOME`, or else in the user's data directory]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,

    /// File with flags, in TOML: `queue.bytes = 1024` is `--queue-bytes 1024`. What is typed, or is
    /// in the environment, goes before it
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// What to log: error, warn, info, debug, trace, or a filter such as `daemon=debug,info`
    #[arg(long, value_name = "FILTER", default_value = "info")]
    pub log: String,

    /// Longest packet, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = Limits::default().packet_bytes, help_heading = "Limits")]
    pub packet_bytes: usize,

    /// Deepest nesting of arguments, at most 128
    #[arg(long, value_name = "LEVELS", default_value_t = Limits::default().depth, value_parser = value_parser!(u32).range(1..=i64::from(Limits::DEEPEST)), help_heading = "Limits")]
    pub depth: u32,

    /// Requests of one guest that may run at once
    #[arg(long, value_name = "REQUESTS", default_value_t = Limits::default().pipeline, help_heading = "Limits")]
    pub pipeline: usize,

    /// Largest result, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = Limits::default().result_bytes, help_heading = "Limits")]
    pub result_bytes: usize,

    /// Unsent bytes of one guest at which nothing more is read from it
    #[arg(long, value_name = "BYTES", default_value_t = Limits::default().unsent_bytes, help_heading = "Limits")]
    pub unsent_bytes: usize,

    /// Packets that may wait in one stream
    #[arg(long, value_name = "PACKETS", default_value_t = Limits::default().stream_packets, help_heading = "Limits")]
    pub stream_packets: usize,

    /// Bytes that may wait in all streams of one guest
    #[arg(long, value_name = "BYTES", default_value_t = Limits::default().stream_bytes, help_heading = "Limits")]
    pub stream_bytes: usize,

    /// Bytes that may wait with all guests together, as unfinished packets, unread replies and
    /// events
    #[arg(long, value_name = "BYTES", default_value_t = Limits::default().waiting_bytes, help_heading = "Limits")]
    pub waiting_bytes: usize,

    /// Guests at once, at most half as many as files may be open
    #[arg(long, value_name = "GUESTS", default_value_t = Limits::default().connections, help_heading = "Limits")]
    pub connections: usize,

    /// Unreadable lines in a row at which a guest is sent away
    #[arg(long, value_name = "LINES", default_value_t = Limits::default().bad_lines, help_heading = "Limits")]
    pub bad_lines: u32,

    /// How long an unfinished packet may wait for its next byte, such as `30s` or `500ms`
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_duration, help_heading = "Limits")]
    pub packet_timeout: Duration,
}

impl Flags {
    /// Where to listen and what to bound, together with what the manager handed over.
    #[must_use]
    pub fn settings(&self) -> Settings {
        Settings {
            bind: self.bind,
            port: self.port,
            both_loopbacks: false,
            limits: self.limits(),
            admission: Admission::default(),
            environment: Environment::read(),
        }
    }

    fn limits(&self) -> Limits {
        Limits {
            packet_bytes: self.packet_bytes,
            depth: self.depth,
            pipeline: self.pipeline,
            result_bytes: self.result_bytes,
            unsent_bytes: self.unsent_bytes,
            stream_packets: self.stream_packets,
            stream_bytes: self.stream_bytes,
            waiting_bytes: self.waiting_bytes,
            connections: self.connections,
            bad_lines: self.bad_lines,
            packet_timeout: self.packet_timeout,
        }
    }

    /// The directory of the daemon `name`, where a manager would have it: `--data`, or
    /// `data/daemons/<name>` in `DAE_HOME`, or `dae/daemons/<name>` in the user's data directory.
    /// `None` without a home directory.
    #[must_use]
    pub fn data_path(&self, name: &str) -> Option<PathBuf> {
        let of_all = || data_of_home().or_else(data_of_user);
        self.data.clone().or_else(|| Some(of_all()?.join("daemons").join(name)))
    }
}

/// Where `DAE_HOME` says that the data is, if it says so.
fn data_of_home() -> Option<PathBuf> {
    let home = env::var_os("DAE_HOME").filter(|it| !it.is_empty())?;
    path::absolute(home).ok().map(|it| it.join("data"))
}

fn data_of_user() -> Option<PathBuf> {
    directories::BaseDirs::new().map(|it| it.data_dir().join("dae"))
}

/// What a flag is unless somebody sets it: what is usual with one daemon and not with others.
#[derive(Clone, Copy, Debug)]
pub struct Usual<'a> {
    /// The flag, as it is typed but without `--`.
    pub flag: &'a str,
    /// Its value.
    pub value: &'a str,
    /// What has set it, if that was somebody after all: a setting that is no flag.
    pub by: Option<&'a str>,
}

impl<'a> Usual<'a> {
    /// What the daemon's author has chosen.
    #[must_use]
    pub const fn new(flag: &'a str, value: &'a str) -> Self {
        Self { flag, value, by: None }
    }
}

/// No flags besides the common ones.
#[derive(Args, Clone, Copy, Debug)]
pub struct NoFlags {}

/// Reads the command line of the daemon `name`: the common flags and its own. Starts the log.
///
/// Prints and ends the process for `--help`, `--version` and for what makes no sense (exit code 2).
#[must_use]
pub fn parse<Own: Args>(name: &str) -> (Flags, Own) {
    parse_with(name, &[])
}

/// As [`parse`], for a daemon to which something else is usual.
///
/// # Panics
/// When there is no such flag: the daemon's author is told at the first start.
#[must_use]
pub fn parse_with<Own: Args>(name: &str, usual: &[Usual<'_>]) -> (Flags, Own) {
    let (flags, own) = read_all(name, usual).unwrap_or_else(|error| error.exit());
    start_log(&flags.log);
    (flags, own)
}

/// Reads the command line, the environment and `--config` once more, for a daemon that takes other
/// flags while it runs. The log stays as it is.
///
/// # Errors
/// What makes no sense, as it would be told at a start.
pub fn parse_again<Own: Args>(name: &str, usual: &[Usual<'_>]) -> Result<(Flags, Own), String> {
    read_all(name, usual).map_err(|error| sentence(&error))
}

fn read_all<Own: Args>(name: &str, usual: &[Usual<'_>]) -> Result<(Flags, Own), clap::Error> {
    let environment = Environment::read();
    let installed_as = environment.name.unwrap_or_else(|| name.to_owned());
    let typed = command::<Own>(name);
    let command = with_defaults(with_variables(typed.clone(), &installed_as), usual);
    // Whatever else is wrong is told below.
    let first = command.clone().ignore_errors(true).try_get_matches();
    let path = first.ok().and_then(|it| it.get_one::<PathBuf>("config").cloned());
    let wrong =
        |error: &ConfigError| command.clone().error(ErrorKind::ValueValidation, causes(error));
    let set = config::read(&command, path.as_ref()).map_err(|error| wrong(&error))?;
    let matches = with_set(command.clone(), &set).try_get_matches();
    let matches = matches.map_err(|error| match Refused::of(&error) {
        // What was typed goes before, also if it is the same.
        Some(refused) if typed.try_get_matches().is_ok() => {
            place(refused, &installed_as, &set, usual).map_or(error, |it| wrong(&it))
        }
        _ => error,
    })?;
    Ok((Flags::from_arg_matches(&matches)?, Own::from_arg_matches(&matches)?))
}

/// Where a value was set that was not typed and makes no sense.
fn place(
    refused: Refused,
    installed_as: &str,
    set: &config::Settings,
    usual: &[Usual<'_>],
) -> Option<ConfigError> {
    let variable = variable(installed_as, &refused.flag);
    if env::var_os(&variable).is_some() {
        return Some(refused.set_by(variable));
    }
    if let Some(line) = set.line_of(&refused) {
        return Some(refused.set_at(set, line));
    }
    let usual = usual.iter().rev().find(|it| it.flag == refused.flag)?;
    Some(refused.set_by(usual.by?.to_owned()))
}

/// The settings of a daemon that has no flags of its own.
pub(crate) fn parse_common(name: &str) -> Settings {
    parse::<NoFlags>(name).0.settings()
}

/// Reads a time such as `500ms`, `30s`, `5m` or `2h`.
///
/// # Errors
/// A sentence that says what was wanted and what came.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let wanted =
        || format!("`{text}` is no time; give a number and `ms`, `s`, `m` or `h`, as in `30s`");
    let number: u64 = number.parse().map_err(|_| wanted())?;
    let ms = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(wanted()),
    };
    number.checked_mul(ms).map(Duration::from_millis).ok_or_else(wanted)
}

fn parse_address(text: &str) -> Result<IpAddr, &'static str> {
    text.parse().map_err(|_| "wanted an address, as in 127.0.0.1 or ::1")
}

fn with_defaults(command: Command, usual: &[Usual<'_>]) -> Command {
    usual.iter().fold(command, |command, Usual { flag, value, .. }| {
        let value = (*value).to_owned();
        command.mut_arg(flag.replace('-', "_"), |it| it.default_value(value))
    })
}

/// What a file sets is what holds if nothing is typed.
fn with_set(command: Command, set: &config::Settings) -> Command {
    set.all.iter().cloned().fold(command, |command, Setting { flag, values, .. }| {
        command.mut_arg(flag.replace('-', "_"), |it| it.default_values(values))
    })
}

/// The flags, as they may be typed.
fn command<Own: Args>(name: &str) -> Command {
    let binary = name.to_ascii_lowercase();
    let port = variable(name, "port") + "=7000";
    let more = format!(
        "Environment:\n  \
         DAE_SOCKET=FILE      Listen on this Unix socket too, which only you can open\n  \
         DAE_TOKEN_FILE=FILE  Where the token is that `auth` takes, if it takes one\n  \
         {port:<19}  As `--port 7000`, and so for each flag\n\n\
         Example: {binary} --port 7000, then: nc 127.0.0.1 7000, and type: options"
    );
    Own::augment_args(Flags::augment_args(Command::new(binary)))
        .about(format!("{name}, a daemon that speaks Common TCP"))
        .long_about(None)
        .version(env!("CARGO_PKG_VERSION"))
        .after_help(more)
        .max_term_width(80)
        // What a daemon does besides serving is done with a data directory too.
        .mut_arg("data", |it| it.global(true))
}

/// What a variable sets is what holds if nothing is typed.
fn with_variables(command: Command, installed_as: &str) -> Command {
    command.mut_args(|arg| {
        let Some(long) = arg.get_long() else { return arg };
        let variable = variable(installed_as, long);
        arg.env(variable).hide_env(true)
    })
}

/// The variable that sets a flag.
fn variable(installed_as: &str, flag: &str) -> String {
    format!("DAE_{installed_as}_{flag}").to_ascii_uppercase().replace('-', "_")
}

/// What is wrong, on one line: neither how all is used nor where help is.
fn sentence(error: &clap::Error) -> String {
    let text = error.to_string();
    let first = text.lines().map(str::trim).take_while(|it| !it.is_empty());
    let first = first.collect::<Vec<_>>().join(" ");
    first.strip_prefix("error: ").map(str::to_owned).unwrap_or(first)
}

fn start_log(filter: &str) {
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|error| {
        eprintln!("`{filter}` is no filter for the log, so it is `info`: {error}");
        EnvFilter::new("info")
    });
    // An internal error is that stderr cannot be written to, which would be said there, by a panic.
    let log = tracing_subscriber::fmt().log_internal_errors(false);
    let log = log.with_env_filter(filter).with_writer(std::io::stderr);
    // A program that embeds the daemon may log already; then its log is the one.
    drop(log.with_ansi(false).try_init());
}
