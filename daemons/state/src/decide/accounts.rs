//! Deciding about accounts, tokens and quotas.

use super::{Answer, Draft};
use crate::{
    account::{Quota, Secret, Token, TokenId},
    apply::{HOMES, entry_for, home},
    entry::Who,
    failure::Refusal,
    level::{Level, Rank},
    limits::Limits,
    name::UserName,
    node::Node,
    path::{Path, Segment},
    record::Change,
    state::State,
    tree::{fits, is_in_array},
};

impl Draft<'_> {
    pub(super) fn create_user(
        &mut self,
        user: &UserName,
        password: Option<&Secret>,
        rank: Rank,
    ) -> Result<Answer, Refusal> {
        let is_known = self.is_root() || self.serves(user) && rank != Rank::Root;
        let registers_itself = self.actor.user.is_none() && rank == Rank::User && !user.is_script();
        if !is_known && !registers_itself {
            return Err(Refusal::NeedsRoot);
        }
        // What somebody left is not for whoever takes his name.
        let is_left = || home(user).is_some_and(|it| self.state.root.at(&it).is_some());
        if self.state.account(user).is_some() || !is_known && is_left() {
            return Err(Refusal::Exists);
        }
        let (user, password) = (user.clone(), password.cloned());
        let account =
            Change::Account { user: user.clone(), rank, password, is_new_password: false };
        self.push(account)?;
        self.make_home(&user)?;
        Ok(Answer::Done)
    }

    /// Makes the home of `user`, or gives it back to him if it was kept.
    fn make_home(&mut self, user: &UserName) -> Result<(), Refusal> {
        let Some(path) = home(user) else { return Ok(()) };
        fits(&self.state.root, &path)?;
        if is_in_array(&self.state.root, &path) {
            return Err(Refusal::NotContainer);
        }
        let entries = entry_for(user, Level::Editor);
        if self.state.root.at(&path).is_some() {
            let who = Who::User(user.clone());
            let entry = entries.get(&who);
            return self.push(Change::Permit { path, who, entry });
        }
        let (parent, name) = (Path::of([HOMES])?, Segment::new(user.as_str())?);
        let value = Node::object();
        self.change(&path, Change::Create { path: parent, name, value, entries })
    }

    pub(super) fn change_password(
        &mut self,
        user: &UserName,
        password: &Secret,
        proven: Option<&Secret>,
    ) -> Result<Answer, Refusal> {
        if !(self.is_root() || self.is_self(user) && proven.is_some()) {
            return Err(Refusal::NeedsRoot);
        }
        let account = self.state.account(user).ok_or(Refusal::NoSuchUser)?;
        // It may have been changed while it was being verified.
        if proven.is_some() && proven != account.password.as_ref() {
            return Err(Refusal::BadCredentials);
        }
        let rank = account.rank;
        let (user, password) = (user.clone(), Some(password.clone()));
        self.push(Change::Account { user, rank, password, is_new_password: true })?;
        Ok(Answer::Done)
    }

    pub(super) fn rehash(
        &mut self,
        user: &UserName,
        from: &Secret,
        to: &Secret,
    ) -> Result<Answer, Refusal> {
        self.must_be_server()?;
        let account = self.state.account(user).ok_or(Refusal::NoSuchUser)?;
        if account.password.as_ref() != Some(from) {
            return Ok(Answer::Dropped);
        }
        let (rank, password) = (account.rank, Some(to.clone()));
        self.push(Change::Account { user: user.clone(), rank, password, is_new_password: false })?;
        Ok(Answer::Done)
    }

    pub(super) fn update_user_level(
        &mut self,
        user: &UserName,
        rank: Rank,
    ) -> Result<Answer, Refusal> {
        self.must_be_root()?;
        let account = self.state.account(user).ok_or(Refusal::NoSuchUser)?;
        let password = account.password.clone();
        if rank != Rank::Root {
            self.is_not_last_root(user)?;
        }
        self.push(Change::Account { user: user.clone(), rank, password, is_new_password: false })?;
        Ok(Answer::Done)
    }

    pub(super) fn delete_user(
        &mut self,
        user: &UserName,
        keeps_home: bool,
    ) -> Result<Answer, Refusal> {
        let serves = self.serves(user) && !self.has_rank(user, Rank::Root);
        if !self.is_self(user) && !self.is_root() && !serves {
            return Err(Refusal::NeedsRoot);
        }
        self.state.account(user).ok_or(Refusal::NoSuchUser)?;
        self.is_not_last_root(user)?;
        let home = home(user).filter(|it| !keeps_home && self.state.root.at(it).is_some());
        if let Some(path) = home {
            self.push(Change::Delete { path })?;
        }
        self.push(Change::DeleteUser { user: user.clone() })?;
        Ok(Answer::Done)
    }

    fn is_not_last_root(&self, user: &UserName) -> Result<(), Refusal> {
        if self.has_rank(user, Rank::Root) && self.state.roots() == 1 {
            Err(Refusal::LastRoot)
        } else {
            Ok(())
        }
    }

    pub(super) fn create_token(&mut self, id: &TokenId, token: &Token) -> Result<Answer, Refusal> {
        let (user, is_service) = (&token.user, token.service.is_some());
        let serves = self.serves(user) && !self.has_rank(user, Rank::Root);
        if !self.is_root() && (is_service || !self.is_self(user) && !serves) {
            return Err(Refusal::NeedsRoot);
        }
        self.state.account(user).ok_or(Refusal::NoSuchUser)?;
        if self.state.token(id).is_some() {
            return Err(Refusal::Exists);
        }
        self.revoke_expired(user)?;
        if self.state.tokens_of(user).count() >= self.limits.tokens {
            return Err(Refusal::Quota("tokens of a user"));
        }
        // What a daemon of ours comes with outlives the password of who made it.
        let is_own = self.is_self(user) && !is_service;
        let token = Token { is_own, ..token.clone() };
        self.push(Change::Token { id: id.clone(), token })?;
        Ok(Answer::Done)
    }

    /// Whoever makes tokens clears away those of the same user that open nothing any more.
    fn revoke_expired(&mut self, user: &UserName) -> Result<(), Refusal> {
        let now = self.now();
        let expired = self.state.tokens_of(user).filter(|(_, it)| !it.is_valid(now));
        let expired: Vec<TokenId> = expired.map(|it| it.0.clone()).collect();
        expired.into_iter().try_for_each(|id| self.push(Change::RevokeToken { id }))
    }

    /// Somebody else's token is told no more of than one that never was.
    pub(super) fn revoke_token(&mut self, id: &TokenId) -> Result<Answer, Refusal> {
        let token = self.state.token(id).ok_or(Refusal::NotFound)?;
        if !self.is_root() && !self.is_self(&token.user) && !self.serves(&token.user) {
            return Err(Refusal::NotFound);
        }
        self.push(Change::RevokeToken { id: id.clone() })?;
        Ok(Answer::Done)
    }

    pub(super) fn set_quota(
        &mut self,
        path: &Path,
        quota: Option<Quota>,
    ) -> Result<Answer, Refusal> {
        self.must_be_root()?;
        self.push(Change::Quota { path: path.clone(), quota })?;
        Ok(Answer::Done)
    }

    fn must_be_root(&self) -> Result<(), Refusal> {
        if self.is_root() { Ok(()) } else { Err(Refusal::NeedsRoot) }
    }

    /// Whether the actor is a service that makes and removes `user`.
    fn serves(&self, user: &UserName) -> bool {
        self.actor.service.as_ref().is_some_and(|it| it.serves(user))
    }

    pub(super) fn has_rank(&self, user: &UserName, rank: Rank) -> bool {
        self.state.account(user).is_some_and(|it| it.rank == rank)
    }
}

impl State {
    /// How much may lie at and below `path`: what was set for it, or what is usual.
    pub(crate) fn quota_of(&self, path: &[Segment], limits: &Limits) -> Option<Quota> {
        let set = if self.quotas.is_empty() { None } else { self.quota(&Path::part(path)) };
        let usual = match path {
            [] => Some(limits.tree),
            [homes, user] if homes.as_str() == HOMES => {
                let name = UserName::new(user.as_str()).ok();
                name.and_then(|it| self.account(&it)).map(|_| limits.home)
            }
            _ => None,
        };
        set.or(usual)
    }
}
