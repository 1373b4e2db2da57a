//! Who changed what, or was refused it: a line each in the log of the daemon, under `audit`, if
//! that is wanted. Never what was written, and no secret.

use std::fmt::Display;

use state::{
    Operation, Path, Record, Request, Revision,
    actor::Actor,
    name::UserName,
    record::{Act, Change},
};

/// What is written of changes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Audit {
    is_on: bool,
}

/// What was done or asked for.
struct What<'a> {
    command: &'static str,
    path: Option<Path>,
    /// About whom, or which.
    of: Option<&'a dyn Display>,
}

impl Audit {
    pub(crate) fn new(is_on: bool) -> Self {
        Self { is_on }
    }

    /// A commit is durable, as `rev`.
    pub(super) fn done(self, record: &Record, rev: Revision) {
        self.each(record, "ok", Some(rev));
    }

    /// A commit could not be made durable.
    pub(super) fn lost(self, record: &Record) {
        self.each(record, "read-only", None);
    }

    /// A request was refused as `code`.
    pub(super) fn refused(self, actor: &Actor, request: &Request, code: &str) {
        if !self.is_on || request.is_dry {
            return;
        }
        for step in &request.steps {
            let user = step.acting_as.as_ref().or(actor.user.as_ref());
            write(user, &what_was_asked(&step.operation), code, None);
        }
    }

    fn each(self, record: &Record, code: &str, rev: Option<Revision>) {
        if !self.is_on {
            return;
        }
        for Act { change, src, .. } in &record.acts {
            write(src.as_ref(), &what_was_done(change), code, rev);
        }
    }
}

fn write(user: Option<&UserName>, what: &What<'_>, code: &str, rev: Option<Revision>) {
    let What { command, path, of } = what;
    // A field without a value is left out; what is debugged is in one line and has its quotes.
    tracing::info!(
        target: "audit",
        user = user.map(tracing::field::display),
        command,
        path = path.as_ref().map(tracing::field::debug),
        of = of.map(tracing::field::display),
        code,
        rev,
    );
}

fn what_was_done(change: &Change) -> What<'_> {
    let at = |command, path: &Path| What { command, path: Some(path.clone()), of: None };
    match change {
        Change::Create { path, name, .. } => {
            What { command: "create", path: path.below(name.clone()).ok(), of: None }
        }
        Change::Update { path, .. } => at("update", path),
        Change::Merge { path, .. } => at("merge", path),
        Change::Delete { path } => at("delete", path),
        Change::Permit { path, who, .. } => What { of: Some(who), ..at("updatePerms", path) },
        Change::Register { id, registration } => {
            What { of: Some(id), ..at("gc", &registration.path) }
        }
        Change::Unregister { id } => of("ungc", id),
        Change::Account { user, .. } => of("account", user),
        Change::DeleteUser { user } => of("deleteUser", user),
        Change::Token { token, .. } => of("createToken", &token.user),
        Change::RevokeToken { id } => of("revokeToken", id),
        Change::Quota { path, .. } => at("setQuota", path),
        Change::Begin { .. } => What { command: "restore", path: None, of: None },
    }
}

fn what_was_asked(operation: &Operation) -> What<'_> {
    let at = |command, path: &Path| What { command, path: Some(path.clone()), of: None };
    match operation {
        Operation::Create { path, name, .. } => {
            What { command: "create", path: path.below(name.clone()).ok(), of: None }
        }
        Operation::Update { path, .. } => at("update", path),
        Operation::Merge { path, .. } => at("merge", path),
        Operation::Delete { path } => at("delete", path),
        Operation::UpdatePerms { path, who, .. } => {
            What { of: Some(who), ..at("updatePerms", path) }
        }
        Operation::Gc { path, .. } => at("gc", path),
        Operation::Ungc { id } | Operation::Fire { id } => of("ungc", id),
        Operation::Emit(message) => of("emit", &message.user),
        Operation::CreateUser { user, .. } => of("createUser", user),
        Operation::ChangePassword { user, .. } | Operation::Rehash { user, .. } => {
            of("changePassword", user)
        }
        Operation::UpdateUserLevel { user, .. } => of("updateUserLevel", user),
        Operation::DeleteUser { user, .. } => of("deleteUser", user),
        Operation::CreateToken { token, .. } => of("createToken", &token.user),
        Operation::RevokeToken { id } => of("revokeToken", id),
        Operation::SetQuota { path, .. } => at("setQuota", path),
    }
}

fn of<'a>(command: &'static str, of: &'a dyn Display) -> What<'a> {
    What { command, path: None, of: Some(of) }
}
