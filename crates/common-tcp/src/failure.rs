use std::{any::Any, borrow::Cow, error::Error, fmt};

use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::{Map, Value};

use crate::CallError;

/// A command's failure: what goes out, or came in, as `err [{"code","message","command",…}]`.
///
/// Any error turns into one by `?`, with the code `internal`; the guest is then told no more than
/// that something broke, and the error's text goes to the log. A [`CallError`] keeps what the other
/// daemon said, or says `unavailable`.
///
/// It is neither an [`Error`] nor [`Serialize`], or a handler's reply would be ambiguous.
#[derive(Clone, PartialEq)]
pub struct Failure {
    code: Cow<'static, str>,
    message: String,
    command: Option<String>,
    more: Box<Map<String, Value>>,
    detail: Option<String>,
}

impl Failure {
    /// A failure with a code for programs (lower-case words with hyphens) and one sentence for
    /// people.
    pub fn new(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            message: message.into(),
            command: None,
            more: Box::default(),
            detail: None,
        }
    }

    /// A fault inside: `detail` goes to the log only, under a reference that the guest is told.
    pub fn internal(detail: impl Into<String>) -> Self {
        let mut failure = Self::new("internal", "something broke inside; the log has more");
        failure.detail = Some(detail.into());
        failure
    }

    /// An argument of the wrong type or value; `arg` counts from 0.
    pub fn bad_argument(arg: usize, expected: &str, message: impl Into<String>) -> Self {
        Self::new("bad-argument", message).with("arg", arg).with("expected", expected)
    }

    /// What was asked for is not there.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new("not-found", message)
    }

    /// Adds a member to the packet. A value that JSON can't hold is left out.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Serialize) -> Self {
        if let Ok(value) = serde_json::to_value(value) {
            self.more.insert(key.to_owned(), value);
        }
        self
    }

    /// Names the command that failed, unless one is named already.
    #[must_use]
    pub fn of_command(mut self, command: &str) -> Self {
        self.command.get_or_insert_with(|| command.to_owned());
        self
    }

    /// The code, for programs.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.code
    }

    /// The sentence, for people.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The command that failed, if it is known.
    #[must_use]
    pub fn command(&self) -> Option<&str> {
        self.command.as_deref()
    }

    /// A further member, such as `at`, `min` or `limit`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.more.get(key)
    }

    /// What the guest must not see, for the log.
    #[must_use]
    pub fn detail(&self) -> Option<&str> {
        self.detail.as_deref()
    }

    /// The one argument of the `err` packet, code and message first.
    #[must_use]
    pub fn to_wire(&self) -> impl Serialize {
        Wire(self)
    }

    /// Reads the one argument of an `err` packet; whatever a peer left out is filled in.
    #[must_use]
    pub fn from_value(value: Value) -> Self {
        let Value::Object(mut members) = value else {
            return Self::new("unknown", value.to_string());
        };
        let mut text = |key| match members.remove(key) {
            Some(Value::String(text)) => Some(text),
            _ => None,
        };
        let code = text("code").unwrap_or_else(|| "unknown".to_owned());
        let message = text("message").unwrap_or_else(|| code.clone());
        let command = text("command");
        Self { code: code.into(), message, command, more: Box::new(members), detail: None }
    }
}

/// A failure cannot be serialised itself, so that nobody returns one as a result.
struct Wire<'a>(&'a Failure);

impl Serialize for Wire<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(failure) = self;
        let mut members = serializer.serialize_map(None)?;
        members.serialize_entry("code", &failure.code)?;
        members.serialize_entry("message", &failure.message)?;
        if let Some(command) = &failure.command {
            members.serialize_entry("command", command)?;
        }
        for (key, value) in failure.more.iter() {
            members.serialize_entry(key, value)?;
        }
        members.end()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} {:?}", self.code, self.message, self.more)?;
        self.detail.iter().try_for_each(|detail| write!(f, " ({detail})"))
    }
}

impl<E: Error + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        // That another daemon is not there, or refuses, is no fault inside: the guest is told.
        if let Some(call) = (&error as &dyn Any).downcast_ref::<CallError>() {
            return call.to_failure();
        }
        let mut detail = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            detail = format!("{detail}: {cause}");
            source = cause.source();
        }
        Self::internal(detail)
    }
}
