//! All sessions that are logged in, so that those of a user can be ended.

use std::collections::{BTreeMap, BTreeSet};

use daemon::Guest;
use state::{
    account::{Time, TokenId},
    actor::SessionId,
    name::UserName,
};

use super::visitor::Login;

/// Who is logged in.
#[derive(Debug, Default)]
pub(crate) struct Visitors {
    present: BTreeMap<SessionId, (Login, Guest)>,
    /// Those who came by a token that ends.
    expiring: BTreeSet<(Time, SessionId)>,
}

impl Visitors {
    pub(crate) fn arrive(&mut self, session: &SessionId, login: &Login, guest: &Guest) {
        self.present.insert(session.clone(), (login.clone(), guest.clone()));
        self.expiring.extend(login.expires.map(|it| (it, session.clone())));
    }

    pub(crate) fn leave(&mut self, session: &SessionId) {
        let gone = self.present.remove(session);
        if let Some(expires) = gone.and_then(|(login, _)| login.expires) {
            self.expiring.remove(&(expires, session.clone()));
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.present.len()
    }

    /// When the next token ends by which somebody is here.
    pub(crate) fn next_expiry(&self) -> Option<Time> {
        self.expiring.first().map(|it| it.0)
    }

    /// Those whose token has ended by `now`, once.
    pub(crate) fn expired(&mut self, now: Time) -> Vec<Guest> {
        let later = self.expiring.split_off(&(now + 1, SessionId::from("")));
        let over = std::mem::replace(&mut self.expiring, later);
        over.iter().filter_map(|(_, it)| self.present.get(it)).map(|it| it.1.clone()).collect()
    }

    /// How many sessions `user` has.
    pub(crate) fn count_of(&self, user: &UserName) -> usize {
        self.present.values().filter(|(login, _)| login.user == *user).count()
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
        let meant = self.present.iter().filter(|(session, (login, _))| is_meant(session, login));
        meant.map(|(_, (_, guest))| guest.clone()).collect()
    }
}
