//! Deciding what owners may: permissions, registrations; and free messages.

use super::{Answer, Draft, Sent};
use crate::{
    actor::Actor,
    entry::{Entry, Who},
    failure::Refusal,
    level::{Level, Rank},
    name::UserName,
    operation::{Message, Step},
    path::Path,
    record::Change,
    rule::Action,
    trigger::{Registration, RegistrationId, Trigger, Wish},
};

impl Draft<'_> {
    pub(super) fn update_perms(
        &mut self,
        step: &Step,
        path: &Path,
        who: &Who,
        entry: Option<Entry>,
    ) -> Result<Answer, Refusal> {
        self.permitted(Action::UpdatePerms, path)?;
        let node = self.state.root.at(path).ok_or(Refusal::NotFound)?;
        let entries = node.entries().cloned().unwrap_or_default();
        if let Who::User(user) = who {
            self.state.account(user).ok_or(Refusal::NoSuchUser)?;
        }
        self.expected(step, path)?;
        let is_more = entry.is_some() && entries.get(who).is_none();
        if is_more && entries.len() >= self.limits.entries {
            return Err(Refusal::Quota("entries at a node"));
        }
        self.change(path, Change::Permit { path: path.clone(), who: who.clone(), entry })?;
        Ok(Answer::Done)
    }

    /// `path` need not exist yet: what is made there later is meant as well.
    pub(super) fn gc(
        &mut self,
        step: &Step,
        path: &Path,
        wishes: &[Wish],
    ) -> Result<Answer, Refusal> {
        self.permitted(Action::Gc, path)?;
        let user = self.actor.user.clone().ok_or(Refusal::AuthRequired)?;
        let triggers = wishes.iter().map(|it| self.trigger(it, &user)).collect::<Result<_, _>>()?;
        self.expected(step, path)?;
        let path = path.clone();
        let id = self.register(Registration { path, user, triggers, is_ephemeral: false })?;
        Ok(Answer::Registered(id))
    }

    fn trigger(&self, wish: &Wish, user: &UserName) -> Result<Trigger, Refusal> {
        let known =
            |it: &UserName| self.state.account(it).map(|_| it.clone()).ok_or(Refusal::NoSuchUser);
        Ok(match wish {
            Wish::Disconnect => {
                Trigger::Disconnect(self.actor.session.clone().ok_or(Refusal::AuthRequired)?)
            }
            Wish::UserDeleted(user) => Trigger::UserDeleted(known(user)?),
            Wish::Event { name, src } => {
                Trigger::Event(name.clone(), known(src.as_ref().unwrap_or(user))?)
            }
            Wish::After(ms) => Trigger::At(self.now().saturating_add(*ms)),
            Wish::At(time) => Trigger::At(*time),
        })
    }

    pub(super) fn register(
        &mut self,
        registration: Registration,
    ) -> Result<RegistrationId, Refusal> {
        let account = self.state.account(&registration.user).ok_or(Refusal::NoSuchUser)?;
        let triggers = account.registrations.saturating_add(registration.weight());
        if triggers > self.limits.registrations {
            return Err(Refusal::Quota("triggers of a user"));
        }
        let id = self.state.next_registration;
        self.push(Change::Register { id, registration })?;
        Ok(id)
    }

    /// Somebody else's registration is told no more of than one that never was.
    pub(super) fn ungc(&mut self, id: RegistrationId) -> Result<Answer, Refusal> {
        let registration = self.state.registrations.get(&id).ok_or(Refusal::NotFound)?;
        let is_own = self.actor.user.as_ref() == Some(&registration.user);
        let is_within =
            self.actor.cap.is_none() || self.needs(Level::Owner, &registration.path).is_ok();
        if !(self.is_root() || is_own && is_within) {
            return Err(Refusal::NotFound);
        }
        self.push(Change::Unregister { id })?;
        Ok(Answer::Done)
    }

    pub(super) fn emit(&mut self, message: &Message) -> Result<Answer, Refusal> {
        if self.actor.cap.is_some() {
            return Err(Refusal::Limited);
        }
        self.state.account(&message.user).ok_or(Refusal::NoSuchUser)?;
        self.messages.push(Sent { message: message.clone(), src: self.actor.user.clone() });
        Ok(Answer::Sent)
    }

    /// Whether the actor may do what only ROOT may.
    pub(super) fn is_root(&self) -> bool {
        let is_root = |it: &UserName| self.has_rank(it, Rank::Root) && self.is_self(it);
        self.actor.is_server() || self.actor.user.as_ref().is_some_and(is_root)
    }

    /// Whether the actor is `user` in person. A token that is limited to a path or a level is not
    /// meant for accounts, and one of a service only for those of the users that it serves.
    pub(super) fn is_self(&self, user: &UserName) -> bool {
        let Actor { user: actor, cap, service, .. } = self.actor.as_ref();
        actor.as_ref() == Some(user) && cap.is_none() && service.is_none()
    }
}
