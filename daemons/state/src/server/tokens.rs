//! Tokens: made, listed, revoked.

use daemon::{Failure, Guest, Session};
use serde_json::{Value, json};
use state::{
    Operation, Refusal,
    account::{Token, TokenId},
    actor::Service,
    name::UserName,
};

use super::{
    Server, now,
    opts::TokenOpts,
    password::{hash_of_token, random_hex},
    refused,
    visitor::{Login, Visitor},
};

type Me = Session<Visitor>;

impl Server {
    pub(super) async fn create_token(
        &self,
        guest: Guest,
        me: Me,
        opts: Option<TokenOpts>,
    ) -> Result<Value, Failure> {
        let login = me.login().ok_or_else(|| refused(&Refusal::AuthRequired))?;
        let TokenOpts { path, lvl, ttl, user, service, acting_as } = opts.unwrap_or_default();
        let is_service = service.is_some() || acting_as.is_some();
        let (id, secret) = (random_hex(8), random_hex(32));
        let token = Token {
            hash: hash_of_token(&secret),
            user: user.unwrap_or(login.user),
            path,
            level: lvl,
            expires: ttl.map(|ttl| now().saturating_add(ttl)),
            service: is_service.then(|| Service {
                service: service.unwrap_or_default(),
                acting_as: acting_as.unwrap_or_default(),
            }),
            // Decided by whoever decides whether it may be made.
            is_own: false,
        };
        let operation = Operation::CreateToken { id: id.clone(), token };
        self.do_one(&guest, &me, operation).await?;
        Ok(json!({ "id": id, "token": secret }))
    }

    pub(super) fn list_tokens(
        &self,
        guest: Guest,
        me: Me,
        user: Option<UserName>,
    ) -> Result<Value, Failure> {
        self.enter(&guest, &me);
        let login = me.login().ok_or_else(|| refused(&Refusal::AuthRequired))?;
        let commits = self.commits();
        let user = user.unwrap_or_else(|| login.user.clone());
        if !may_list(&login, &user)? {
            self.needs_root(&guest, &me, commits.durable())?;
        }
        let told = commits.durable().tokens_of(&user).map(|(id, it)| {
            json!({ "id": id, "user": it.user, "path": it.path, "lvl": it.level,
                "expires": it.expires, "service": it.service.is_some() })
        });
        Ok(Value::Array(told.collect()))
    }

    pub(super) async fn revoke_token(
        &self,
        guest: Guest,
        me: Me,
        id: TokenId,
    ) -> Result<(), Failure> {
        self.do_one(&guest, &me, Operation::RevokeToken { id }).await
    }
}

/// Whether the tokens of `user` are whose who asks, or of somebody whom he serves.
fn may_list(login: &Login, user: &UserName) -> Result<bool, Failure> {
    match (&login.cap, &login.service) {
        (Some(_), _) => Err(refused(&Refusal::Limited)),
        (None, Some(service)) => Ok(service.serves(user)),
        (None, None) => Ok(login.user == *user),
    }
}
