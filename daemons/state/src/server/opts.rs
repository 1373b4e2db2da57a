//! What stands in the last argument of commands, and other forms that only the wire has.

use std::{collections::BTreeSet, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{self, SeqAccess},
};
use state::{
    Filter, Node, Operation, Path, Request, Revision, Segment, Step, Subscription,
    account::Time,
    entry::{Entry, Who},
    event::EventName,
    history::History,
    level::Level,
    name::{NamePattern, UserName},
    operation::Message,
    pattern::Pattern,
    payload::Payload,
    trigger::Wish,
};

use super::now;

/// Of commands that change something at a path.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct ChangeOpts {
    if_rev: Option<Revision>,
    #[serde(deserialize_with = "present")]
    if_value: Option<Node>,
    parents: Option<bool>,
    req: Option<Req>,
    dry: bool,
    #[serde(rename = "as")]
    acting_as: Option<UserName>,
}

/// Of `create`: those, and one more.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct CreateOpts {
    if_rev: Option<Revision>,
    #[serde(deserialize_with = "present")]
    if_value: Option<Node>,
    parents: Option<bool>,
    req: Option<Req>,
    dry: bool,
    #[serde(rename = "as")]
    acting_as: Option<UserName>,
    pub(crate) ephemeral: bool,
}

/// Of `emit`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct EmitOpts {
    pub(crate) path: Option<Path>,
    req: Option<Req>,
    dry: bool,
    #[serde(rename = "as")]
    acting_as: Option<UserName>,
}

/// Of an `ungc` in a batch: alone it has none.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct UngcOpts {
    req: Option<Req>,
    #[serde(rename = "as")]
    acting_as: Option<UserName>,
}

/// What comes back with events: up to 64 bytes.
#[derive(Debug)]
pub(crate) struct Req(pub(crate) String);

/// Of a batch as a whole.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct BatchOpts {
    pub(crate) req: Option<Req>,
    pub(crate) dry: bool,
}

/// Of `get`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct GetOpts {
    pub(crate) rev: bool,
    pub(crate) depth: Option<usize>,
    /// Where there is one server there is nothing fresher than what it has.
    #[serde(rename = "fresh")]
    _fresh: bool,
    #[serde(rename = "as")]
    pub(crate) acting_as: Option<UserName>,
}

/// Of `keys`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct KeysOpts {
    pub(crate) after: Option<Segment>,
    pub(crate) limit: Option<usize>,
}

/// Of `subscribe`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct WatchOpts {
    pub(crate) name: Option<BTreeSet<EventName>>,
    pub(crate) src: Option<UserName>,
    pub(crate) echo: Option<bool>,
    pub(crate) since: Option<Revision>,
    pub(crate) history: Option<History>,
}

/// Up to where who comes back has heard everything.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) rev: Revision,
    /// Of which history that is; `None` is the first of all.
    pub(crate) history: Option<History>,
}

/// Of `unsubscribe`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct UnwatchOpts {
    pub(crate) name: Option<BTreeSet<EventName>>,
}

/// Which subscriptions.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "expected the id of a subscription, or a path pattern")]
pub(crate) enum Which {
    Id(u64),
    Pattern(Pattern),
}

/// Of `createToken`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct TokenOpts {
    pub(crate) path: Option<Path>,
    pub(crate) lvl: Option<Level>,
    /// How long it opens something, in ms.
    pub(crate) ttl: Option<Time>,
    pub(crate) user: Option<UserName>,
    pub(crate) service: Option<Vec<NamePattern>>,
    #[serde(rename = "as")]
    pub(crate) acting_as: Option<Vec<NamePattern>>,
}

/// A trigger of `gc`.
#[derive(Debug, Deserialize)]
#[serde(tag = "on", rename_all = "camelCase", deny_unknown_fields)]
pub(crate) enum On {
    Disconnect {},
    UserDeleted { user: UserName },
    Event { name: String, src: Option<UserName> },
    After { ms: u64 },
    At { time: Moment },
}

/// A time as ISO 8601 tells it.
#[derive(Debug)]
pub(crate) struct Moment(pub(crate) Time);

impl ChangeOpts {
    /// The request for `operation` under these conditions.
    pub(crate) fn ask(self, operation: Operation) -> Request {
        let is_dry = self.dry;
        Request { is_dry, ..Request::one(self.step(operation), now()) }
    }

    fn step(self, operation: Operation) -> Step {
        Step {
            if_rev: self.if_rev,
            if_value: self.if_value,
            makes_parents: self.parents.unwrap_or(true),
            req: self.req.map(|it| it.0),
            acting_as: self.acting_as,
            ..Step::from(operation)
        }
    }
}

impl From<CreateOpts> for ChangeOpts {
    fn from(opts: CreateOpts) -> Self {
        let CreateOpts { if_rev, if_value, parents, req, dry, acting_as, ephemeral: _ } = opts;
        Self { if_rev, if_value, parents, req, dry, acting_as }
    }
}

impl From<EmitOpts> for ChangeOpts {
    fn from(opts: EmitOpts) -> Self {
        let EmitOpts { path: _, req, dry, acting_as } = opts;
        Self { req, dry, acting_as, ..Self::default() }
    }
}

impl From<UngcOpts> for ChangeOpts {
    fn from(UngcOpts { req, acting_as }: UngcOpts) -> Self {
        Self { req, acting_as, ..Self::default() }
    }
}

impl WatchOpts {
    /// The subscription to `pattern`, and what is known of it already.
    pub(crate) fn of(self, pattern: Pattern) -> (Subscription, Option<Known>) {
        let Self { name, src, echo, since, history } = self;
        let filter = Filter { names: name, src, has_echo: echo.unwrap_or(true) };
        (Subscription { pattern, filter }, since.map(|rev| Known { rev, history }))
    }

    /// Whether nothing is asked for.
    pub(crate) fn is_empty(&self) -> bool {
        let Self { name, src, echo, since, history } = self;
        let is_resumed = since.is_some() || history.is_some();
        name.is_none() && src.is_none() && echo.is_none() && !is_resumed
    }
}

impl From<On> for Wish {
    fn from(on: On) -> Self {
        match on {
            On::Disconnect {} => Self::Disconnect,
            On::UserDeleted { user } => Self::UserDeleted(user),
            On::Event { name, src } => Self::Event { name, src },
            On::After { ms } => Self::After(ms),
            On::At { time } => Self::At(time.0),
        }
    }
}

/// One operation of a batch: `["update",["a"],1]`.
#[derive(Debug)]
pub(crate) struct Op(pub(crate) Step);

impl<'de> Deserialize<'de> for Op {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Op;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an operation: an array of its name and arguments")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Op, A::Error> {
                let name: String = needed(&mut seq, "the name of an operation")?;
                let (operation, opts) = operation(&name, &mut seq)?;
                if seq.next_element::<de::IgnoredAny>()?.is_some() {
                    return Err(de::Error::custom(format!("`{name}`: too many arguments")));
                }
                if opts.dry {
                    return Err(de::Error::custom("`dry` belongs to the whole batch"));
                }
                Ok(Op(opts.step(operation)))
            }
        }
        deserializer.deserialize_seq(Visitor)
    }
}

/// The operation `name` with its arguments.
fn operation<'de, A: SeqAccess<'de>>(
    name: &str,
    seq: &mut A,
) -> Result<(Operation, ChangeOpts), A::Error> {
    let operation = match name {
        "create" => {
            let path = needed(seq, "path")?;
            let (name, value) = (needed(seq, "name")?, needed(seq, "value")?);
            let opts: CreateOpts = optional(seq)?;
            let is_ephemeral = opts.ephemeral;
            return Ok((Operation::Create { path, name, value, is_ephemeral }, opts.into()));
        }
        "update" => Operation::Update { path: needed(seq, "path")?, value: needed(seq, "value")? },
        "merge" => Operation::Merge { path: needed(seq, "path")?, patch: needed(seq, "patch")? },
        "delete" => Operation::Delete { path: needed(seq, "path")? },
        "updatePerms" => {
            let path = needed(seq, "path")?;
            let who: Who = needed(seq, "user")?;
            let entry: Option<Entry> = needed(seq, "perms")?;
            Operation::UpdatePerms { path, who, entry }
        }
        "gc" => {
            let path = needed(seq, "path")?;
            let triggers: Vec<On> = needed(seq, "triggers")?;
            Operation::Gc { path, wishes: triggers.into_iter().map(Wish::from).collect() }
        }
        "ungc" => {
            let operation = Operation::Ungc { id: needed(seq, "id")? };
            return Ok((operation, optional::<UngcOpts, _>(seq)?.into()));
        }
        "emit" => {
            let user = needed(seq, "user")?;
            let (name, payload): (String, Payload) =
                (needed(seq, "name")?, needed(seq, "payload")?);
            let mut opts: EmitOpts = optional(seq)?;
            let path = opts.path.take();
            return Ok((Operation::Emit(Message { user, name, payload, path }), opts.into()));
        }
        other => {
            let message = format!("`{other}` is no operation of a batch");
            return Err(de::Error::custom(message));
        }
    };
    Ok((operation, optional(seq)?))
}

fn needed<'de, T: Deserialize<'de>, A: SeqAccess<'de>>(
    seq: &mut A,
    what: &str,
) -> Result<T, A::Error> {
    seq.next_element()?.ok_or_else(|| de::Error::custom(format!("`{what}` is missing")))
}

fn optional<'de, T: Deserialize<'de> + Default, A: SeqAccess<'de>>(
    seq: &mut A,
) -> Result<T, A::Error> {
    Ok(seq.next_element::<Option<T>>()?.flatten().unwrap_or_default())
}

/// A member that is null is not one that is absent.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Node>, D::Error> {
    Node::deserialize(deserializer).map(Some)
}

impl<'de> Deserialize<'de> for Req {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const BYTES: usize = 64;
        let text = String::deserialize(deserializer)?;
        match text.len() <= BYTES {
            true => Ok(Self(text)),
            false => Err(de::Error::custom(format!("`req` has more than {BYTES} bytes"))),
        }
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let moment: jiff::Timestamp = text.parse().map_err(|_| {
            de::Error::custom(format!("`{text}` is no time such as 2027-01-31T12:00:00Z"))
        })?;
        Ok(Self(moment.as_millisecond().max(0).unsigned_abs()))
    }
}
