//! The commands that begin and end what a session is told unasked.

use std::{collections::BTreeSet, sync::Arc};

use daemon::{Failure, Guest, OrNull, Session, Source};
use serde_json::{Value, json};
use state::{Event, Filter, Path, Pattern, Subscription, actor::SessionId};

use super::{
    Server,
    opts::{UnwatchOpts, WatchOpts, Which},
    refused,
    tap::Tap,
    visitor::Visitor,
};

type Me = Session<Visitor>;

impl Server {
    pub(super) fn subscribe(
        &self,
        guest: Guest,
        me: Me,
        OrNull(pattern): OrNull<Pattern>,
        opts: Option<WatchOpts>,
    ) -> Result<Value, Failure> {
        let session = self.open_feed(&guest, &me)?;
        let Some(pattern) = pattern else { return Ok(json!({})) };
        let WatchOpts { name, src, echo, since } = opts.unwrap_or_default();
        let filter = Filter { names: name, src, has_echo: echo.unwrap_or(true) };
        let mut commits = self.commits();
        let subject = self.subject(&guest, &me, commits.durable())?;
        commits.durable().may_watch(&subject, &pattern.prefix()).map_err(|it| refused(&it))?;
        let rev = commits.durable().revision();
        let subscription = Subscription { pattern, filter };
        let id = commits
            .begin(&session, subscription, self.limits.subscriptions, since)
            .map_err(|it| refused(&it))?;
        Ok(json!({ "sub": id, "rev": rev }))
    }

    pub(super) fn subscribe_sync(
        &self,
        guest: Guest,
        me: Me,
        path: Path,
    ) -> Result<Value, Failure> {
        let session = self.open_feed(&guest, &me)?;
        let mut commits = self.commits();
        let subject = self.subject(&guest, &me, commits.durable())?;
        commits.durable().may_watch(&subject, &path).map_err(|it| refused(&it))?;
        let rev = commits.durable().revision();
        let value = subject.readable(commits.durable().root(), &path);
        commits.watchers.push(&session, &Event::sync(vec![], rev, path, value));
        Ok(json!({ "rev": rev }))
    }

    pub(super) fn unsubscribe(
        &self,
        guest: Guest,
        me: Me,
        which: Which,
        opts: Option<UnwatchOpts>,
    ) -> Result<Value, Failure> {
        let session = self.enter(&guest, &me);
        let names: Option<BTreeSet<_>> = opts.unwrap_or_default().name;
        let mut commits = self.commits();
        let subscriptions = commits.watchers.subscriptions_mut();
        let removed = match which {
            Which::Id(id) => usize::from(subscriptions.unsubscribe(&session, id)),
            Which::Pattern(pattern) => {
                subscriptions.unsubscribe_all(&session, &pattern, names.as_ref())
            }
        };
        Ok(json!({ "removed": removed }))
    }

    /// Opens the session's stream unless it is open; nobody hears anything before that.
    fn open_feed(&self, guest: &Guest, me: &Me) -> Result<SessionId, Failure> {
        let session = self.enter(guest, me);
        let login = me.login();
        if login.is_none() && !self.limits.allows_anonymous {
            return Err(refused(&state::Refusal::AuthRequired));
        }
        let (user, cap) = login.map_or((None, None), |it| (Some(it.user), it.cap));
        let tap = || {
            let tap = Tap::new(Arc::downgrade(&self.commits), session.clone());
            Arc::new(tap) as Arc<dyn Source>
        };
        self.commits().watchers.open(&session, guest, user, cap, tap)?;
        Ok(session)
    }
}
