//! How a command ends: exit codes, and what a user is told when it did not do what was asked.

use std::{
    error::Error as StdError,
    fmt,
    io::{self, Write},
    iter,
    process::ExitCode,
};

use common_tcp::{CallError, ConnectError, Failure};
use serde_json::{Map, Value, json};

use crate::output::printable;

/// The exit code of a command. Of several the highest counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Exit {
    /// All was done.
    Done = 0,
    /// It failed, in a way that has no code of its own.
    Failed = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// `status` and `wait`: the daemon is not up.
    NotUp = 3,
    /// There is no such daemon.
    NotFound = 4,
    /// There is no manager.
    NoManager = 5,
    /// It is not allowed.
    Refused = 6,
    /// It took too long.
    TimedOut = 7,
    /// `call`: the daemon answered `err`.
    Answered = 8,
}

impl Exit {
    /// The exit code of a failure's code.
    pub(crate) fn of(code: &str) -> Self {
        match code {
            "bad-arity" | "bad-argument" => Self::Usage,
            "not-found" => Self::NotFound,
            "no-manager" => Self::NoManager,
            "auth-required" | "denied" => Self::Refused,
            "timeout" => Self::TimedOut,
            _ => Self::Failed,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        (exit as u8).into()
    }
}

/// Why a command ended early.
#[derive(Debug)]
pub(crate) enum Error {
    /// Nobody reads the output any more, as in `dae list | head -1`. Not a failure.
    Closed,
    /// It failed.
    Failed(Box<Complaint>),
}

/// How a command ends.
pub(crate) type Done = Result<Exit, Error>;

impl From<Complaint> for Error {
    fn from(complaint: Complaint) -> Self {
        Self::Failed(Box::new(complaint))
    }
}

/// What a user is told: one line, what to do about it, and the same for programs.
#[derive(Debug)]
pub(crate) struct Complaint {
    pub(crate) exit: Exit,
    code: String,
    message: String,
    hints: Vec<String>,
    /// Whatever else a failure brought, such as `name`, `near` or `step`.
    members: Box<Map<String, Value>>,
}

impl Complaint {
    /// A complaint with a code for programs and one sentence for people.
    pub(crate) fn new(code: &str, message: impl Into<String>) -> Self {
        let (code, message) = (code.to_owned(), message.into());
        Self { exit: Exit::of(&code), code, message, hints: vec![], members: Box::default() }
    }

    /// A complaint that tells an error and its causes.
    pub(crate) fn of(code: &str, error: &dyn StdError) -> Self {
        Self::new(code, chain(error))
    }

    /// What the manager answered.
    pub(crate) fn answered(failure: &Failure) -> Self {
        let Ok(Value::Object(members)) = serde_json::to_value(failure.to_wire()) else {
            return Self::new(failure.code(), failure.message());
        };
        Self::told(members)
    }

    /// What a daemon that was called answered, in words that name it.
    pub(crate) fn relayed(failure: &Failure, message: String) -> Self {
        Self { exit: Exit::Answered, message, ..Self::answered(failure) }
    }

    /// What the manager says of one daemon of several, or of all at once.
    pub(crate) fn told(mut members: Map<String, Value>) -> Self {
        let mut text = |key| match members.remove(key) {
            Some(Value::String(text)) => Some(text),
            _ => None,
        };
        let code = text("code").unwrap_or_else(|| "unknown".to_owned());
        let message = text("message").unwrap_or_else(|| code.clone());
        let hint = text("hint");
        let (hints, members) = (hint.into_iter().collect(), Box::new(members));
        Self { hints, members, ..Self::new(&code, message) }.suggesting()
    }

    /// Why the manager did not answer.
    pub(crate) fn unanswered(error: &CallError) -> Self {
        match error {
            CallError::Failed(failure) => Self::answered(failure),
            CallError::TimedOut { .. } => Self::of("timeout", error),
            CallError::Lost { .. } => Self::of("lost", error),
            CallError::Unexpected { .. } => Self::of("unexpected", error),
            CallError::Connect(error) => Self::unconnected(error),
        }
    }

    /// Why the manager was not reached.
    pub(crate) fn unconnected(error: &ConnectError) -> Self {
        use io::ErrorKind::{ConnectionRefused, NotADirectory, NotFound, PermissionDenied};
        match error {
            ConnectError::Refused { source, .. } => match source.kind() {
                NotFound | NotADirectory | ConnectionRefused => Self::no_manager(),
                PermissionDenied => Self::of("denied", error),
                _ => Self::of("unavailable", error),
            },
            ConnectError::TimedOut { .. } => Self::of("timeout", error),
            ConnectError::NotFound { .. } => Self::of("not-found", error),
        }
    }

    /// Nobody listens where the manager would.
    pub(crate) fn no_manager() -> Self {
        Self::new("no-manager", "no manager is running for this user")
            .hint("start it with `dae up`")
    }

    /// There is no daemon called `name`.
    pub(crate) fn no_daemon(name: &str, near: &[&str]) -> Self {
        Self::new("not-found", format!("no daemon is called `{name}`"))
            .with("name", name)
            .with("near", near)
            .suggesting()
    }

    /// Adds what to do about it.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Adds a member for programs.
    pub(crate) fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.members.insert(key.to_owned(), value.into());
        self
    }

    /// Says what could not be done. That there is no such daemon, or no manager, speaks for itself.
    pub(crate) fn when(mut self, attempt: &str) -> Self {
        if !matches!(self.code.as_str(), "not-found" | "no-manager") {
            self.message = format!("cannot {attempt}: {}", self.message);
        }
        self
    }

    /// The code for programs.
    pub(crate) fn code(&self) -> &str {
        &self.code
    }

    /// Tells it on stderr. With stderr closed there is nobody to tell.
    pub(crate) fn print(&self, is_json: bool) {
        let text = if is_json { format!("{}\n", self.to_json()) } else { self.to_string() };
        drop(io::stderr().write_all(text.as_bytes()));
    }

    fn to_json(&self) -> Value {
        let mut error = Map::new();
        error.insert("code".to_owned(), json!(self.code));
        error.insert("message".to_owned(), json!(self.message));
        if !self.hints.is_empty() {
            error.insert("hint".to_owned(), json!(self.hints.join("; ")));
        }
        error.extend((*self.members).clone());
        json!({ "error": error })
    }

    /// A daemon that is not there was perhaps meant to be another.
    fn suggesting(mut self) -> Self {
        if self.code != "not-found" {
            return self;
        }
        let near = self.members.get("near").and_then(|it| it.as_array()?.first()?.as_str());
        match near {
            Some(near) if !self.message.contains("did you mean") => {
                self.message = format!("{}; did you mean `{near}`?", self.message);
            }
            // What is only down just now is listed, too.
            None if self.hints.is_empty() && self.message.starts_with("no daemon") => {
                self.hints.push("`dae list` shows which there are".to_owned());
            }
            _ => {}
        }
        self
    }

    /// The last lines that a daemon printed before it failed.
    fn output(&self) -> impl Iterator<Item = &str> {
        let lines = self.members.get("output").and_then(Value::as_array);
        let lines = lines.into_iter().flatten();
        lines.filter_map(|it| it.as_str().or_else(|| it.get("text")?.as_str()))
    }
}

/// The lines for people.
impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "dae: {}", printable(&self.message))?;
        self.output().try_for_each(|line| writeln!(f, "  | {}", printable(line)))?;
        self.hints.iter().try_for_each(|hint| writeln!(f, "  hint: {}", printable(hint)))
    }
}

/// An error and its causes on one line, also where one of them would draw.
pub(crate) fn chain(error: &dyn StdError) -> String {
    let causes = iter::successors(Some(error), |&it| it.source());
    let causes: Vec<_> = causes.map(|it| one_line(&it.to_string())).collect();
    causes.join(": ")
}

/// Every run of blanks and line ends as one blank.
pub(crate) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
