//! The commands that begin and end what a session is told unasked.

use std::{collections::BTreeSet, sync::Arc};

use daemon::{Failure, Guest, OrNull, Session, Source};
use serde_json::{Value, json};
use state::{Path, Pattern, actor::SessionId};

use super::{
    Server, bounded,
    commits::Commits,
    opts::{UnwatchOpts, WatchOpts, Which},
    refused,
    tap::Tap,
    too_long,
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
        self.counted(self.watch(&guest, &me, pattern, opts.unwrap_or_default()))
    }

    fn watch(
        &self,
        guest: &Guest,
        me: &Me,
        pattern: Option<Pattern>,
        opts: WatchOpts,
    ) -> Result<Value, Failure> {
        let mut commits = self.commits();
        let Some(pattern) = pattern else {
            if !opts.is_empty() {
                let message = "nothing can be asked of messages";
                return Err(Failure::bad_argument(1, "null", message));
            }
            self.subject(guest, me, commits.durable())?;
            self.open_feed(&mut commits, guest, me)?;
            return Ok(json!({}));
        };
        let (subscription, known) = opts.of(pattern);
        let session = self.enter(guest, me);
        let most = self.limits.subscriptions;
        // What is refused leaves no stream behind.
        self.may_sync(&commits, guest, me, &subscription.pattern.prefix())?;
        commits.watchers.forget_ended(&session);
        let watching = commits.watchers.subscriptions();
        watching.has_room(&session, &subscription, most).map_err(|it| refused(&it))?;
        self.open_feed(&mut commits, guest, me)?;
        let id = commits.begin(&session, subscription, most, known).map_err(|it| refused(&it))?;
        let mut told = json!({ "sub": id, "rev": commits.durable().revision() });
        if let Some(history) = commits.durable().history() {
            told["history"] = history.as_str().into();
        }
        Ok(told)
    }

    pub(super) fn subscribe_sync(
        &self,
        guest: Guest,
        me: Me,
        path: Path,
    ) -> Result<Value, Failure> {
        self.counted(self.watch_once(&guest, &me, path))
    }

    fn watch_once(&self, guest: &Guest, me: &Me, path: Path) -> Result<Value, Failure> {
        let mut commits = self.commits();
        self.may_sync(&commits, guest, me, &path)?;
        let session = self.open_feed(&mut commits, guest, me)?;
        let rev = commits.durable().revision();
        let owes = commits.watchers.owe(&session, path);
        owes.map_err(|full| Failure::new("busy", full.to_string()))?;
        Ok(json!({ "rev": rev }))
    }

    /// Whether the session may be told what is at `prefix`, and can be.
    fn may_sync(
        &self,
        commits: &Commits,
        guest: &Guest,
        me: &Me,
        prefix: &Path,
    ) -> Result<(), Failure> {
        let (state, limit) = (commits.durable(), self.result_bytes);
        let subject = self.subject(guest, me, state)?;
        state.may_watch(&subject, prefix).map_err(|it| refused(&it))?;
        let value = subject.readable(state.root(), prefix);
        let fits = value.is_none_or(|it| bounded::fits(&it, it.totals(), limit));
        if fits { Ok(()) } else { Err(too_long(limit)) }
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
        commits.watchers.forget_ended(&session);
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
    fn open_feed(
        &self,
        commits: &mut Commits,
        guest: &Guest,
        me: &Me,
    ) -> Result<SessionId, Failure> {
        let session = self.enter(guest, me);
        let (user, cap) = me.login().map_or((None, None), |it| (Some(it.user), it.cap));
        let tap = |place| {
            let commits = Arc::downgrade(&self.commits);
            let session = (place, session.clone());
            Arc::new(Tap::new(commits, session, self.result_bytes)) as Arc<dyn Source>
        };
        commits.watchers.open(&session, guest, user, cap, tap)?;
        Ok(session)
    }
}
