//! What a commit leaves behind: enough to do it again, and to tell who watches.
//!
//! As JSON, because what it carries came as JSON and goes out as JSON: another form would be
//! converted twice. Nothing in it has to be decided again; replaying it asks nobody.

use serde::{Deserialize, Serialize};

use crate::{
    account::{Quota, Secret, Time, Token, TokenId},
    actor::SessionId,
    entry::{Entries, Entry, Who},
    history::History,
    level::Rank,
    name::UserName,
    node::Node,
    path::{Path, Segment},
    trigger::{Registration, RegistrationId},
};

/// The newest form that this code writes. It reads this one and all before it.
const VERSION: u8 = 2;

/// The form of a record that needs no newer one: an older program reads it.
const PLAIN: u8 = 1;

/// One commit. Its place in the journal is its revision.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// The form of it.
    #[serde(rename = "v")]
    version: u8,
    /// When it was decided.
    pub at: Time,
    /// The session that asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
    /// What was done, in order.
    pub acts: Vec<Act>,
}

/// A change with what its events tell of where it came from.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Act {
    /// What was done.
    #[serde(rename = "do")]
    pub change: Change,
    /// By whom; nobody for anonymous sessions and the server itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub src: Option<UserName>,
    /// What the asker called it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub req: Option<String>,
}

/// A change that was decided.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Change {
    /// A new node.
    Create {
        /// What contains it.
        path: Path,
        /// What it is called.
        name: Segment,
        /// What it is.
        value: Node,
        /// Who may do what with it from the first.
        #[serde(default, skip_serializing_if = "Entries::is_empty")]
        entries: Entries,
    },
    /// Another value.
    Update {
        /// Where.
        path: Path,
        /// What is there now.
        value: Node,
    },
    /// A merge patch.
    Merge {
        /// Where.
        path: Path,
        /// RFC 7396.
        patch: Node,
    },
    /// Nothing there any more.
    Delete {
        /// Where.
        path: Path,
    },
    /// Another entry, or none.
    Permit {
        /// Where.
        path: Path,
        /// For whom.
        who: Who,
        /// What it allows.
        entry: Option<Entry>,
    },
    /// A new registration.
    Register {
        /// How it is called.
        id: RegistrationId,
        /// What it is.
        registration: Registration,
    },
    /// A registration gone: taken back, or fired.
    Unregister {
        /// Which.
        id: RegistrationId,
    },
    /// An account, new or with another password or rank.
    Account {
        /// Whose.
        user: UserName,
        /// What kind of user.
        rank: Rank,
        /// The hash of the password.
        password: Option<Secret>,
        /// The password is another: what was opened with the old one ends.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        is_new_password: bool,
    },
    /// An account gone, with tokens, entries and registrations.
    DeleteUser {
        /// Whose.
        user: UserName,
    },
    /// A new token.
    Token {
        /// How it is called.
        id: TokenId,
        /// What it is.
        token: Token,
    },
    /// A token gone.
    RevokeToken {
        /// Which.
        id: TokenId,
    },
    /// Another quota, or the usual one.
    Quota {
        /// Where.
        path: Path,
        /// How much.
        quota: Option<Quota>,
    },
    /// Another history goes on from here, whatever had come after this in the one before.
    Begin {
        /// Which.
        history: History,
    },
}

/// Why bytes are not a record.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// They are none at all.
    #[error("cannot read a record")]
    Unreadable(#[from] serde_json::Error),
    /// They were written by something newer.
    #[error("a record has version {0}, this program reads up to {VERSION}")]
    Version(u8),
}

impl Record {
    /// A record of `acts`.
    pub fn new(at: Time, session: Option<SessionId>, acts: Vec<Act>) -> Self {
        // A history was not known to the first form.
        let is_new = acts.iter().any(|it| matches!(it.change, Change::Begin { .. }));
        Self { version: if is_new { VERSION } else { PLAIN }, at, session, acts }
    }

    /// The bytes of it.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.append_to(&mut bytes);
        bytes
    }

    /// The same behind what is in `bytes`.
    pub fn append_to(&self, bytes: &mut Vec<u8>) {
        serde_json::to_writer(bytes, self).expect("every part of a record can be written as JSON");
    }

    /// The record that `bytes` are of.
    ///
    /// # Errors
    /// If they are of none, or of a newer program.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        /// Alone, so that a newer form is known as such even if nothing else can be read.
        #[derive(Deserialize)]
        struct Version {
            v: u8,
        }
        let Version { v } = serde_json::from_slice(bytes)?;
        if v > VERSION {
            return Err(RecordError::Version(v));
        }
        Ok(serde_json::from_slice(bytes)?)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::{
        fixture::{World, node, path, step},
        node::Kind,
    };

    proptest! {
        /// What is read again after a restart is the number that was acknowledged, to the bit.
        #[test]
        fn every_number_comes_back_as_it_was(bits in any::<u64>()) {
            let number = f64::from_bits(bits);
            prop_assume!(number.is_finite());
            let change = Change::Update { path: path("a"), value: node(json!(number)) };
            let record = Record::new(0, None, vec![Act { change, src: None, req: None }]);
            let record = Record::decode(&record.encode()).unwrap();
            let Change::Update { value, .. } = &record.acts[0].change else { unreachable!() };
            let Kind::Number(found) = value.kind() else { unreachable!() };
            prop_assert_eq!(found.as_f64().unwrap().to_bits(), bits);
        }
    }

    #[test]
    fn a_record_is_short_and_plain() {
        let world = World::with(json!({}), &[("", "bob:4")]);
        let update = step(json!(["update", "a/b", {"x": 1}, {"req": "r"}]));
        let record = world.would("bob", update).unwrap().record.unwrap();
        let expected = r#"{"v":1,"at":1000,"session":"bob","acts":[{"do":{"update":{"path":["a","b"],"value":{"x":1}}},"src":"bob","req":"r"}]}"#;
        assert_eq!(String::from_utf8(record.encode()).unwrap(), expected);
    }

    #[test]
    fn what_a_newer_program_wrote_is_known_as_such() {
        let change = Change::Begin { history: History::new("h".to_owned()) };
        let begin = Record::new(1, None, vec![Act { change, src: None, req: None }]).encode();
        assert!(begin.starts_with(br#"{"v":2,"#), "the first form has no histories");
        let newer = br#"{"v":3,"whatever":[]}"#;
        assert!(matches!(Record::decode(newer), Err(RecordError::Version(3))));
        for bytes in [&b"{}"[..], b"", br#"{"v":1,"at":1,"acts":[{"do":{"fly":{}}}]}"#] {
            assert!(matches!(Record::decode(bytes), Err(RecordError::Unreadable(_))));
        }
    }
}
