//! How the value of each key stands in JSON. By hand, so that an error says what was wanted.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use serde_json::Value;

use super::{
    socket::{HeldSocket, HeldSockets},
    value::{
        Backoff, DURATION, GiveUp, Leftovers, LogFull, Ready, Restart, SIZE, Size, StopSignal,
        ValueError, parse_duration, print_duration,
    },
};
use crate::name::Name;

/// What may be the value of a key.
pub(super) trait Member: Sized {
    /// Reads it. Null never comes here.
    fn read(value: &Value) -> Result<Self, ValueError>;

    /// The JSON that [`read`](Self::read) understands; null if there is none.
    fn print(&self) -> Value;
}

fn wrong(wanted: &'static str, value: &Value) -> ValueError {
    let found = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    ValueError { wanted, found }
}

/// Members that are a text in JSON: read by the first function, printed by the second.
macro_rules! texts {
    ($($type:ty: $wanted:expr, $read:expr, $print:expr;)+) => {
        $(impl Member for $type {
            fn read(value: &Value) -> Result<Self, ValueError> {
                let text = value.as_str().ok_or_else(|| wrong($wanted, value))?;
                $read(text)
            }

            fn print(&self) -> Value {
                Value::String($print(self))
            }
        })+
    };
}

texts! {
    String: "text", |it: &str| without_nul(it), String::clone;
    PathBuf: "an absolute path", absolute, |it: &Self| it.to_string_lossy().into_owned();
    Name: "the name of a daemon", name, ToString::to_string;
    Duration: DURATION, parse_duration, |it: &Self| print_duration(*it);
    Size: SIZE, str::parse, ToString::to_string;
    Restart: Self::WANTED, str::parse, ToString::to_string;
    Backoff: Self::WANTED, str::parse, ToString::to_string;
    GiveUp: Self::WANTED, str::parse, ToString::to_string;
    StopSignal: Self::WANTED, str::parse, ToString::to_string;
    Ready: Self::WANTED, str::parse, ToString::to_string;
    LogFull: Self::WANTED, str::parse, ToString::to_string;
    HeldSocket: Self::WANTED, str::parse, ToString::to_string;
    Leftovers: Self::WANTED, str::parse, ToString::to_string;
}

fn without_nul(text: &str) -> Result<String, ValueError> {
    let wanted = "text without NUL";
    if text.contains('\0') { Err(ValueError::new(wanted, text)) } else { Ok(text.to_owned()) }
}

fn absolute(text: &str) -> Result<PathBuf, ValueError> {
    let path = PathBuf::from(without_nul(text)?);
    if path.is_absolute() { Ok(path) } else { Err(ValueError::new("an absolute path", text)) }
}

fn name(text: &str) -> Result<Name, ValueError> {
    Name::new(text).map_err(|_| ValueError::new("the name of a daemon", text))
}

/// Members that are a whole number in JSON.
macro_rules! numbers {
    ($($type:ty, $range:expr, $wanted:literal;)+) => {
        $(impl Member for $type {
            fn read(value: &Value) -> Result<Self, ValueError> {
                let number = value.as_u64().filter(|it| $range.contains(it));
                number.and_then(|it| it.try_into().ok()).ok_or_else(|| wrong($wanted, value))
            }

            fn print(&self) -> Value {
                Value::from(*self)
            }
        })+
    };
}

numbers! {
    u8, (0..=255), "an exit code from 0 to 255";
    u16, (1..=65535), "a port from 1 to 65535";
    u32, (0..=u64::from(u32::MAX)), "a whole number";
}

impl Member for bool {
    fn read(value: &Value) -> Result<Self, ValueError> {
        value.as_bool().ok_or_else(|| wrong("true or false", value))
    }

    fn print(&self) -> Value {
        Value::Bool(*self)
    }
}

impl<T: Member> Member for Option<T> {
    fn read(value: &Value) -> Result<Self, ValueError> {
        T::read(value).map(Some)
    }

    fn print(&self) -> Value {
        self.as_ref().map_or(Value::Null, T::print)
    }
}

impl<T: Member> Member for Vec<T> {
    fn read(value: &Value) -> Result<Self, ValueError> {
        let items = value.as_array().ok_or_else(|| wrong("a list of texts", value))?;
        items.iter().map(T::read).collect()
    }

    fn print(&self) -> Value {
        self.iter().map(T::print).collect()
    }
}

impl Member for HeldSockets {
    fn read(value: &Value) -> Result<Self, ValueError> {
        Vec::read(value).and_then(Self::new)
    }

    fn print(&self) -> Value {
        self.iter().map(HeldSocket::print).collect()
    }
}

impl Member for BTreeMap<String, String> {
    fn read(value: &Value) -> Result<Self, ValueError> {
        let object = value.as_object().ok_or_else(|| wrong("an object of variables", value))?;
        object.iter().map(|(key, value)| Ok((variable(key)?, String::read(value)?))).collect()
    }

    fn print(&self) -> Value {
        self.iter().map(|(key, value)| (key.clone(), value.print())).collect()
    }
}

fn variable(name: &str) -> Result<String, ValueError> {
    let wanted = "a variable's name without `=`";
    if name.is_empty() || name.contains('=') {
        return Err(ValueError::new(wanted, name));
    }
    without_nul(name)
}
