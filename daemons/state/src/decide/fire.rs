//! Deciding what a fired trigger does.

use std::borrow::Cow;

use super::{Answer, Draft};
use crate::{
    actor::Actor, failure::Refusal, record::Change, rule::Action, trigger::RegistrationId,
};

impl Draft<'_> {
    /// Deletes what the registration is for, as who registered it, with the permissions of this
    /// moment. Refused or gone already, only the registration goes.
    pub(super) fn fire(&mut self, id: RegistrationId) -> Result<Answer, Refusal> {
        self.must_be_server()?;
        let Some(registration) = self.state.registrations.get(&id).cloned() else {
            return Ok(Answer::Gone);
        };
        let asker = self.actor.clone();
        let owner = Actor { user: Some(registration.user), ..Actor::anonymous("".into()) };
        self.actor = Cow::Owned(owner);
        let path = registration.path;
        let is_allowed = self.permitted(Action::Delete, &path).is_ok();
        let is_there = self.state.root.at(&path).is_some();
        let answer = if is_allowed && is_there {
            self.push(Change::Delete { path })?;
            Answer::Done
        } else {
            Answer::Dropped
        };
        self.push(Change::Unregister { id })?;
        self.actor = asker;
        Ok(answer)
    }

    pub(super) fn must_be_server(&self) -> Result<(), Refusal> {
        if self.actor.is_server() { Ok(()) } else { Err(Refusal::NeedsRoot) }
    }
}
