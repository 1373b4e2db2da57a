//! From what somebody asks to what is done: every check, in one order.
//!
//! Arguments, authentication, permission, existence and shape, preconditions, quota. Who lacks
//! permission never comes as far as what exists.

mod accounts;
mod arguments;
mod fire;
mod owner;
mod tree;

use std::borrow::Cow;

use crate::{
    account::Time,
    actor::Actor,
    apply::{ApplyError, HOMES},
    failure::{Failure, Refusal},
    level::Level,
    limits::Limits,
    name::UserName,
    node::{Kind, Node, Revision},
    operation::{Message, Operation, Request, Step},
    path::{Path, Segment},
    permission::Subject,
    record::{Act, Change, Record},
    rule::Action,
    state::State,
    trigger::RegistrationId,
};

/// What was decided.
#[derive(Clone, Debug)]
pub struct Commit {
    /// To be made durable; none if nothing was changed, or nothing was to be.
    pub record: Option<Record>,
    /// The state with it: what replaying the record gives. Without a record, the state before.
    pub after: State,
    /// The revision that a reply tells: of the commit, or of one that would have been made.
    pub rev: Revision,
    /// What each step is answered, in order.
    pub answers: Vec<Answer>,
    /// To be sent once the record is durable, in order.
    pub messages: Vec<Sent>,
}

/// What became of one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Done, as of the commit's revision.
    Done,
    /// Registered under this id.
    Registered(RegistrationId),
    /// The next of the messages will be sent; in a dry run it would.
    Sent,
    /// Fired, but what it was for is not allowed any more, or gone.
    Dropped,
    /// It was taken back before it fired.
    Gone,
}

/// A message with who sends it.
#[derive(Clone, Debug, PartialEq)]
pub struct Sent {
    /// What is sent.
    pub message: Message,
    /// Who sends it; nobody if the server does.
    pub src: Option<UserName>,
}

/// Decides `request` of `actor` on `state`, which stays as it is.
///
/// # Errors
/// The first reason not to do it; of a batch with its index, and then none of it is done.
pub fn decide(
    state: &State,
    actor: &Actor,
    request: &Request,
    limits: &Limits,
) -> Result<Commit, Failure> {
    arguments::check(request, limits)?;
    let mut draft = Draft::new(state, actor, request, limits);
    draft.may_ask().map_err(|refusal| Failure { refusal, index: None })?;
    for (index, step) in request.steps.iter().enumerate() {
        let index = request.is_batch.then_some(index);
        draft.decide(step).map_err(|refusal| Failure { refusal, index })?;
    }
    Ok(draft.finish(state, request.is_dry))
}

/// A state on the way to the next, with the changes so far.
struct Draft<'a> {
    limits: &'a Limits,
    request: &'a Request,
    /// Who asked.
    asker: &'a Actor,
    /// As whom the current step is judged.
    actor: Cow<'a, Actor>,
    req: Option<String>,
    state: State,
    acts: Vec<Act>,
    answers: Vec<Answer>,
    messages: Vec<Sent>,
}

impl<'a> Draft<'a> {
    fn new(state: &State, asker: &'a Actor, request: &'a Request, limits: &'a Limits) -> Self {
        let state = state.clone();
        let answers = Vec::with_capacity(request.steps.len());
        let (acts, messages) = (Vec::new(), Vec::new());
        let actor = Cow::Borrowed(asker);
        Self { limits, request, asker, actor, req: None, state, acts, answers, messages }
    }

    fn finish(self, before: &State, is_dry: bool) -> Commit {
        let Self { answers, messages, state, .. } = self;
        let rev = state.revision;
        if is_dry {
            return Commit { record: None, after: before.clone(), rev, answers, messages: vec![] };
        }
        if self.acts.is_empty() {
            return Commit { record: None, after: before.clone(), rev, answers, messages };
        }
        let record = Record::new(self.request.now, self.asker.session.clone(), self.acts);
        Commit { record: Some(record), after: state, rev, answers, messages }
    }

    fn decide(&mut self, step: &Step) -> Result<(), Refusal> {
        self.actor = self.acting(step)?;
        self.req = step.req.clone().or_else(|| self.request.req.clone());
        let answer = match &step.operation {
            Operation::Create { path, name, value, is_ephemeral } => {
                self.create(step, (path, name), value, *is_ephemeral)
            }
            Operation::Update { path, value } => self.update(step, path, value),
            Operation::Merge { path, patch } => self.merge(step, path, patch),
            Operation::Delete { path } => self.delete(step, path),
            Operation::UpdatePerms { path, who, entry } => {
                self.update_perms(step, path, who, *entry)
            }
            Operation::Gc { path, wishes } => self.gc(step, path, wishes),
            Operation::Ungc { id } => self.ungc(*id),
            Operation::Emit(message) => self.emit(message),
            Operation::CreateUser { user, password, rank } => {
                self.create_user(user, password.as_ref(), *rank)
            }
            Operation::ChangePassword { user, password, proven } => {
                self.change_password(user, password, proven.as_ref())
            }
            Operation::Rehash { user, from, to } => self.rehash(user, from, to),
            Operation::UpdateUserLevel { user, rank } => self.update_user_level(user, *rank),
            Operation::DeleteUser { user, keeps_home } => self.delete_user(user, *keeps_home),
            Operation::CreateToken { id, token } => self.create_token(id, token),
            Operation::RevokeToken { id } => self.revoke_token(id),
            Operation::SetQuota { path, quota } => self.set_quota(path, *quota),
            Operation::Fire { id } => self.fire(*id),
        }?;
        self.answers.push(answer);
        Ok(())
    }

    /// As whom `step` is judged.
    fn acting(&self, step: &Step) -> Result<Cow<'a, Actor>, Refusal> {
        self.authenticated(self.asker, &step.operation)?;
        let Some(user) = &step.acting_as else { return Ok(Cow::Borrowed(self.asker)) };
        if !self.asker.service.as_ref().is_some_and(|it| it.acts_as(user)) {
            return Err(Refusal::NotForThatUser);
        }
        self.state.account(user).ok_or(Refusal::NoSuchUser)?;
        let (session, cap) = (self.asker.session.clone(), self.asker.cap.clone());
        Ok(Cow::Owned(Actor { user: Some(user.clone()), session, cap, service: None }))
    }

    /// Whether who asks may ask for anything: each step says what it needs itself, so this is for
    /// a request without any.
    fn may_ask(&self) -> Result<(), Refusal> {
        let is_known = self.asker.is_server()
            || self.asker.user.as_ref().is_some_and(|it| self.state.account(it).is_some());
        let has_steps = !self.request.steps.is_empty();
        let is_enough = has_steps || is_known || self.limits.allows_anonymous;
        if is_enough { Ok(()) } else { Err(Refusal::AuthRequired) }
    }

    /// Whether `actor` has logged in as far as `operation` needs it.
    fn authenticated(&self, actor: &Actor, operation: &Operation) -> Result<(), Refusal> {
        let is_enough = match &actor.user {
            _ if actor.is_server() => true,
            // An account that is gone is nobody.
            Some(user) => self.state.account(user).is_some(),
            None => match operation {
                Operation::CreateUser { .. } => self.limits.self_register,
                Operation::Create { is_ephemeral, .. } => {
                    self.limits.allows_anonymous && !is_ephemeral
                }
                Operation::Update { .. }
                | Operation::Merge { .. }
                | Operation::Delete { .. }
                | Operation::UpdatePerms { .. } => self.limits.allows_anonymous,
                _ => false,
            },
        };
        if is_enough { Ok(()) } else { Err(Refusal::AuthRequired) }
    }

    fn now(&self) -> Time {
        self.request.now
    }

    fn subject(&self) -> Subject {
        self.state.judge(&self.actor)
    }

    /// Whether the decision table lets the actor do `action` at `path`.
    fn permitted(&self, action: Action, path: &[Segment]) -> Result<(), Refusal> {
        let (rule, subject) = (action.rule(), self.subject());
        self.needs(rule.level, path)?;
        match rule.guard {
            Some(level) if !subject.passes_guard(&self.state.root, path, level) => {
                Err(Refusal::NeedsLevel(level))
            }
            _ => Ok(()),
        }
    }

    fn needs(&self, level: Level, path: &[Segment]) -> Result<(), Refusal> {
        let is_enough = self.subject().level(&self.state.root, path) >= level;
        if is_enough { Ok(()) } else { Err(Refusal::NeedsLevel(level)) }
    }

    /// Whether what `step` expects at `path` is so. Whoever comes here may read there.
    fn expected(&self, step: &Step, path: &[Segment]) -> Result<(), Refusal> {
        let rev = self.state.root.at(path).map_or(0, Node::rev);
        let is_rev = step.if_rev.is_none_or(|it| it == rev);
        let is_value = step.if_value.as_ref().is_none_or(|expected| {
            let found = self.subject().readable(&self.state.root, path);
            found.is_some_and(|it| it.is_same(expected))
        });
        if is_rev && is_value { Ok(()) } else { Err(Refusal::Conflict { rev }) }
    }

    /// Makes `change` part of the draft, if it leaves all quotas whole on the way to `path` and
    /// below it.
    fn change(&mut self, path: &Path, change: Change) -> Result<(), Refusal> {
        let before = self.state.root.clone();
        self.push(change)?;
        let is_whole = (0..=path.len()).all(|len| self.has_room(&before, &path[..len]));
        if is_whole && self.has_room_below(&before, path) {
            Ok(())
        } else {
            Err(Refusal::Quota("here"))
        }
    }

    /// Whether the quota of `path` is whole.
    fn has_room(&self, before: &Node, path: &[Segment]) -> bool {
        let totals = |root: &Node| root.at(path).map(Node::totals).unwrap_or_default();
        let quota = self.state.quota_of(path, self.limits);
        quota.is_none_or(|it| !it.is_broken(totals(before), totals(&self.state.root)))
    }

    /// Whether those below it are: what is set above them fills them as well.
    fn has_room_below(&self, before: &Node, path: &Path) -> bool {
        let set = self.state.quotas.iter_from(path).map(|it| it.0);
        let mut below = set.take_while(|it| it.starts_with(path)).filter(|it| *it != path);
        below.all(|it| self.has_room(before, it)) && self.homes_have_room(before, path)
    }

    /// Whether all homes are whole that a change at `path` may have filled at once.
    fn homes_have_room(&self, before: &Node, path: &Path) -> bool {
        let Some(homes) = Path::of([HOMES]).ok().filter(|it| it.starts_with(path)) else {
            return true;
        };
        let is_changed = |it: &&Node| it.rev() == self.state.revision;
        match self.state.root.at(&homes).filter(is_changed).map(Node::kind) {
            Some(Kind::Object(members)) => members.iter().all(|member| {
                let home = homes.below(member.key().clone());
                home.is_ok_and(|it| self.has_room(before, &it))
            }),
            _ => true,
        }
    }

    /// Makes `change` part of the draft.
    fn push(&mut self, change: Change) -> Result<(), Refusal> {
        // Most that changes nothing is a message, and copies nothing.
        if self.acts.is_empty() {
            self.state.advance();
        }
        self.state.change(&change)?;
        self.acts.push(Act { change, src: self.actor.user.clone(), req: self.req.clone() });
        Ok(())
    }
}

impl From<ApplyError> for Refusal {
    fn from(error: ApplyError) -> Self {
        match error {
            ApplyError::Tree(misfit) => misfit.into(),
            ApplyError::Account => Self::NoSuchUser,
            ApplyError::Deep => Self::BadPath(crate::path::PathError::Deep),
        }
    }
}

/// The path of a new member.
fn below(path: &Path, name: &Segment) -> Result<Path, Refusal> {
    path.below(name.clone()).map_err(Refusal::BadPath)
}

#[cfg(test)]
mod tests;
