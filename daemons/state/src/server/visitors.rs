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
    /// The same by user; nobody is in it without a session.
    by_user: BTreeMap<UserName, BTreeSet<SessionId>>,
    /// Those who came by a token that ends.
    expiring: BTreeSet<(Time, SessionId)>,
}

impl Visitors {
    pub(crate) fn arrive(&mut self, session: &SessionId, login: &Login, guest: &Guest) {
        self.leave(session);
        self.present.insert(session.clone(), (login.clone(), guest.clone()));
        self.by_user.entry(login.user.clone()).or_default().insert(session.clone());
        self.expiring.extend(login.expires.map(|it| (it, session.clone())));
    }

    /// The session is nobody's any more; whose connection it was.
    pub(crate) fn leave(&mut self, session: &SessionId) -> Option<Guest> {
        let (login, guest) = self.present.remove(session)?;
        if let Some(own) = self.by_user.get_mut(&login.user) {
            own.remove(session);
            if own.is_empty() {
                self.by_user.remove(&login.user);
            }
        }
        if let Some(expires) = login.expires {
            self.expiring.remove(&(expires, session.clone()));
        }
        Some(guest)
    }

    pub(crate) fn len(&self) -> usize {
        self.present.len()
    }

    /// When the next token ends by which somebody is here.
    pub(crate) fn next_expiry(&self) -> Option<Time> {
        self.expiring.first().map(|it| it.0)
    }

    /// Those whose token has ended by `now`.
    pub(crate) fn expired(&self, now: Time) -> Vec<SessionId> {
        self.expiring.iter().take_while(|it| it.0 <= now).map(|it| it.1.clone()).collect()
    }

    /// Whether a session's token has ended by `now`.
    pub(crate) fn has_expired(&self, session: &SessionId, now: Time) -> bool {
        // Mostly nobody's has, which is known without a search.
        self.next_expiry().is_some_and(|it| it <= now)
            && self
                .present
                .get(session)
                .is_some_and(|(login, _)| login.expires.is_some_and(|it| it <= now))
    }

    /// How many sessions `user` has.
    pub(crate) fn count_of(&self, user: &UserName) -> usize {
        self.by_user.get(user).map_or(0, BTreeSet::len)
    }

    /// As whom a session is logged in.
    pub(crate) fn user_of(&self, session: &SessionId) -> Option<&UserName> {
        self.present.get(session).map(|(login, _)| &login.user)
    }

    /// The sessions of `user`, but one.
    pub(crate) fn all_of(&self, user: &UserName, but: Option<&SessionId>) -> Vec<SessionId> {
        let own = self.by_user.get(user).into_iter().flatten();
        own.filter(|it| Some(*it) != but).cloned().collect()
    }

    /// Those of `user` that a token opened.
    pub(crate) fn by_token(&self, user: &UserName, token: &TokenId) -> Vec<SessionId> {
        let is_meant = |session: &SessionId| {
            self.present.get(session).is_some_and(|(it, _)| it.token.as_ref() == Some(token))
        };
        self.by_user.get(user).into_iter().flatten().filter(|it| is_meant(it)).cloned().collect()
    }
}
