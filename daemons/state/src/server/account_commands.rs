//! Who is who: logging in, accounts, tokens.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::OpenOptionsExt,
};

use daemon::{Failure, Guest, OrNull, Session};
use serde::Deserialize;
use serde_json::{Value, json};
use state::{
    Commit, Operation, Refusal, Request,
    account::{Secret, Token, TokenId},
    actor::{Actor, Service},
    decide::Sent,
    level::{Level, Rank},
    name::UserName,
    operation::Message,
    permission::Cap,
};
use tokio::task::{spawn_blocking, yield_now};

use super::{
    Server, StartError, now,
    opts::TokenOpts,
    password::{self, hash_of_token, random_hex},
    refused,
    visitor::{Login, Visitor},
};

type Me = Session<Visitor>;

/// The account that is there from the first.
const ROOT: &str = "root";

/// Where its first password is told.
const PASSWORD_FILE: &str = "root-password";

/// Of `createUser`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct UserOpts {
    level: Option<Rank>,
}

/// Of `deleteUser`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct DeleteOpts {
    keep_home: bool,
}

/// Of `listUsers`: there are none yet.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NoOpts {}

impl Server {
    /// Makes the first account, unless there is one.
    pub(super) async fn make_root(&self) -> Result<(), StartError> {
        if self.commits().newest().accounts().next().is_some() {
            return Ok(());
        }
        let password = random_hex(16);
        let path = self.directory().join(PASSWORD_FILE);
        let written = || {
            // The file first: an account with a password that nobody knows would be of no use.
            drop(fs::remove_file(&path));
            let mut file =
                OpenOptions::new().create_new(true).write(true).mode(0o600).open(&path)?;
            writeln!(file, "{password}")?;
            file.sync_all()
        };
        written().map_err(|source| StartError::Password { path: path.clone(), source })?;
        let user = UserName::new(ROOT).expect("this is a name");
        let operation = Operation::CreateUser {
            user,
            password: Some(password::hash(&password)),
            rank: Rank::Root,
        };
        self.perform_as_server(operation)
            .await
            .map_err(|failure| StartError::Root(failure.message().to_owned()))?;
        tracing::info!(file = %path.display(), "the first password of `root` is there");
        Ok(())
    }

    /// Does something that nobody asked for.
    pub(super) async fn perform_as_server(&self, operation: Operation) -> Result<Commit, Failure> {
        let request = Request::one(operation, now());
        let decided =
            self.commits().submit(&*self.journal, &self.limits, &Actor::server(), &request)?;
        decided.settled().await.map(|(commit, _)| commit)
    }

    pub(super) async fn auth(
        &self,
        guest: Guest,
        me: Me,
        user_or_token: String,
        password: Option<String>,
    ) -> Result<Value, Failure> {
        let session = self.enter(&guest, &me);
        let login = match password {
            None => self.by_token(&user_or_token)?,
            Some(password) => self.by_password(&user_or_token, password).await?,
        };
        self.forget_login(&me, &session).await;
        let told = {
            let commits = self.commits();
            let account = commits.durable().account(&login.user);
            let rank = account.ok_or_else(bad_credentials)?.rank;
            if commits.visitors.count_of(&login.user) >= self.sessions_per_user {
                let limit = self.sessions_per_user;
                let failure = Failure::new("quota", format!("{limit} sessions of this user"));
                return Err(failure.with("limit", limit));
            }
            json!({ "user": login.user, "level": rank, "session": String::from(session.clone()) })
        };
        guest.authenticate();
        self.commits().visitors.arrive(&session, &login, &guest);
        if login.expires.is_some() {
            self.timers_changed.notify_one();
        }
        me.log_in(login);
        Ok(told)
    }

    fn by_token(&self, token: &str) -> Result<Login, Failure> {
        let (hash, now) = (hash_of_token(token), now());
        let commits = self.commits();
        let mut tokens = commits.durable().tokens();
        let known = tokens.find(|(_, it)| it.hash == hash && it.is_valid(now));
        let (id, token) = known.ok_or_else(bad_credentials)?;
        let cap = (token.path.is_some() || token.level.is_some()).then(|| Cap {
            path: token.path.clone().unwrap_or_default(),
            level: token.level.unwrap_or(Level::Owner),
        });
        let (user, service) = (token.user.clone(), token.service.clone());
        let expires = token.expires;
        Ok(Login { user, cap, service, token: Some(id.clone()), expires })
    }

    async fn by_password(&self, user: &str, password: String) -> Result<Login, Failure> {
        let known = UserName::new(user).map_err(|_| bad_credentials());
        if let Ok(user) = &known
            && !self.attempts().may_try(user, now())
        {
            return Err(Failure::new("rate-limited", "too many wrong passwords; wait a minute"));
        }
        let kept = known.as_ref().ok().and_then(|user| {
            self.commits().durable().account(user).and_then(|it| it.password.clone())
        });
        let is_account = kept.is_some();
        // Somebody unknown costs as much as somebody known.
        let kept = kept.unwrap_or_else(|| self.nobodys.clone());
        let _turn = self.hashing.acquire().await.map_err(|_| bad_credentials())?;
        let work = spawn_blocking(move || {
            let is_right = password::verify(&password, &kept);
            let better = (is_right && is_account && password::is_weak(&kept))
                .then(|| (kept, password::hash(&password)));
            (is_right, better)
        });
        let (is_right, better) =
            work.await.map_err(|error| Failure::internal(error.to_string()))?;
        let user = known?;
        if !(is_right && is_account) {
            self.commits().counters.login_failures += 1;
            self.attempts().failed(&user, now());
            return Err(bad_credentials());
        }
        self.attempts().succeeded(&user);
        if let Some((from, to)) = better {
            let rehash = Operation::Rehash { user: user.clone(), from, to };
            self.perform_as_server(rehash).await?;
        }
        Ok(Login { user, cap: None, service: None, token: None, expires: None })
    }

    pub(super) async fn logout(&self, guest: Guest, me: Me) -> Result<(), Failure> {
        let session = self.enter(&guest, &me);
        if me.login().is_none() {
            return Err(refused(&Refusal::AuthRequired));
        }
        self.forget_login(&me, &session).await;
        guest.forget();
        Ok(())
    }

    pub(super) async fn create_user(
        &self,
        guest: Guest,
        me: Me,
        username: UserName,
        password: String,
        opts: Option<UserOpts>,
    ) -> Result<Value, Failure> {
        let rank = opts.unwrap_or_default().level.unwrap_or(Rank::User);
        let user = username.clone();
        // Checked before the password is hashed, which costs.
        let password_to_be = Some(Secret::new(""));
        let check = Operation::CreateUser { user: user.clone(), password: password_to_be, rank };
        let dry = Request { is_dry: true, ..Request::one(check, now()) };
        self.perform(&guest, &me, dry).await?;
        let password = Some(self.hash(password).await?);
        self.do_one(&guest, &me, Operation::CreateUser { user, password, rank }).await?;
        Ok(json!({ "user": username }))
    }

    pub(super) async fn change_password(
        &self,
        guest: Guest,
        me: Me,
        new: String,
        current: Option<String>,
        user: Option<UserName>,
    ) -> Result<(), Failure> {
        let login = me.login().ok_or_else(|| refused(&Refusal::AuthRequired))?;
        let user = user.unwrap_or_else(|| login.user.clone());
        let is_proven = match current {
            Some(current) => {
                self.by_password(user.as_str(), current).await?;
                true
            }
            None => false,
        };
        let password = self.hash(new).await?;
        let operation = Operation::ChangePassword { user: user.clone(), password, is_proven };
        self.do_one(&guest, &me, operation).await?;
        let own = self.enter(&guest, &me);
        let others = self.commits().visitors.others_of(&user, &own);
        others.iter().for_each(Guest::leave);
        Ok(())
    }

    pub(super) async fn update_user_level(
        &self,
        guest: Guest,
        me: Me,
        user: UserName,
        level: Rank,
    ) -> Result<(), Failure> {
        self.do_one(&guest, &me, Operation::UpdateUserLevel { user, rank: level }).await
    }

    pub(super) async fn delete_user(
        &self,
        guest: Guest,
        me: Me,
        OrNull(user): OrNull<UserName>,
        opts: Option<DeleteOpts>,
    ) -> Result<(), Failure> {
        let login = me.login().ok_or_else(|| refused(&Refusal::AuthRequired))?;
        let user = user.unwrap_or(login.user);
        let keeps_home = opts.unwrap_or_default().keep_home;
        let operation = Operation::DeleteUser { user: user.clone(), keeps_home };
        self.do_one(&guest, &me, operation).await?;
        let gone = {
            let mut commits = self.commits();
            let (name, payload) = ("userDeleted".to_owned(), json!({ "user": user }));
            let message = Message { user: user.clone(), name, payload, path: None };
            commits.watchers.send(&Sent { message, src: None });
            commits.visitors.all_of(&user)
        };
        gone.iter().for_each(Guest::leave);
        // Who deletes himself hears the message before the reply: it goes out while this waits.
        yield_now().await;
        Ok(())
    }

    pub(super) fn list_users(
        &self,
        guest: Guest,
        me: Me,
        _opts: Option<NoOpts>,
    ) -> Result<Value, Failure> {
        let commits = self.commits();
        self.needs_root(&guest, &me, commits.durable())?;
        let users = commits.durable().accounts().map(|(user, account)| {
            let sessions = commits.visitors.all_of(user).len();
            json!({ "user": user, "level": account.rank, "sessions": sessions })
        });
        Ok(Value::Array(users.collect()))
    }

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
            is_own: user.as_ref().is_none_or(|it| *it == login.user) && !is_service,
            user: user.unwrap_or(login.user),
            path,
            level: lvl,
            expires: ttl.map(|ttl| now().saturating_add(ttl)),
            service: is_service.then(|| Service {
                service: service.unwrap_or_default(),
                acting_as: acting_as.unwrap_or_default(),
            }),
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
        if user != login.user {
            self.needs_root(&guest, &me, commits.durable())?;
        }
        let tokens = commits.durable().tokens().filter(|(_, it)| it.user == user);
        let told = tokens.map(|(id, it)| {
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
        self.do_one(&guest, &me, Operation::RevokeToken { id: id.clone() }).await?;
        let opened = self.commits().visitors.by_token(&id);
        opened.iter().for_each(Guest::leave);
        Ok(())
    }

    /// Whether the session may do everything.
    pub(super) fn needs_root(
        &self,
        guest: &Guest,
        me: &Me,
        state: &state::State,
    ) -> Result<(), Failure> {
        let subject = self.subject(guest, me, state)?;
        let is_whole = subject.cap.is_none();
        if subject.is_root && is_whole { Ok(()) } else { Err(refused(&Refusal::NeedsRoot)) }
    }

    async fn hash(&self, password: String) -> Result<Secret, Failure> {
        let _turn = self.hashing.acquire().await.map_err(|_| bad_credentials())?;
        let work = spawn_blocking(move || password::hash(&password));
        work.await.map_err(|error| Failure::internal(error.to_string()))
    }
}

fn bad_credentials() -> Failure {
    Failure::new("bad-credentials", "no such user, password or token")
}
