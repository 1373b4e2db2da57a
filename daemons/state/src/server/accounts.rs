//! Accounts: made, changed, removed.

use daemon::{Failure, Guest, OrNull, Session};
use serde::Deserialize;
use serde_json::{Value, json};
use state::{Operation, Refusal, Request, account::Secret, level::Rank, name::UserName};

use super::{Server, hashing::Hashers, now, refused, visitor::Visitor};

type Me = Session<Visitor>;

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
    /// Without a password: a script, which is opened by tokens alone.
    pub(super) async fn create_user(
        &self,
        guest: Guest,
        me: Me,
        username: UserName,
        OrNull(password): OrNull<String>,
        opts: Option<UserOpts>,
    ) -> Result<Value, Failure> {
        let user = username.clone();
        let usual = if user.is_script() { Rank::Program } else { Rank::User };
        let rank = opts.unwrap_or_default().level.unwrap_or(usual);
        let _turn = me.turn().await;
        let password = match password {
            None => None,
            Some(password) => {
                let password_to_be = Some(Secret::new(""));
                let user = user.clone();
                let operation = Operation::CreateUser { user, password: password_to_be, rank };
                self.would(&guest, &me, operation).await?;
                Some(self.hash(self.lane(&me), password).await?)
            }
        };
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
        let _turn = me.turn().await;
        // Nobody learns whether a password is right for whom he may not give another.
        let kept = self.commits().newest().account(&user).and_then(|it| it.password.clone());
        let proven = kept.filter(|_| current.is_some());
        let (name, password) = (user.clone(), Secret::new(""));
        let operation = Operation::ChangePassword { user: name, password, proven };
        self.would(&guest, &me, operation).await?;
        let lane = self.lane(&me);
        let proven = match current {
            Some(current) => {
                let proven = self.verify(&guest, lane, user.as_str(), current).await;
                let name = Some(user.as_str());
                let note =
                    |it: &Failure| self.note_refused("changePassword", &guest, name, it.code());
                Some(proven.inspect_err(note)?.1)
            }
            None => None,
        };
        let password = self.hash(lane, new).await?;
        self.do_one(&guest, &me, Operation::ChangePassword { user, password, proven }).await
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
        self.do_one(&guest, &me, Operation::DeleteUser { user, keeps_home }).await
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
            let sessions = commits.visitors.count_of(user);
            json!({ "user": user, "level": account.rank, "sessions": sessions })
        });
        Ok(Value::Array(users.collect()))
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

    /// Whether something would be done: asked before a password is hashed for it, which costs.
    async fn would(&self, guest: &Guest, me: &Me, operation: Operation) -> Result<(), Failure> {
        let dry = Request { is_dry: true, ..Request::one(operation, now()) };
        self.perform(guest, me, dry).await.map(|_| ())
    }

    /// Where a password of this session is hashed.
    fn lane(&self, me: &Me) -> &Hashers {
        if me.login().is_some() { &self.hashing.members } else { &self.hashing.newcomers }
    }

    async fn hash(&self, lane: &Hashers, password: String) -> Result<Secret, Failure> {
        let cost = self.cost;
        lane.run(move || cost.hash(&password)).await
    }
}
