//! All sessions that are logged in, so that those of a user can be ended.

use std::collections::BTreeMap;

use daemon::Guest;
use state::{account::TokenId, actor::SessionId, name::UserName};

use super::visitor::Login;

/// Who is logged in.
#[derive(Debug, Default)]
pub(crate) struct Visitors(BTreeMap<SessionId, (Login, Guest)>);

impl Visitors {
    pub(crate) fn arrive(&mut self, session: &SessionId, login: &Login, guest: &Guest) {
        self.0.insert(session.clone(), (login.clone(), guest.clone()));
    }

    pub(crate) fn leave(&mut self, session: &SessionId) {
        self.0.remove(session);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The connections of `user`.
    pub(crate) fn all_of(&self, user: &UserName) -> Vec<Guest> {
        self.which(|_, login| login.user == *user)
    }

    /// Those but one.
    pub(crate) fn others_of(&self, user: &UserName, own: &SessionId) -> Vec<Guest> {
        self.which(|session, login| login.user == *user && session != own)
    }

    /// Those that a token opened.
    pub(crate) fn by_token(&self, token: &TokenId) -> Vec<Guest> {
        self.which(|_, login| login.token.as_ref() == Some(token))
    }

    fn which(&self, is_meant: impl Fn(&SessionId, &Login) -> bool) -> Vec<Guest> {
        let meant = self.0.iter().filter(|(session, (login, _))| is_meant(session, login));
        meant.map(|(_, (_, guest))| guest.clone()).collect()
    }
}
