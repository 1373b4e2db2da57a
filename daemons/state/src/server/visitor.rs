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

/// What is kept of a guest.
#[derive(Debug, Default)]
pub(crate) struct Visitor {
    entered: OnceLock<Entered>,
    login: Mutex<Option<Login>>,
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

    pub(crate) fn log_in(&self, login: Login) {
        *self.lock() = Some(login);
    }

    /// Nobody again; tells who it was.
    pub(crate) fn log_out(&self) -> Option<Login> {
        self.lock().take()
    }

    pub(crate) fn login(&self) -> Option<Login> {
        self.lock().clone()
    }

    /// Who asks, for the core.
    pub(crate) fn actor(&self, session: SessionId) -> Actor {
        match self.login() {
            None => Actor::anonymous(session),
            Some(Login { user, cap, service, .. }) => {
                Actor { user: Some(user), session: Some(session), cap, service }
            }
        }
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
