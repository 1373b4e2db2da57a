//! From the name and the arguments of a packet to what is asked.

use serde::de::DeserializeOwned;
use serde_json::Value;
use state::{
    Operation, Path, Pattern, Request, Subscription,
    account::{Quota, Secret, Time, Token},
    actor::{Actor, Service},
    event::SubscriptionId,
    level::Rank,
    name::UserName,
};

use crate::{
    now,
    opts::{BatchOpts, GetOpts, Op, TokenOpts, WatchOpts},
};

/// What can be asked.
pub(crate) enum Command {
    Change(Request),
    Read(Path),
    Watch(Subscription),
    Unwatch(SubscriptionId),
    /// The session ends.
    Leave,
    /// Time goes by.
    Wait(Time),
}

/// What `name` asks with `args`; nothing if it cannot be read.
pub(crate) fn read(name: &str, args: &str, actor: &Actor) -> Option<Command> {
    let one = |operation| Some(Command::Change(Request::one(operation, now())));
    match name {
        "batch" => {
            let (ops, opts) =
                last::<(Vec<Op>,), (Vec<Op>, Option<BatchOpts>), _>(args, |(ops,)| (ops, None))?;
            let BatchOpts { req, dry } = opts.unwrap_or_default();
            let steps = ops.into_iter().map(|it| it.0).collect();
            let req = req.map(|it| it.0);
            Some(Command::Change(Request { is_dry: dry, req, ..Request::batch(steps, now()) }))
        }
        "get" | "keys" | "getPerms" => {
            let (path, _) =
                last::<(Path,), (Path, Option<GetOpts>), _>(args, |(path,)| (path, None))?;
            Some(Command::Read(path))
        }
        "subscribe" => {
            let (pattern, opts) =
                last::<(Pattern,), (Pattern, Option<WatchOpts>), _>(args, |(it,)| (it, None))?;
            Some(Command::Watch(opts.unwrap_or_default().of(pattern).0))
        }
        "unsubscribe" => parsed::<(SubscriptionId,)>(args).map(|it| Command::Unwatch(it.0)),
        "createUser" => {
            let (user, password, rank) = parsed::<(UserName, Option<String>, Rank)>(args)?;
            one(Operation::CreateUser { user, password: password.map(Secret::new), rank })
        }
        "changePassword" => {
            let (password, user) = parsed::<(String, UserName)>(args)?;
            one(Operation::ChangePassword { user, password: Secret::new(password), proven: None })
        }
        "updateUserLevel" => {
            let (user, rank) = parsed(args)?;
            one(Operation::UpdateUserLevel { user, rank })
        }
        "deleteUser" => {
            let (user, keeps_home) = parsed(args)?;
            one(Operation::DeleteUser { user, keeps_home })
        }
        "createToken" => token(parsed::<(String, TokenOpts)>(args)?, actor).and_then(one),
        "revokeToken" => {
            parsed::<(String,)>(args).and_then(|it| one(Operation::RevokeToken { id: it.0 }))
        }
        "setQuota" => {
            let (path, quota) = parsed::<(Path, Option<Quota>)>(args)?;
            one(Operation::SetQuota { path, quota })
        }
        "quit" => Some(Command::Leave),
        "wait" => parsed::<(Time,)>(args).map(|it| Command::Wait(it.0)),
        _ => operation(name, args),
    }
}

/// An operation that may be alone as well: it is read as one of a batch, which has the same form.
fn operation(name: &str, args: &str) -> Option<Command> {
    let mut all: Vec<Value> = parsed(args)?;
    all.insert(0, name.into());
    let op: Op = serde_json::from_value(Value::Array(all)).ok()?;
    Some(Command::Change(Request::one(op.0, now())))
}

fn token((id, opts): (String, TokenOpts), actor: &Actor) -> Option<Operation> {
    let TokenOpts { path, lvl, ttl, user, service, acting_as } = opts;
    let is_service = service.is_some() || acting_as.is_some();
    let service =
        Service { service: service.unwrap_or_default(), acting_as: acting_as.unwrap_or_default() };
    let token = Token {
        hash: Secret::new(id.clone()),
        user: user.or_else(|| actor.user.clone())?,
        path,
        level: lvl,
        expires: ttl.map(|it| now().saturating_add(it)),
        service: is_service.then_some(service),
        is_own: false,
    };
    Some(Operation::CreateToken { id, token })
}

fn parsed<T: DeserializeOwned>(args: &str) -> Option<T> {
    serde_json::from_str(args).ok()
}

/// Arguments whose last one may be left out.
fn last<S: DeserializeOwned, T: DeserializeOwned, F: FnOnce(S) -> T>(
    args: &str,
    without: F,
) -> Option<T> {
    parsed(args).or_else(|| parsed(args).map(without))
}
