//! Records into the state. Nothing is decided here, so the same records give the same state.

use crate::{
    account::{Account, Secret},
    entry::{Entries, Entry, Who},
    level::{Level, Rank},
    name::UserName,
    node::Node,
    path::{Path, Segment},
    record::{Change, Record},
    state::{Parts, State},
    tree::{Misfit, is_in_array},
    trigger::{Registration, RegistrationId, Trigger},
};

/// Where homes are.
pub(crate) const HOMES: &str = "users";

/// Why a record is not one of this state: it was not decided on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// A change of the tree does not fit.
    #[error("a record does not fit the state before it")]
    Tree(#[from] Misfit),
    /// It changes an account that is not there.
    #[error("a record is about an account that is not there")]
    Account,
    /// A path in it is too deep.
    #[error("a record has a path that is too deep")]
    Deep,
}

impl State {
    /// Takes the state one commit further.
    ///
    /// # Errors
    /// If the record was not made for this state, which then stays as it is.
    pub fn apply(&mut self, record: &Record) -> Result<(), ApplyError> {
        let mut next = self.clone();
        next.advance();
        record.acts.iter().try_for_each(|it| next.change(&it.change))?;
        *self = next;
        Ok(())
    }

    /// Begins the next revision.
    pub(crate) fn advance(&mut self) {
        self.parts_mut().revision += 1;
    }

    /// Makes `change` part of the current revision.
    pub(crate) fn change(&mut self, change: &Change) -> Result<(), ApplyError> {
        self.parts_mut().change(change)
    }
}

impl Parts {
    /// Makes `change` part of the current revision.
    fn change(&mut self, change: &Change) -> Result<(), ApplyError> {
        let rev = self.revision;
        match change {
            Change::Create { path, name, value, entries } => {
                self.create(path, name, value, entries)?;
            }
            Change::Update { path, value } => {
                self.root.put(path, value, rev)?;
                self.let_go(path);
            }
            Change::Merge { path, patch } => {
                self.root.merge(path, patch, rev)?;
                self.let_go(path);
            }
            Change::Delete { path } => {
                self.root.take(path, rev)?;
                self.let_go(path);
            }
            Change::Permit { path, who, entry } => self.root.permit(path, who, *entry)?,
            Change::Register { id, registration } => self.register(*id, registration),
            Change::Unregister { id } => self.unregister(*id),
            Change::Account { user, rank, password, is_new_password } => {
                self.set_account(user, *rank, password, *is_new_password);
            }
            Change::DeleteUser { user } => self.delete_user(user)?,
            Change::Token { id, token } => self.tokens.set(id.clone(), token.clone()),
            Change::RevokeToken { id } => self.tokens.remove(id),
            Change::Quota { path, quota: Some(quota) } => self.quotas.set(path.clone(), *quota),
            Change::Quota { path, quota: None } => drop(self.quotas.remove(path)),
            Change::Begin { history } => self.histories.begin(rev, history.clone()),
        }
        Ok(())
    }

    fn create(
        &mut self,
        path: &Path,
        name: &Segment,
        value: &Node,
        entries: &Entries,
    ) -> Result<(), ApplyError> {
        let path = path.below(name.clone()).map_err(|_| ApplyError::Deep)?;
        self.root.put(&path, value, self.revision)?;
        for (who, entry) in entries.iter() {
            self.root.permit(&path, who, Some(*entry))?;
        }
        Ok(())
    }

    fn register(&mut self, id: RegistrationId, registration: &Registration) {
        self.index(id, registration);
        self.count_registrations(&registration.user, |it| it.saturating_add(registration.weight()));
        self.registrations.set(id, registration.clone());
        self.next_registration = self.next_registration.max(id + 1);
    }

    /// Makes `registration` be found by its triggers.
    pub(crate) fn index(&mut self, id: RegistrationId, registration: &Registration) {
        for trigger in &registration.triggers {
            self.triggers.set((trigger.clone(), id), ());
        }
        if registration.is_ephemeral {
            self.ephemeral.set((registration.path.clone(), id), ());
        }
    }

    fn unregister(&mut self, id: RegistrationId) {
        let Some(registration) = self.registrations.remove(&id) else { return };
        let weight = registration.weight();
        for trigger in registration.triggers {
            self.triggers.remove(&(trigger, id));
        }
        if registration.is_ephemeral {
            self.ephemeral.remove(&(registration.path, id));
        }
        self.count_registrations(&registration.user, |it| it.saturating_sub(weight));
    }

    /// Ends what was to go with nodes at and below `path` that are not there any more.
    fn let_go(&mut self, path: &Path) {
        let from = (path.clone(), 0);
        let below = self.ephemeral.iter_from(&from).take_while(|it| it.0.0.starts_with(path));
        let is_gone = |path: &Path| self.root.at(path).is_none() || is_in_array(&self.root, path);
        let gone = below.filter(|it| is_gone(&it.0.0)).map(|it| it.0.1);
        let gone: Vec<RegistrationId> = gone.collect();
        gone.into_iter().for_each(|it| self.unregister(it));
    }

    /// Makes what waits for `trigger` due at any time: it is done afterwards, however much it is,
    /// and a restart in between changes nothing.
    fn make_due(&mut self, trigger: &Trigger) {
        for id in self.fired_by(trigger) {
            let Some(registration) = self.registrations.get(&id).cloned() else { continue };
            self.unregister(id);
            self.register(id, &Registration { triggers: vec![Trigger::At(0)], ..registration });
        }
    }

    fn count_registrations(&mut self, user: &UserName, count: impl Fn(u32) -> u32) {
        if let Some(account) = self.accounts.get(user) {
            let registrations = count(account.registrations);
            self.accounts.set(user.clone(), Account { registrations, ..account.clone() });
        }
    }

    fn set_account(
        &mut self,
        user: &UserName,
        rank: Rank,
        password: &Option<Secret>,
        is_new_password: bool,
    ) {
        let registrations = self.accounts.get(user).map_or(0, |it| it.registrations);
        let account = Account { rank, password: password.clone(), registrations };
        self.accounts.set(user.clone(), account);
        if is_new_password {
            self.tokens.remove_of(user, |it| it.is_own);
        }
    }

    fn delete_user(&mut self, user: &UserName) -> Result<(), ApplyError> {
        self.accounts.remove(user).ok_or(ApplyError::Account)?;
        self.tokens.remove_of(user, |_| true);
        let own = self.registrations.iter().filter(|(_, it)| it.user == *user);
        let own: Vec<RegistrationId> = own.map(|it| *it.0).collect();
        own.into_iter().for_each(|it| self.unregister(it));
        self.make_due(&Trigger::UserDeleted(user.clone()));
        if let Some(home) = home(user) {
            self.quotas.remove(&home);
        }
        self.root.forget(user);
        Ok(())
    }

    /// The registrations that `trigger` fires, oldest first.
    pub(crate) fn fired_by(&self, trigger: &Trigger) -> Vec<RegistrationId> {
        let from = (trigger.clone(), 0);
        let fired = self.triggers.iter_from(&from).take_while(|it| it.0.0 == *trigger);
        fired.map(|it| it.0.1).collect()
    }
}

/// Where the home of `user` is; scripts have none.
pub fn home(user: &UserName) -> Option<Path> {
    if user.is_script() { None } else { Path::of([HOMES, user.as_str()]).ok() }
}

/// The entry of a user at what is his.
pub(crate) fn entry_for(user: &UserName, level: Level) -> Entries {
    let entry = Entry { level, is_important: false };
    [(Who::User(user.clone()), entry)].into_iter().collect()
}
