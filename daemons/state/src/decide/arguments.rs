//! What can be seen to be wrong without looking at the state.

use crate::{
    failure::{Failure, Refusal},
    level::Rank,
    limits::Limits,
    node::{Kind, Node},
    operation::{Operation, Request, Step},
    path::{DEPTH, Path, PathError},
    trigger::Wish,
};

/// The longest `req`, in bytes: it comes back with every event.
const LONGEST_REQ: usize = 64;

/// The longest name of a message, in bytes: as long as a segment of a path.
const LONGEST_NAME: usize = 256;

/// Triggers of one registration: more than there are kinds, so each kind may come more than once.
const TRIGGERS: usize = 16;

/// Checks all steps before any of them is decided.
pub(super) fn check(request: &Request, limits: &Limits) -> Result<(), Failure> {
    let whole = |refusal| Failure { refusal, index: None };
    short(request.req.as_deref()).map_err(whole)?;
    if request.is_batch && request.steps.len() > limits.batch {
        return Err(whole(Refusal::Quota("in a batch")));
    }
    for (index, step) in request.steps.iter().enumerate() {
        let index = request.is_batch.then_some(index);
        let result = batchable(request, step).and_then(|()| sound(step, limits));
        result.map_err(|refusal| Failure { refusal, index })?;
    }
    Ok(())
}

fn batchable(request: &Request, step: &Step) -> Result<(), Refusal> {
    must(!request.is_batch || step.operation.is_batchable(), "not in a batch")
}

fn sound(step: &Step, limits: &Limits) -> Result<(), Refusal> {
    short(step.req.as_deref())?;
    match &step.operation {
        Operation::Create { path, name, value, .. } => {
            let path = path.below(name.clone())?;
            fitting(&path, value, limits)
        }
        Operation::Update { path, value } => {
            let is_object = matches!(value.kind(), Kind::Object(_));
            must(is_object || !path.is_empty(), "the root is an object")?;
            fitting(path, value, limits)
        }
        Operation::Merge { path, patch } => {
            must(matches!(patch.kind(), Kind::Object(_)), "a merge patch is an object")?;
            fitting(path, patch, limits)
        }
        Operation::Delete { path } => must(!path.is_empty(), "the root cannot be deleted"),
        Operation::Gc { path, wishes } => {
            must(!path.is_empty(), "the root cannot be deleted")?;
            must(!wishes.is_empty(), "at least one trigger is needed")?;
            must(wishes.len() <= TRIGGERS, "more than 16 triggers")?;
            wishes.iter().try_for_each(|it| match it {
                Wish::Event { name, .. } => named(name),
                _ => Ok(()),
            })
        }
        Operation::Emit(message) => {
            named(&message.name)?;
            has_no_precondition(step)?;
            if message.payload.len() > limits.value_bytes {
                return Err(Refusal::TooLarge { limit: limits.value_bytes });
            }
            Ok(())
        }
        Operation::CreateUser { user, password, rank } => {
            must(*rank != Rank::Connection, "no account has that level")?;
            let is_script = password.is_none() && *rank == Rank::Program;
            let is_sound = if user.is_script() { is_script } else { password.is_some() };
            must(is_sound, "scripts are programs without a password, all others have one")
        }
        Operation::UpdateUserLevel { user, rank } => {
            must(*rank != Rank::Connection, "no account has that level")?;
            must(!user.is_script() || *rank == Rank::Program, "a script stays a program")
        }
        Operation::ChangePassword { user, .. } => {
            must(!user.is_script(), "a script has no password")
        }
        _ => has_no_precondition(step),
    }
}

fn has_no_precondition(step: &Step) -> Result<(), Refusal> {
    let has_path = matches!(step.operation, Operation::UpdatePerms { .. });
    let has_none = step.if_rev.is_none() && step.if_value.is_none();
    must(has_path || has_none, "there is no node of which to expect something")
}

fn fitting(path: &Path, value: &Node, limits: &Limits) -> Result<(), Refusal> {
    let limit = limits.value_bytes;
    if value.totals().bytes > limit {
        return Err(Refusal::TooLarge { limit });
    }
    if path.len() + value.depth() > DEPTH {
        return Err(PathError::Deep.into());
    }
    Ok(())
}

fn short(req: Option<&str>) -> Result<(), Refusal> {
    must(req.is_none_or(|it| it.len() <= LONGEST_REQ), "`req` is longer than 64 bytes")
}

fn named(name: &str) -> Result<(), Refusal> {
    must(name.len() <= LONGEST_NAME, "the name of a message is longer than 256 bytes")
}

fn must(holds: bool, otherwise: &'static str) -> Result<(), Refusal> {
    if holds { Ok(()) } else { Err(Refusal::BadArgument(otherwise)) }
}
