//! The commands that read: of what is durable, and pruned to what the session may see.

use daemon::{Failure, Guest, Session};
use serde::{
    Serialize, Serializer,
    ser::{SerializeMap, SerializeSeq},
};
use serde_json::{Value, json};
use state::{Node, Path, Revision, Segment, State, node::Kind, permission::Subject};

use super::{
    Server, bounded,
    opts::{GetOpts, KeysOpts},
    refused, too_long,
    visitor::Visitor,
};

/// What `get` answers.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Got {
    Value(Pruned),
    WithRev { value: Pruned, rev: Revision },
}

/// A value, down to some depth: what is deeper is shown empty.
#[derive(Debug)]
pub(super) struct Pruned {
    node: Node,
    depth: usize,
}

impl Server {
    /// Passes on what came of a command that changes nothing; counts what was refused.
    pub(super) fn counted<T>(&self, result: Result<T, Failure>) -> Result<T, Failure> {
        result.inspect_err(|it| self.commits().counters.count_refused(it.code()))
    }

    pub(super) fn get(
        &self,
        guest: Guest,
        me: Session<Visitor>,
        path: Path,
        opts: Option<GetOpts>,
    ) -> Result<Got, Failure> {
        self.counted(self.value(&guest, &me, &path, opts.unwrap_or_default()))
    }

    fn value(
        &self,
        guest: &Guest,
        me: &Session<Visitor>,
        path: &Path,
        opts: GetOpts,
    ) -> Result<Got, Failure> {
        let commits = self.commits();
        let state = commits.durable();
        let subject = match &opts.acting_as {
            None => self.subject(guest, me, state)?,
            Some(user) => self.subject_as(me, user, state)?,
        };
        let got = state.get(&subject, path).map_err(|it| refused(&it))?;
        drop(commits);
        let (totals, limit) = (got.value.totals(), self.result_bytes);
        let value = Pruned { node: got.value, depth: opts.depth.unwrap_or(usize::MAX) };
        let got = if opts.rev { Got::WithRev { value, rev: got.rev } } else { Got::Value(value) };
        // Before any of it is written.
        if bounded::fits(&got, totals, limit) { Ok(got) } else { Err(too_long(limit)) }
    }

    pub(super) fn keys(
        &self,
        guest: Guest,
        me: Session<Visitor>,
        path: Path,
        opts: Option<KeysOpts>,
    ) -> Result<Vec<Segment>, Failure> {
        let KeysOpts { after, limit } = opts.unwrap_or_default();
        let limit = limit.unwrap_or(self.keys).min(self.keys);
        let state = self.commits().durable().clone();
        self.counted(self.subject(&guest, &me, &state).and_then(|subject| {
            state.keys(&subject, &path, after.as_ref(), limit).map_err(|it| refused(&it))
        }))
    }

    pub(super) fn get_perms(
        &self,
        guest: Guest,
        me: Session<Visitor>,
        path: Path,
    ) -> Result<Value, Failure> {
        let state = self.commits().durable().clone();
        let told = self
            .counted(self.subject(&guest, &me, &state).and_then(|subject| {
                state.permissions(&subject, &path).map_err(|it| refused(&it))
            }))?;
        let mut reply = json!({ "level": told.level });
        if let Some(entries) = told.entries {
            reply["entries"] = serde_json::to_value(entries)?;
        }
        Ok(reply)
    }

    /// How permissions see a session.
    pub(super) fn subject(
        &self,
        guest: &Guest,
        me: &Session<Visitor>,
        state: &State,
    ) -> Result<Subject, Failure> {
        if let Some((user, cap)) = me.reader() {
            return Ok(Subject { cap, ..state.subject(Some(&user)) });
        }
        // Who has logged in is known already.
        self.enter(guest, me);
        match self.limits.allows_anonymous {
            true => Ok(Subject::anonymous()),
            false => Err(refused(&state::Refusal::AuthRequired)),
        }
    }

    fn subject_as(
        &self,
        me: &Session<Visitor>,
        user: &state::name::UserName,
        state: &State,
    ) -> Result<Subject, Failure> {
        let login = me.login();
        let service = login.as_ref().and_then(|it| it.service.as_ref());
        if !service.is_some_and(|it| it.acts_as(user)) {
            return Err(refused(&state::Refusal::NotForThatUser));
        }
        state.account(user).ok_or_else(|| refused(&state::Refusal::NoSuchUser))?;
        let cap = login.and_then(|it| it.cap);
        Ok(Subject { cap, ..state.subject(Some(user)) })
    }
}

impl Serialize for Pruned {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.depth == usize::MAX {
            return self.node.serialize(serializer);
        }
        let below = |node: &Node| Self { node: node.clone(), depth: self.depth.saturating_sub(1) };
        match self.node.kind() {
            Kind::Array(elements) => {
                let mut seq = serializer.serialize_seq(None)?;
                if self.depth > 0 {
                    elements.iter().try_for_each(|it| seq.serialize_element(&below(it)))?;
                }
                seq.end()
            }
            Kind::Object(members) => {
                let mut map = serializer.serialize_map(None)?;
                if self.depth > 0 {
                    let mut each = members.iter();
                    each.try_for_each(|it| map.serialize_entry(it.key(), &below(it.node())))?;
                }
                map.end()
            }
            _ => self.node.serialize(serializer),
        }
    }
}
