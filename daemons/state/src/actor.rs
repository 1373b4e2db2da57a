//! Who asks.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize, Serializer};

use crate::{
    name::{NamePattern, UserName},
    permission::Cap,
};

/// Tells one session from all others, over restarts and nodes too: whoever makes sessions sees to
/// that. The core only compares it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(from = "String")]
pub struct SessionId(Arc<str>);

impl Serialize for SessionId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl From<&str> for SessionId {
    fn from(id: &str) -> Self {
        Self(id.into())
    }
}

impl From<String> for SessionId {
    fn from(id: String) -> Self {
        Self(id.into())
    }
}

impl From<SessionId> for String {
    fn from(id: SessionId) -> Self {
        id.0.as_ref().to_owned()
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a service token lets a daemon do for users.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Users that it may make and remove, and open sessions as.
    pub service: Vec<NamePattern>,
    /// Users as whom it may have single operations judged.
    #[serde(rename = "as")]
    pub acting_as: Vec<NamePattern>,
}

impl Service {
    /// Whether it may make and remove `user`.
    pub fn serves(&self, user: &UserName) -> bool {
        self.service.iter().any(|it| it.matches(user))
    }

    /// Whether it may act as `user`.
    pub fn acts_as(&self, user: &UserName) -> bool {
        self.acting_as.iter().any(|it| it.matches(user))
    }
}

/// Who asks for something: a session, or the server itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Actor {
    /// As whom the session is logged in.
    pub user: Option<UserName>,
    /// The session; none for the server itself.
    pub session: Option<SessionId>,
    /// Of the token by which it came.
    pub cap: Option<Cap>,
    /// Of the service token by which it came.
    pub service: Option<Service>,
}

impl Actor {
    /// The server itself, for what follows from earlier commands.
    pub fn server() -> Self {
        Self::default()
    }

    /// An anonymous session.
    pub fn anonymous(session: SessionId) -> Self {
        Self { session: Some(session), ..Self::default() }
    }

    /// A session of `user`, logged in by password.
    pub fn user(user: UserName, session: SessionId) -> Self {
        Self { user: Some(user), session: Some(session), ..Self::default() }
    }

    /// Whether nobody asked but the server.
    pub fn is_server(&self) -> bool {
        self.session.is_none()
    }
}
