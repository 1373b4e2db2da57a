//! Who a session is: logging in and out.

use daemon::{Failure, Guest, Session};
use serde_json::{Value, json};
use state::{Operation, Refusal, account::Secret, actor::SessionId, name::UserName};
use tokio::time::Instant;

use super::{
    Server,
    commits::Commits,
    hashing::Hashers,
    now,
    password::{self, hash_of_token},
    proof::Proof,
    refusals::Refused,
    refused,
    visitor::{Login, Visitor},
};

type Me = Session<Visitor>;

impl Server {
    pub(super) async fn auth(
        &self,
        guest: Guest,
        me: Me,
        user_or_token: String,
        password: Option<String>,
    ) -> Result<Value, Failure> {
        let user = password.is_some().then(|| user_or_token.clone());
        let told = self.open(&guest, me, user_or_token, password).await;
        told.inspect_err(|it| self.note_refused("auth", &guest, user.as_deref(), it.code()))
    }

    async fn open(
        &self,
        guest: &Guest,
        me: Me,
        user_or_token: String,
        password: Option<String>,
    ) -> Result<Value, Failure> {
        let session = self.enter(guest, &me);
        let _turn = me.turn().await;
        let Some(password) = password else {
            return self.by_token(guest, &me, &session, &user_or_token).await;
        };
        loop {
            let lane = &self.hashing.newcomers;
            let proven = self.verify(guest, lane, &user_or_token, password.clone()).await?;
            let (user, hash) = proven.clone();
            let proof = Proof::Password { user, hash };
            if self.is_outdated(&proven) {
                continue;
            }
            let told = self.log_in(guest, &me, &session, &proof).await;
            // A change since then may have been a better hash of the same password.
            if told.is_err() && self.is_outdated(&proven) {
                continue;
            }
            let told = told?;
            self.improve(proven, password).await;
            return Ok(told);
        }
    }

    async fn by_token(
        &self,
        guest: &Guest,
        me: &Me,
        session: &SessionId,
        token: &str,
    ) -> Result<Value, Failure> {
        let proof = Proof::Token(hash_of_token(token));
        if proof.opens(self.commits().durable(), now()).is_none() {
            self.commits().counters.login_failures += 1;
            return Err(bad_credentials());
        }
        self.log_in(guest, me, session, &proof).await
    }

    /// Opens the session, unless `proof` does not open it or by now does no longer. Whoever it was
    /// before leaves first.
    async fn log_in(
        &self,
        guest: &Guest,
        me: &Me,
        session: &SessionId,
        proof: &Proof,
    ) -> Result<Value, Failure> {
        self.admit(&self.commits(), session, proof)?;
        self.forget_login(guest, me, session).await;
        let mut commits = self.commits();
        let (login, told) = self.admit(&commits, session, proof)?;
        // What it was told as nobody is not for whom it is now.
        commits.watchers.close(session);
        commits.visitors.arrive(session, &login, guest);
        if login.expires.is_some() {
            self.timers_changed.notify_one();
        }
        guest.authenticate();
        me.log_in(login);
        Ok(told)
    }

    /// As whom `proof` opens the session, and what is told of that.
    fn admit(
        &self,
        commits: &Commits,
        session: &SessionId,
        proof: &Proof,
    ) -> Result<(Login, Value), Failure> {
        let state = commits.durable();
        let login = proof.opens(state, now()).ok_or_else(bad_credentials)?;
        let rank = state.account(&login.user).ok_or_else(bad_credentials)?.rank;
        let is_new = commits.visitors.user_of(session) != Some(&login.user);
        let limit = self.sessions_per_user;
        if is_new && commits.visitors.count_of(&login.user) >= limit {
            let failure = Failure::new("quota", format!("{limit} sessions of this user"));
            return Err(failure.with("limit", limit));
        }
        let session = String::from(session.clone());
        let told = json!({ "user": login.user, "level": rank, "session": session });
        Ok((login, told))
    }

    /// Whether `password` is the one of `user`, who need not exist; then his name and the hash for
    /// which it was right.
    ///
    /// # Errors
    /// `bad-credentials`, `rate-limited` before anything is hashed, and `busy`.
    pub(super) async fn verify(
        &self,
        guest: &Guest,
        lane: &Hashers,
        user: &str,
        password: String,
    ) -> Result<(UserName, Secret), Failure> {
        let user = UserName::new(user).ok();
        let attempt = self.attempts().begin(user.as_ref(), guest.address(), Instant::now());
        let attempt = attempt.ok_or_else(|| {
            Failure::new("rate-limited", "too many wrong passwords; wait a minute")
        })?;
        let kept = user.and_then(|it| {
            let hash = self.commits().durable().account(&it)?.password.clone()?;
            Some((it, hash))
        });
        // Somebody unknown costs as much as somebody known.
        let hash = kept.as_ref().map_or(&self.nobodys, |it| &it.1).clone();
        let verified = lane.run(move || password::verify(&password, &hash)).await;
        let proven = verified.map(|is_right| kept.filter(|_| is_right));
        if !matches!(proven, Ok(None)) {
            self.attempts().take_back(&attempt);
        }
        proven?.ok_or_else(|| {
            self.commits().counters.login_failures += 1;
            bad_credentials()
        })
    }

    /// Has it in the log that somebody was not who he said, if that is wanted.
    pub(super) fn note_refused(
        &self,
        command: &'static str,
        guest: &Guest,
        user: Option<&str>,
        code: &str,
    ) {
        let refused = Refused { command, user, address: guest.address(), code };
        if self.refusals().note(&refused, now()) {
            self.timers_changed.notify_one();
        }
    }

    /// Whether the user has another hash by now.
    fn is_outdated(&self, (user, hash): &(UserName, Secret)) -> bool {
        let commits = self.commits();
        let kept = commits.durable().account(user).and_then(|it| it.password.as_ref());
        kept.is_some_and(|it| it != hash)
    }

    /// Keeps a better hash of a password that was right for one that was made with less. If that
    /// can't be done now, it is at the next login.
    async fn improve(&self, (user, from): (UserName, Secret), password: String) {
        let cost = self.cost;
        if !cost.is_above(&from) {
            return;
        }
        let hashed = self.hashing.newcomers.run(move || cost.hash(&password)).await;
        if let Ok(to) = hashed {
            drop(self.perform_as_server(Operation::Rehash { user, from, to }).await);
        }
    }

    pub(super) async fn logout(&self, guest: Guest, me: Me) -> Result<(), Failure> {
        let session = self.enter(&guest, &me);
        let _turn = me.turn().await;
        if me.login().is_none() {
            return Err(refused(&Refusal::AuthRequired));
        }
        self.forget_login(&guest, &me, &session).await;
        Ok(())
    }

    /// The session is nobody's any more: what it watched and what waited for its end is over.
    async fn forget_login(&self, guest: &Guest, me: &Me, session: &SessionId) {
        if let Some(login) = me.log_out() {
            guest.forget();
            self.depart(&login.user, session).await;
        }
    }
}

/// The same whether there is nobody of the name, or he has another password.
fn bad_credentials() -> Failure {
    refused(&Refusal::BadCredentials)
}
