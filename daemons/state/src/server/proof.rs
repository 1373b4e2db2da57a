//! What somebody shows to be let in.

use state::{
    State,
    account::{Secret, Time},
    level::Level,
    name::UserName,
    permission::Cap,
};

use super::visitor::Login;

/// What was shown, as it is kept: whether it still opens something is another question, to be asked
/// in the lock in which the session is opened.
#[derive(Clone, Debug)]
pub(crate) enum Proof {
    /// The hash of a token.
    Token(Secret),
    /// A password was right for this hash.
    Password { user: UserName, hash: Secret },
}

impl Proof {
    /// As whom it opens a session in `state`, if it does.
    pub(crate) fn opens(&self, state: &State, now: Time) -> Option<Login> {
        match self {
            Self::Token(hash) => by_token(hash, state, now),
            Self::Password { user, hash } => {
                let is_current = state.account(user)?.password.as_ref() == Some(hash);
                let user = user.clone();
                is_current.then_some(Login {
                    user,
                    cap: None,
                    service: None,
                    token: None,
                    expires: None,
                })
            }
        }
    }
}

fn by_token(hash: &Secret, state: &State, now: Time) -> Option<Login> {
    let (id, token) = state.token_by_hash(hash).filter(|it| it.1.is_valid(now))?;
    state.account(&token.user)?;
    let is_limited = token.path.is_some() || token.level.is_some();
    let cap = is_limited.then(|| Cap {
        path: token.path.clone().unwrap_or_default(),
        level: token.level.unwrap_or(Level::Owner),
    });
    let (user, service) = (token.user.clone(), token.service.clone());
    Some(Login { user, cap, service, token: Some(id.clone()), expires: token.expires })
}
