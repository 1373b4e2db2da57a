use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    process,
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use common_tcp::{Credential, Failure, Limits};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::{Admission, Guest, Rate, Seldom, Spread, command::Command, pace::Newcomers};

/// What every daemon can tell of itself, and the commands that do.
#[derive(Debug)]
pub(crate) struct Common {
    pub(crate) name: String,
    pub(crate) version: &'static str,
    pub(crate) secret: Option<String>,
    pub(crate) port: OnceLock<u16>,
    pub(crate) created: u64,
    pub(crate) limits: Limits,
    pub(crate) admission: Admission,
    pub(crate) token_file: Option<PathBuf>,
    /// How those are told of who say a wrong one.
    pub(crate) wrong_tokens: Seldom,
    pub(crate) auth: &'static str,
    /// Each command with the number of arguments that it requires.
    pub(crate) options: BTreeMap<&'static str, usize>,
    pub(crate) help: BTreeMap<&'static str, Value>,
    /// Members of `whois` that only this daemon has.
    pub(crate) more: Mutex<Map<String, Value>>,
}

/// A credential as an object, with when the process started in ms since 1970.
#[derive(Serialize)]
struct Whois {
    name: String,
    pid: u32,
    port: u16,
    secret: Option<String>,
    created: u64,
    /// What else this daemon has to say.
    #[serde(flatten)]
    more: Map<String, Value>,
}

impl Common {
    /// The commands of every daemon; without those for authorisation where nothing needs it.
    pub(crate) fn commands() -> Vec<Command<Self>> {
        let mut commands = vec![
            command("dae", &["nonce"], "Who are you: name, pid, port, secret", Self::dae),
            command("options", &[], "Every command and how many arguments it needs", Self::options),
            command("whois", &[], "Who are you, as an object", Self::whois),
            command("ping", &["value"], "Answers with its argument", Self::ping),
            command("hello", &["client"], "Version, features and limits", Self::hello),
            command("help", &["command"], "What the commands do, or one of them", Self::help),
            command("auth", &["token"], "Opens the commands that need authorisation", Self::auth),
            command(
                "cancel",
                &["tag"],
                "Ends the stream with this tag, or the one without",
                Self::cancel,
            ),
            command("quit", &[], "Closes the connection", Self::quit),
        ];
        for command in &mut commands {
            if matches!(command.declaration.name, "dae" | "whois") {
                command.declaration.reply = "credential";
            }
            if command.declaration.name == "options" {
                command.declaration.reply = "commands";
            }
            command.declaration.is_login = command.declaration.name == "auth";
        }
        commands
    }

    /// What holds for a guest of whom nothing is known, if this is one.
    fn of_newcomer(&self, guest: &Guest) -> Option<Newcomers> {
        self.admission.newcomers.filter(|_| !guest.is_authenticated())
    }

    /// The longest packet that is taken from a guest.
    pub(crate) fn packet_bytes(&self, guest: &Guest) -> usize {
        let usual = self.limits.packet_bytes;
        self.of_newcomer(guest).map_or(usual, |it| it.packet_bytes.min(usual))
    }

    /// How fast a guest may ask.
    pub(crate) fn rate(&self, guest: &Guest) -> Option<Rate> {
        self.of_newcomer(guest).map(|it| it.rate).or(self.admission.rate)
    }

    /// How long a guest may say nothing.
    pub(crate) fn idle(&self, guest: &Guest) -> Option<Duration> {
        self.of_newcomer(guest).map(|it| it.idle)
    }

    /// The argument is for proofs that this version does not give.
    fn dae(&self, _nonce: Option<Value>) -> Spread<Credential> {
        Spread(Credential {
            name: self.name.clone(),
            pid: process::id(),
            port: self.port(),
            secret: self.secret.clone(),
        })
    }

    fn options(&self) -> BTreeMap<&'static str, usize> {
        self.options.clone()
    }

    fn whois(&self) -> Whois {
        Whois {
            name: self.name.clone(),
            pid: process::id(),
            port: self.port(),
            secret: self.secret.clone(),
            created: self.created,
            more: self.more().clone(),
        }
    }

    pub(crate) fn introduce(&self, member: &str, value: Value) {
        self.more().insert(member.to_owned(), value);
    }

    fn more(&self) -> MutexGuard<'_, Map<String, Value>> {
        self.more.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hello(&self, guest: Guest, _client: Option<Value>) -> Value {
        json!({
            "proto": 1,
            "daemon": self.name,
            "version": self.version,
            "features": ["tags", "help", "streams", "auth", "ping"],
            "limits": {
                "packet": self.packet_bytes(&guest),
                "depth": self.limits.depth.min(Limits::DEEPEST),
                "pipeline": self.limits.pipeline,
                "result": self.limits.result_bytes,
            },
            "auth": self.auth,
            "authenticated": guest.is_authenticated(),
        })
    }

    fn help(&self, command: Option<String>) -> Result<BTreeMap<&'static str, Value>, Failure> {
        let Some(command) = command else { return Ok(self.help.clone()) };
        let (name, help) = self
            .help
            .get_key_value(command.as_str())
            .ok_or_else(|| Failure::not_found(format!("no command is called `{command}`")))?;
        Ok(BTreeMap::from([(*name, help.clone())]))
    }

    fn auth(&self, guest: Guest, token: String) -> Result<(), Failure> {
        let Some(file) = &self.token_file else {
            return Err(Failure::new("not-supported", "this daemon has no token"));
        };
        let expected = fs::read_to_string(file)?;
        let expected = expected.trim_ascii();
        if expected.is_empty() {
            return Err(Failure::internal(format!("`{}` holds no token", file.display())));
        }
        if equal_in_constant_time(expected, &token) {
            guest.authenticate();
            return Ok(());
        }
        self.note_wrong_token(&guest);
        Err(Failure::new("denied", "this is not the token"))
    }

    fn note_wrong_token(&self, guest: &Guest) {
        if let Some(unsaid) = self.wrong_tokens.note() {
            let address = guest.address().map(tracing::field::display);
            tracing::info!(guest = guest.id(), address, unsaid, "turned away: a wrong token");
        }
    }

    fn cancel(&self, guest: Guest, tag: Option<String>) -> Result<(), Failure> {
        match guest.outbox().cancel(tag.as_deref()) {
            true => Ok(()),
            false => Err(Failure::not_found("no such stream runs on this connection")),
        }
    }

    fn quit(&self, guest: Guest) {
        guest.quit();
    }

    /// `ping []` where there was no argument, or null.
    fn ping(&self, value: Option<Value>) -> Spread<Vec<Value>> {
        Spread(value.into_iter().collect())
    }

    fn port(&self) -> u16 {
        self.port.get().copied().unwrap_or_default()
    }
}

/// The time of day in ms since 1970.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn command<M>(
    name: &'static str,
    args: &[&str],
    help: &'static str,
    handler: impl crate::Handler<Common, M>,
) -> Command<Common> {
    let mut command = Command::new(name, handler);
    command.declaration.name_args(args);
    command.declaration.help = help;
    command
}

/// Takes as long for a token that is wrong at once as for one that is wrong at its end.
fn equal_in_constant_time(expected: &str, given: &str) -> bool {
    let (expected, given) = (expected.as_bytes(), given.as_bytes());
    let differing = expected.iter().zip(given).fold(0, |differing, (a, b)| differing | (a ^ b));
    expected.len() == given.len() && std::hint::black_box(differing) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_equal_or_not() {
        assert!(equal_in_constant_time("abc", "abc"));
        assert!(!equal_in_constant_time("abc", "abd"));
        assert!(!equal_in_constant_time("abc", "ab"));
        assert!(!equal_in_constant_time("abc", ""));
    }
}
