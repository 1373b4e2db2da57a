//! What is known about one daemon: which program, with what around it, and what to do when it ends.
//!
//! The same keys and texts stand in the flags of `install`, in the registry and on the wire;
//! [`KEYS`] is the one list of them. Knows no file but in [`resolve_program`], and no process at
//! all.

mod member;
mod program;
mod socket;
mod value;

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use serde_json::{Map, Value};

use self::member::Member;
pub(crate) use self::value::printable;
pub use self::{
    program::{ProgramError, resolve_program, warning_if_writable_by_others},
    socket::{HeldSocket, HeldSockets},
    value::{
        Backoff, GiveUp, Leftovers, LogFull, Ready, Restart, Size, StopSignal, ValueError, about,
        parse_duration, print_duration,
    },
};
use crate::name::{Name, nearest};

/// One daemon, as `install` describes it. How each value is written: the types of `value.rs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    /// The program, absolute; symbolic links are kept, so that a link may be turned to a newer
    /// version.
    pub program: PathBuf,
    /// What the program is called with, its own name not counted. No shell ever sees them.
    pub args: Vec<String>,
    /// Variables on top of all others but the manager's own.
    pub env: BTreeMap<String, String>,
    /// A file of variables, read again at each start; absolute.
    pub env_file: Option<PathBuf>,
    /// Whether the environment begins empty instead of with the manager's `PATH`, `HOME` and the
    /// like.
    pub clean_env: bool,
    /// Where it runs, absolute; without it, where the manager decides.
    pub cwd: Option<PathBuf>,
    /// Whether it comes back after it ended by itself.
    pub restart: Restart,
    /// Exit codes beside 0 that mean that all went well.
    pub success_codes: Vec<u8>,
    /// How long to wait between attempts.
    pub backoff: Backoff,
    /// How long it must be ready until its failures are forgotten and its next crash restarts it at
    /// once.
    pub stable: Duration,
    /// When to give up; without it, never.
    pub give_up: Option<GiveUp>,
    /// Who should be ready before it starts.
    pub after: Vec<Name>,
    /// Who must be there as long as it is.
    pub needs: Vec<Name>,
    /// Whose return restarts it too.
    pub follows: Vec<Name>,
    /// What asks it to end.
    pub stop_signal: StopSignal,
    /// How long it may take to end before it is killed.
    pub grace: Duration,
    /// How long it may take to become ready.
    pub start_timeout: Duration,
    /// How it shows that it is ready.
    pub ready: Ready,
    /// The port that it is told to listen on; without it, it takes a free one.
    pub port: Option<u16>,
    /// What is listened on for it, also while no process of it lives.
    pub sockets: HeldSockets,
    /// How large a log file becomes before a new one is begun.
    pub log_max: Size,
    /// How many old log files are kept.
    pub log_keep: u32,
    /// What becomes of its output while the disk is full.
    pub log_full: LogFull,
    /// What becomes of what it leaves behind.
    pub leftovers: Leftovers,
    /// Whether `up` starts it.
    pub enabled: bool,
}

impl Definition {
    /// A daemon with nothing but its program; everything else as `install` has it without flags.
    pub fn new(program: PathBuf) -> Self {
        Self {
            program,
            args: vec![],
            env: BTreeMap::new(),
            env_file: None,
            clean_env: false,
            cwd: None,
            restart: Restart::Always,
            success_codes: vec![],
            backoff: Backoff { base: Duration::from_millis(100), cap: Duration::from_secs(30) },
            stable: Duration::from_secs(10),
            give_up: None,
            after: vec![],
            needs: vec![],
            follows: vec![],
            stop_signal: StopSignal::TERM,
            grace: Duration::from_secs(10),
            start_timeout: Duration::from_secs(10),
            ready: Ready::Dae,
            port: None,
            sockets: HeldSockets::default(),
            log_max: Size(10 << 20),
            log_keep: 10,
            log_full: LogFull::BLOCK,
            leftovers: Leftovers::Kill,
            enabled: true,
        }
    }
}

/// Writes the list of keys into everything that goes through all of them.
macro_rules! keys {
    ($($key:ident),+ $(,)?) => {
        /// Every key of a definition: the flags of `install` in snake_case, and `program`, `args`,
        /// `enabled`.
        pub const KEYS: &[&str] = &[$(stringify!($key)),+];

        impl Definition {
            /// The value of each key, in the order of [`KEYS`]. What is not set is null.
            fn members(&self) -> Vec<(&'static str, Value)> {
                vec![$((stringify!($key), self.$key.print())),+]
            }

            /// Sets one key. Null sets it back to what it is without a flag.
            fn set(&mut self, key: &str, value: &Value) -> Result<(), DefinitionError> {
                let wrong = |key, source| DefinitionError::Value { key, source };
                if value.is_null() {
                    return self.reset(key);
                }
                match key {
                    $(stringify!($key) => {
                        self.$key = Member::read(value).map_err(|it| wrong(stringify!($key), it))?;
                    })+
                    _ => return Err(DefinitionError::unknown(key)),
                }
                Ok(())
            }

            fn reset(&mut self, key: &str) -> Result<(), DefinitionError> {
                let fresh = Self::new(self.program.clone());
                match key {
                    "program" => return Err(DefinitionError::NoProgram),
                    $(stringify!($key) => self.$key = fresh.$key,)+
                    _ => return Err(DefinitionError::unknown(key)),
                }
                Ok(())
            }
        }
    };
}

keys! {
    program, args, env, env_file, clean_env, cwd,
    restart, success_codes, backoff, stable, give_up,
    after, needs, follows,
    stop_signal, grace, start_timeout, ready, port, sockets,
    log_max, log_keep, log_full, leftovers, enabled,
}

impl Definition {
    /// Reads the object that travels over the wire. A key that is absent or null takes its default.
    ///
    /// # Errors
    /// [`DefinitionError`] names the key: an unknown one, one with a wrong value, or `program` if
    /// it is missing.
    pub fn from_json(object: &Map<String, Value>) -> Result<Self, DefinitionError> {
        let mut definition = Self::new(PathBuf::new());
        for (key, value) in object {
            definition.set(key, value)?;
        }
        if definition.program.as_os_str().is_empty() {
            return Err(DefinitionError::NoProgram);
        }
        Ok(definition)
    }

    /// The object that [`from_json`](Self::from_json) reads, with every key; what is not set is
    /// null.
    pub fn to_json(&self) -> Map<String, Value> {
        self.members().into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }

    /// What differs from a definition with nothing but the program, and the program; in the order
    /// of [`KEYS`].
    pub fn told(&self) -> Vec<(&'static str, Value)> {
        let silent = Self::new(PathBuf::new()).members();
        let told = self.members().into_iter().zip(silent);
        told.filter(|(own, silent)| own != silent).map(|(own, _)| own).collect()
    }
}

/// A part of a definition, as `edit` sends it: a JSON merge patch (RFC 7396).
///
/// A key that is absent stays as it is, null sets it back to its default, lists are replaced as a
/// whole; in `env` each variable stands for itself, and null removes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change(Map<String, Value>);

impl Change {
    /// Checks every key and value, so that applying cannot fail.
    ///
    /// # Errors
    /// As [`Definition::from_json`]; null for `program` is one too, since it has no default.
    pub fn from_json(object: Map<String, Value>) -> Result<Self, DefinitionError> {
        let change = Self(object);
        change.try_apply(&mut Definition::new(PathBuf::new()))?;
        Ok(change)
    }

    /// Whether it says anything at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What it says, for the history.
    pub fn as_json(&self) -> &Map<String, Value> {
        &self.0
    }

    /// Puts the change over `definition`.
    pub fn apply(&self, definition: &mut Definition) {
        self.try_apply(definition).expect("a change is checked when it is made");
    }

    fn try_apply(&self, definition: &mut Definition) -> Result<(), DefinitionError> {
        self.0.iter().try_for_each(|(key, value)| match value {
            Value::Object(variables) if key == "env" => patch(definition, variables),
            _ => definition.set(key, value),
        })
    }
}

fn patch(
    definition: &mut Definition,
    variables: &Map<String, Value>,
) -> Result<(), DefinitionError> {
    let Value::Object(mut env) = definition.env.print() else { unreachable!("env is an object") };
    env.extend(variables.clone());
    env.retain(|_, value| !value.is_null());
    definition.set("env", &Value::Object(env))
}

/// Why an object is no definition, or no change of one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DefinitionError {
    /// There is no such key.
    #[error("no setting is called `{}`{}", printable(key), did_you_mean(*nearest))]
    Unknown {
        /// What was given.
        key: String,
        /// What may have been meant.
        nearest: Option<&'static str>,
    },

    /// The one key without a default is absent, or was to be unset.
    #[error("`program` is missing: the absolute path of what to run")]
    NoProgram,

    /// A value that the key cannot have.
    #[error("`{key}` cannot be that")]
    Value {
        /// Which key.
        key: &'static str,
        /// What it takes, and what came.
        source: ValueError,
    },
}

impl DefinitionError {
    fn unknown(key: &str) -> Self {
        let nearest = nearest(key, KEYS.iter().copied()).first().copied();
        Self::Unknown { key: key.to_owned(), nearest }
    }
}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |it| format!("; did you mean `{it}`?"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        serde_json::from_value(value).unwrap()
    }

    fn read(value: Value) -> Result<Definition, DefinitionError> {
        Definition::from_json(&object(value))
    }

    fn full() -> Value {
        json!({
            "program": "/bin/sample", "args": ["--x", "y z"], "env": {"A": "1", "B": ""},
            "env_file": "/etc/sample.env", "clean_env": true, "cwd": "/srv",
            "restart": "on-failure", "success_codes": [3, 4], "backoff": "1s..1m", "stable": "5s",
            "give_up": "10/1m", "after": ["State"], "needs": ["Relay"], "follows": ["Gateway"],
            "stop_signal": "INT", "grace": "2s", "start_timeout": "500ms", "ready": "delay=3s",
            "port": 8080, "sockets": ["ws=127.0.0.1:9163", "[::1]:9000"], "log_max": "1M", "log_keep": 3, "log_full": "drop",
            "leftovers": "keep", "enabled": false,
        })
    }

    #[test]
    fn an_object_with_every_key_comes_back_as_it_was() {
        let definition = read(full()).unwrap();
        assert_eq!(Value::Object(definition.to_json()), full());
        assert_eq!(full().as_object().unwrap().len(), KEYS.len());
        assert_eq!(definition.told().len(), KEYS.len());
    }

    #[test]
    fn the_program_alone_is_a_definition() {
        let definition = read(json!({"program": "/bin/sample"})).unwrap();
        assert_eq!(definition, Definition::new("/bin/sample".into()));
        assert_eq!(definition.told(), [("program", json!("/bin/sample"))]);
        assert_eq!(Definition::from_json(&definition.to_json()), Ok(definition));
    }

    #[test]
    fn a_wrong_object_is_answered_by_the_key_and_what_it_takes() {
        let said = |value| {
            let error = read(value).unwrap_err();
            let source =
                std::error::Error::source(&error).map_or(String::new(), |it| it.to_string());
            format!("{error}: {source}")
        };
        assert_eq!(
            said(json!({"gracee": "1s"})),
            "no setting is called `gracee`; did you mean `grace`?: "
        );
        assert_eq!(said(json!({"colour": 1})), "no setting is called `colour`: ");
        assert!(said(json!({})).starts_with("`program` is missing"));
        assert!(said(json!({"program": null})).starts_with("`program` is missing"));
        for (key, value, wanted) in [
            ("program", json!("sample"), "expected an absolute path, got `sample`"),
            ("program", json!(7), "expected an absolute path, got `7`"),
            ("args", json!("x"), "expected a list of texts, got `x`"),
            ("args", json!(["a\0"]), "expected text without NUL, got `a\\u{0}`"),
            ("env", json!({"A=B": "x"}), "expected a variable's name without `=`, got `A=B`"),
            ("env", json!(["A=B"]), "expected an object of variables, got `[\"A=B\"]`"),
            ("port", json!(0), "expected a port from 1 to 65535, got `0`"),
            ("port", json!(70_000), "expected a port from 1 to 65535, got `70000`"),
            (
                "sockets",
                json!(["ws=0"]),
                "expected a port such as `9163`, `ws=9163` or `ws=[::1]:9163`, got `ws=0`",
            ),
            (
                "sockets",
                json!(["1", "2"]),
                "expected at most 16 sockets, no two at one address, and one without a label, got \
                 `127.0.0.1:1 127.0.0.1:2`",
            ),
            ("log_keep", json!(-1), "expected a whole number, got `-1`"),
            ("success_codes", json!([256]), "expected an exit code from 0 to 255, got `256`"),
            ("enabled", json!("yes"), "expected true or false, got `yes`"),
            ("needs", json!(["a b"]), "expected the name of a daemon, got `a b`"),
            (
                "grace",
                json!(10),
                "expected a duration such as `500ms`, `10s`, `5m` or `1h`, got `10`",
            ),
        ] {
            let mut given = json!({"program": "/p"});
            given[key] = value;
            assert_eq!(said(given), format!("`{key}` cannot be that: {wanted}"));
        }
    }

    #[test]
    fn a_change_touches_only_what_it_names() {
        let mut definition = read(full()).unwrap();
        let change = json!({"grace": "1h", "args": [], "port": null, "env": {"A": null, "C": "3"}});
        Change::from_json(object(change)).unwrap().apply(&mut definition);

        let mut expected = full();
        expected["grace"] = json!("1h");
        expected["args"] = json!([]);
        expected["port"] = json!(null);
        expected["env"] = json!({"B": "", "C": "3"});
        assert_eq!(Value::Object(definition.to_json()), expected);
    }

    #[test]
    fn a_change_that_would_not_fit_is_refused_before_it_is_applied() {
        for wrong in [
            json!({"gracee": "1s"}),
            json!({"program": null}),
            json!({"env": {"A": 1}}),
            json!({"env": {"": "x"}}),
            json!({"restart": "sometimes"}),
        ] {
            assert!(Change::from_json(object(wrong.clone())).is_err(), "{wrong}");
        }
        assert!(Change::from_json(Map::new()).unwrap().is_empty());
    }
}
