//! What a message says, as JSON text that all who are told it share.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{
    Value,
    value::{RawValue, to_raw_value},
};

/// JSON text on one line. Nobody here looks into it, so it is never more than its text, and a copy
/// is a pointer.
#[derive(Clone)]
pub struct Payload(Arc<RawValue>);

impl Payload {
    /// The text.
    pub fn as_str(&self) -> &str {
        self.0.get()
    }

    /// How many bytes it has.
    pub fn len(&self) -> usize {
        self.as_str().len()
    }

    /// Never: JSON has at least one byte.
    pub fn is_empty(&self) -> bool {
        self.as_str().is_empty()
    }
}

impl From<&Value> for Payload {
    fn from(value: &Value) -> Self {
        Self(to_raw_value(value).expect("a JSON value can be written").into())
    }
}

impl From<Value> for Payload {
    fn from(value: Value) -> Self {
        Self::from(&value)
    }
}

impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Payload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Payload {
    /// Line ends stand between values only, where a space means the same: what is told is a line.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let bytes = raw.get().as_bytes();
        if !bytes.contains(&b'\n') && !bytes.contains(&b'\r') {
            return Ok(Self(raw.into()));
        }
        let line = raw.get().replace(['\n', '\r'], " ");
        let raw = RawValue::from_string(line).map_err(serde::de::Error::custom)?;
        Ok(Self(raw.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stays_as_it_came_but_on_one_line() {
        for (text, expected) in
            [("{\"b\":1, \"a\":1.0}", "{\"b\":1, \"a\":1.0}"), ("[1,\r\n2]", "[1,  2]")]
        {
            let payload: Payload = serde_json::from_str(text).unwrap();
            assert_eq!((payload.as_str(), payload.len()), (expected, expected.len()));
            assert_eq!(serde_json::to_string(&payload).unwrap(), expected);
        }
        assert!(serde_json::from_str::<Payload>("[1,").is_err());
    }
}
