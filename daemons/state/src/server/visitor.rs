//! A session: one connection, with one user at a time.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use daemon::Guest;
use state::{
    account::{Time, TokenId},
    actor::{Actor, Service, SessionId},
    name::UserName,
    permission::Cap,
};
use tokio::sync::mpsc;

use super::now;

/// What is kept of a guest.
#[derive(Debug, Default)]
pub(crate) struct Visitor {
    entered: OnceLock<Entered>,
    login: Mutex<Option<Login>>,
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Entered {
    id: SessionId,
    departed: mpsc::UnboundedSender<SessionId>,
}

/// As whom a session is logged in.
#[derive(Clone, Debug)]
pub(crate) struct Login {
    pub(crate) user: UserName,
    pub(crate) cap: Option<Cap>,
    pub(crate) service: Option<Service>,
    /// By which token, if not by a password.
    pub(crate) token: Option<TokenId>,
    /// When that ends.
    pub(crate) expires: Option<Time>,
}

impl Visitor {
    /// Gives the session its id. Whoever holds the other end of `departed` hears when it is over;
    /// that is one message a session, so there are never more than there were connections.
    pub(crate) fn enter(
        &self,
        guest: &Guest,
        boot: &str,
        departed: &mpsc::UnboundedSender<SessionId>,
    ) -> SessionId {
        let enter = || {
            let id = format!("{boot}-{}", guest.id()).into();
            Entered { id, departed: departed.clone() }
        };
        self.entered.get_or_init(enter).id.clone()
    }

    /// Waits until nothing else is done about who this session is, or about a password for it: of
    /// requests side by side the later ones begin when the earlier ones are done.
    pub(crate) async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    pub(crate) fn log_in(&self, login: Login) {
        *self.lock() = Some(login);
    }

    /// Nobody again; tells who it was.
    pub(crate) fn log_out(&self) -> Option<Login> {
        self.lock().take()
    }

    /// Who it is. What a token opened is nobody's from the moment on at which that ends, whether or
    /// not somebody has come to close it.
    pub(crate) fn login(&self) -> Option<Login> {
        self.with_login(|it| it.cloned())
    }

    /// As whom it may read, and what of that a token leaves.
    pub(crate) fn reader(&self) -> Option<(UserName, Option<Cap>)> {
        self.with_login(|it| it.map(|it| (it.user.clone(), it.cap.clone())))
    }

    /// Who asks, for the core.
    pub(crate) fn actor(&self, session: SessionId) -> Actor {
        self.with_login(|login| Actor {
            user: login.map(|it| it.user.clone()),
            session: Some(session),
            cap: login.and_then(|it| it.cap.clone()),
            service: login.and_then(|it| it.service.clone()),
        })
    }

    fn with_login<T>(&self, look: impl FnOnce(Option<&Login>) -> T) -> T {
        let has_ended = |it: &Login| it.expires.is_some_and(|it| it <= now());
        look(self.lock().as_ref().filter(|it| !has_ended(it)))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Login>> {
        self.login.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Visitor {
    fn drop(&mut self) {
        if let Some(Entered { id, departed }) = self.entered.take() {
            // At the end of the daemon nobody hears it any more.
            drop(departed.send(id));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_token_opened_is_nobodys_from_the_moment_it_ends() {
        let visitor = Visitor::default();
        let user = UserName::new("ann").unwrap();
        for (expires, is_somebody) in [(None, true), (Some(now()), false), (Some(Time::MAX), true)]
        {
            let user = user.clone();
            visitor.log_in(Login { user, cap: None, service: None, token: None, expires });
            assert_eq!(visitor.login().is_some(), is_somebody, "{expires:?}");
            assert_eq!(visitor.actor("s".into()).user.is_some(), is_somebody, "{expires:?}");
        }
    }
}
