//! `--config FILE`: the flags of a daemon, in a file.

use std::{fs, io, path::PathBuf};

use clap::{Arg, ArgAction, Command};
use toml_edit::{DocumentMut, Item, TableLike, Value};

/// What a file sets: flags without their `--`, each with its values.
pub(crate) type Settings = Vec<(String, Vec<String>)>;

/// Why a file sets nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("cannot read `{}`", path.display())]
    Read { path: PathBuf, source: io::Error },

    #[error("`{}` is not TOML: {why}", path.display())]
    Toml { path: PathBuf, why: String },

    #[error("`{}`: unknown key `{key}`; keys are flags, as in `queue-bytes` or `queue.bytes`", path.display())]
    Unknown { path: PathBuf, key: String },

    #[error("`{}`: `{key}` takes one value, or several in `[]`", path.display())]
    Kind { path: PathBuf, key: String },
}

/// Reads the file that `command` is given, if it is given one; each of its keys is a flag of
/// `command`.
pub(crate) fn read(command: &Command, path: Option<&PathBuf>) -> Result<Settings, ConfigError> {
    let Some(path) = path else { return Ok(Vec::new()) };
    let read = |source| ConfigError::Read { path: path.clone(), source };
    let text = fs::read_to_string(path).map_err(read)?;
    let document: DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| {
        let why = error.message().to_owned();
        ConfigError::Toml { path: path.clone(), why }
    })?;
    let mut settings = Vec::new();
    collect(command, "", document.as_table(), &mut settings).map_err(|wrong| match wrong {
        Wrong::Unknown(key) => ConfigError::Unknown { path: path.clone(), key },
        Wrong::Kind(key) => ConfigError::Kind { path: path.clone(), key },
    })?;
    Ok(settings)
}

enum Wrong {
    Unknown(String),
    Kind(String),
}

/// `a.b = 1` and `a-b = 1` are the flag `--a-b 1`; a table whose own name is a flag, as in
/// `[tokens]`, gives that flag a value `key=value` for each of its keys, if it takes such pairs.
fn collect(
    command: &Command,
    prefix: &str,
    table: &dyn TableLike,
    settings: &mut Settings,
) -> Result<(), Wrong> {
    for (key, item) in table.iter() {
        let flag = format!("{prefix}{}", key.replace('_', "-"));
        match (item.as_table_like(), find(command, &flag)) {
            (Some(pairs), Some(arg)) if takes_pairs(arg) => {
                let pair = |(key, item): (&str, &Item)| Some(format!("{key}={}", text(item)?));
                let values: Option<Vec<_>> = pairs.iter().map(pair).collect();
                settings.push((flag.clone(), values.ok_or(Wrong::Kind(flag))?));
            }
            (Some(below), _) => collect(command, &format!("{flag}-"), below, settings)?,
            (None, None) => return Err(Wrong::Unknown(flag)),
            (None, Some(arg)) => {
                settings.push((flag.clone(), values(item, arg).ok_or(Wrong::Kind(flag))?));
            }
        }
    }
    Ok(())
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

    fn settings(toml: &str) -> Result<Settings, String> {
        let arg = |name| Arg::new(name).long(name);
        let command = Command::new("x")
            .args([arg("queue-bytes"), arg("quiet").action(ArgAction::SetTrue), arg("config")])
            .args(["token", "tokens"].map(|it| arg(it).action(ArgAction::Append)))
            .mut_arg("tokens", |it| it.value_name("DB=TOKEN"));
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.toml");
        fs::write(&path, toml).unwrap();
        read(&command, Some(&path)).map_err(|it| it.to_string())
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
            ("queu.bytes = 7", "unknown key `queu-bytes`"),
            ("token.my_db = \"c\"", "unknown key `token-my-db`"),
            ("config = \"other\"", "unknown key `config`"),
            ("queue-bytes = [1, 2]", "`queue-bytes` takes one value"),
            ("queue-bytes = 1979-05-27", "`queue-bytes` takes one value"),
            ("queue-bytes", "is not TOML"),
        ] {
            let said = settings(toml).unwrap_err();
            assert!(said.contains(why), "{toml}: {said}");
        }
    }
}
