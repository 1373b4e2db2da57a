//! `--config FILE`: the flags of a daemon, in a file.

use std::{error::Error, fs, io, path::PathBuf};

use clap::{
    Arg, ArgAction, Command,
    error::{ContextKind, ContextValue},
};
use toml_edit::{Document, Item, Key, TableLike, Value};

/// What a file sets.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    path: PathBuf,
    pub(crate) all: Vec<Setting>,
}

/// A flag without its `--`, with its values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Setting {
    pub(crate) flag: String,
    pub(crate) values: Vec<String>,
    /// Where it is set.
    line: usize,
}

/// Why a file sets nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("cannot read `{}`", path.display())]
    Read { path: PathBuf, source: io::Error },

    #[error("`{}`, line {line}: this is not TOML: {why}", path.display())]
    Toml { path: PathBuf, line: usize, why: String },

    #[error("`{}`, line {line}: {wrong}", path.display())]
    Key { path: PathBuf, line: usize, wrong: Wrong },

    /// Not of a file: of what else sets a flag.
    #[error("`{by}`: {wrong}")]
    Elsewhere { by: String, wrong: Wrong },
}

/// What is wrong with a key.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Wrong {
    #[error("unknown key `{0}`; keys are flags, as in `queue-bytes` or `queue.bytes`")]
    Unknown(String),

    #[error("`{0}` takes one value, or several in `[]`")]
    Kind(String),

    #[error("`{key}` can't be `{value}`: {why}")]
    Value { key: String, value: String, why: String },
}

/// Something wrong, and after how many bytes of the file.
type WrongAt = (Wrong, usize);

/// Reads the file that `command` is given, if it is given one; each of its keys is a flag of
/// `command`.
pub(crate) fn read(command: &Command, path: Option<&PathBuf>) -> Result<Settings, ConfigError> {
    let Some(path) = path else { return Ok(Settings::default()) };
    let read = |source| ConfigError::Read { path: path.clone(), source };
    let text = fs::read_to_string(path).map_err(read)?;
    let document = Document::parse(&*text).map_err(|error| {
        let line = line(&text, error.span().unwrap_or_default().start);
        ConfigError::Toml { path: path.clone(), line, why: why(error.message()) }
    })?;
    let mut all = Vec::new();
    let mut set = |flag, values, at| all.push(Setting { flag, values, line: line(&text, at) });
    collect(command, "", document.as_table(), &mut set).map_err(|(wrong, at)| {
        ConfigError::Key { path: path.clone(), line: line(&text, at), wrong }
    })?;
    Ok(Settings { path: path.clone(), all })
}

impl Settings {
    /// The line that sets what was refused, if it is one of these.
    pub(crate) fn line_of(&self, refused: &Refused) -> Option<usize> {
        let is_it = |it: &&Setting| it.flag == refused.flag && it.values.contains(&refused.value);
        self.all.iter().find(is_it).map(|it| it.line)
    }
}

/// A value that a flag can't have.
#[derive(Debug)]
pub(crate) struct Refused {
    /// Without `--`.
    pub(crate) flag: String,
    value: String,
    why: String,
}

impl Refused {
    /// What clap refuses, if that is a value.
    pub(crate) fn of(error: &clap::Error) -> Option<Self> {
        let said = |kind| match error.get(kind)? {
            ContextValue::String(said) => Some(said.clone()),
            _ => None,
        };
        let (arg, value) = (said(ContextKind::InvalidArg)?, said(ContextKind::InvalidValue)?);
        let flag = arg.split_whitespace().next()?.strip_prefix("--")?.to_owned();
        let why = error.source().map_or_else(|| wanted(error), ToString::to_string);
        Some(Self { flag, value, why })
    }

    /// A line of a file has set it.
    pub(crate) fn set_at(self, file: &Settings, line: usize) -> ConfigError {
        let Self { flag: key, value, why } = self;
        ConfigError::Key { path: file.path.clone(), line, wrong: Wrong::Value { key, value, why } }
    }

    /// Something else has, a variable for instance.
    pub(crate) fn set_by(self, by: String) -> ConfigError {
        let Self { flag, value, why } = self;
        let key = format!("--{flag}");
        ConfigError::Elsewhere { by, wrong: Wrong::Value { key, value, why } }
    }
}

/// What could have been said in place of what was refused.
fn wanted(refused: &clap::Error) -> String {
    match refused.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(all)) => format!("wanted {}", all.join(" or ")),
        _ => refused.kind().to_string(),
    }
}

/// Why something is no TOML. There a key has a value or keys below it, and flags know no such rule.
fn why(message: &str) -> String {
    let message = message.lines().collect::<Vec<_>>().join(", ");
    let is_twice = ["duplicate key", "dotted key"].iter().any(|it| message.contains(it));
    let other = "; beside `a = …` write `a-b = …` for `a.b = …`";
    if is_twice { message + other } else { message }
}

/// The number of the line that has the byte at `at`.
fn line(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|it| *it == b'\n').count()
}

/// `a.b = 1` and `a-b = 1` are the flag `--a-b 1`; a table whose own name is a flag, as in
/// `[tokens]`, gives that flag a value `key=value` for each of its keys, if it takes such pairs.
fn collect(
    command: &Command,
    prefix: &str,
    table: &dyn TableLike,
    set: &mut impl FnMut(String, Vec<String>, usize),
) -> Result<(), WrongAt> {
    for (key, item) in table.iter() {
        let (flag, at) = (format!("{prefix}{}", key.replace('_', "-")), start(table, key));
        match (item.as_table_like(), find(command, &flag)) {
            (Some(pairs), Some(arg)) if takes_pairs(arg) => {
                let pair = |(key, item): (&str, &Item)| {
                    let wrong = || (Wrong::Kind(flag.clone()), start(pairs, key));
                    Ok(format!("{key}={}", text(item).ok_or_else(wrong)?))
                };
                let values: Result<_, WrongAt> = pairs.iter().map(pair).collect();
                set(flag.clone(), values?, at);
            }
            (Some(below), _) => collect(command, &format!("{flag}-"), below, set)?,
            (None, None) => return Err((Wrong::Unknown(flag), at)),
            (None, Some(arg)) => match values(item, arg) {
                Some(values) => set(flag, values, at),
                None => return Err((Wrong::Kind(flag), at)),
            },
        }
    }
    Ok(())
}

/// Where a key of `table` stands.
fn start(table: &dyn TableLike, key: &str) -> usize {
    table.key(key).and_then(Key::span).unwrap_or_default().start
}

/// Whether its values are pairs, as in `DB=TOKEN`.
fn takes_pairs(arg: &Arg) -> bool {
    arg.get_value_names().is_some_and(|names| names.iter().any(|it| it.contains('=')))
}

/// The flag of that name, if a file may set it: one can't name another file.
fn find<'a>(command: &'a Command, flag: &str) -> Option<&'a Arg> {
    let is_it = |arg: &&Arg| arg.get_long() == Some(flag);
    command.get_arguments().find(is_it).filter(|_| flag != "config")
}

fn values(item: &Item, arg: &Arg) -> Option<Vec<String>> {
    match item.as_array() {
        Some(all) if matches!(arg.get_action(), ArgAction::Append) => {
            all.iter().map(value_text).collect()
        }
        Some(_) => None,
        None => Some(vec![text(item)?]),
    }
}

fn text(item: &Item) -> Option<String> {
    value_text(item.as_value()?)
}

fn value_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.value().clone()),
        Value::Integer(number) => Some(number.value().to_string()),
        Value::Float(number) => Some(number.value().to_string()),
        Value::Boolean(is) => Some(is.value().to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(toml: &str) -> Result<Vec<(String, Vec<String>)>, String> {
        let arg = |name| Arg::new(name).long(name);
        let command = Command::new("x")
            .args([arg("queue-bytes"), arg("quiet").action(ArgAction::SetTrue), arg("config")])
            .args(["token", "tokens"].map(|it| arg(it).action(ArgAction::Append)))
            .mut_arg("tokens", |it| it.value_name("DB=TOKEN"));
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.toml");
        fs::write(&path, toml).unwrap();
        let read = read(&command, Some(&path)).map_err(|it| it.to_string())?;
        Ok(read.all.into_iter().map(|it| (it.flag, it.values)).collect())
    }

    #[test]
    fn each_key_is_a_flag() {
        for toml in
            ["queue.bytes = 7", "[queue]\nbytes = \"7\"", "queue-bytes = 7", "queue_bytes = 7"]
        {
            let expected = vec![("queue-bytes".to_owned(), vec!["7".to_owned()])];
            assert_eq!(settings(toml), Ok(expected), "{toml}");
        }
        let all =
            settings("quiet = true\ntoken = [\"a\", \"b\"]\n[tokens]\nmy_db = \"c\"").unwrap();
        let found: Vec<_> = all.iter().map(|(key, values)| (&**key, values.join(" "))).collect();
        let expected = [("quiet", "true"), ("token", "a b"), ("tokens", "my_db=c")];
        assert_eq!(found, expected.map(|(key, value)| (key, value.to_owned())));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (toml, why) in [
            ("queu.bytes = 7", "x.toml`, line 1: unknown key `queu-bytes`"),
            ("\n\ntoken.my_db = \"c\"", "x.toml`, line 3: unknown key `token-my-db`"),
            ("quiet = true\nconfig = \"other\"", "line 2: unknown key `config`"),
            ("# ä\n[queue]\n\nbytes = [1, 2]", "line 4: `queue-bytes` takes one value"),
            ("queue-bytes = 1979-05-27", "line 1: `queue-bytes` takes one value"),
            ("[tokens]\na = \"b\"\nc = []\n", "line 3: `tokens` takes one value"),
            ("quiet = true\nqueue-bytes", "x.toml`, line 2: this is not TOML: "),
            ("quiet = true\nqueue-bytes = \"7\n", "x.toml`, line 2: this is not TOML: "),
            ("quiet = true\n\nquiet = true\n", "x.toml`, line 3: this is not TOML: "),
            ("queue = 1\nqueue.bytes = 7", "line 2: this is not TOML: cannot extend"),
            ("queue = 1\nqueue.bytes = 7", "; beside `a = …` write `a-b = …` for `a.b = …`"),
            ("queue.bytes = 7\nqueue = 1", "; beside `a = …` write `a-b = …` for `a.b = …`"),
            ("queue = 1\n[queue]\nbytes = 7", "; beside `a = …` write `a-b = …` for `a.b = …`"),
        ] {
            let said = settings(toml).unwrap_err();
            assert!(said.contains(why), "{toml}: {said}");
        }
    }
}
