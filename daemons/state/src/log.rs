//! The last commits, for those who were away for a while.

use std::{collections::VecDeque, sync::Arc};

use crate::{
    account::Time,
    deliver::retell,
    entry::Who,
    event::{Event, SubscriptionId},
    name::UserName,
    node::Revision,
    queue::QueueLimits,
    record::{Act, Change, Record},
    state::State,
    subscription::{Subscriber, Subscription},
};

/// How much of the past is kept.
#[derive(Clone, Copy, Debug)]
pub struct LogLimits {
    /// How long, in milliseconds.
    pub age: Time,
    /// How much, in bytes: of the records, and of what the states that they lead through do not
    /// share.
    pub bytes: usize,
}

impl Default for LogLimits {
    fn default() -> Self {
        Self { age: 3_600_000, bytes: 64 << 20 }
    }
}

/// One commit of the past.
#[derive(Clone, Debug)]
struct Past {
    before: State,
    after: State,
    record: Arc<Record>,
    bytes: usize,
}

/// Commits of the past with the states around them, the oldest first.
#[derive(Clone, Debug)]
pub struct ChangeLog {
    limits: LogLimits,
    past: VecDeque<Past>,
    bytes: usize,
}

impl ChangeLog {
    /// One that reaches back to nothing.
    pub fn new(limits: LogLimits) -> Self {
        Self { limits, past: VecDeque::new(), bytes: 0 }
    }

    /// Adds a commit whose record is of so many `bytes`, and forgets what is too old by then.
    pub fn push(&mut self, before: State, after: State, record: Arc<Record>, bytes: usize) {
        let oldest = record.at.saturating_sub(self.limits.age);
        let bytes = bytes + copied(&record);
        self.bytes += bytes;
        self.past.push_back(Past { before, after, record, bytes });
        while self.past.front().is_some_and(|it| it.record.at < oldest)
            || self.bytes > self.limits.bytes
        {
            self.bytes -= self.past.pop_front().map_or(self.bytes, |it| it.bytes);
        }
    }

    /// What a subscription has missed since `since`, up to `now`, commit by commit. `None` if it
    /// needs a `sync`: the log does not reach back, it is more than may wait at once, or the
    /// subscriber's permissions have changed, and with them what of the past may be told.
    pub fn since(
        &self,
        since: Revision,
        now: &State,
        subscriber: &Subscriber,
        subscription: (SubscriptionId, &Subscription),
        most: QueueLimits,
    ) -> Option<Vec<Vec<Event>>> {
        let start = self.past.partition_point(|it| it.before.revision() < since);
        let missed = || self.past.range(start..);
        let reached = missed().next_back().map_or(since, |it| it.after.revision());
        let from = missed().next().map_or(since, |it| it.before.revision());
        if from != since || reached != now.revision() {
            return None;
        }
        if missed().any(|it| touches(&it.record, subscriber.user())) {
            return None;
        }
        let (mut told, mut events, mut bytes) = (Vec::new(), 0, 0);
        for past in missed() {
            let news = retell(&past.before, &past.after, &past.record, subscriber, subscription);
            events += news.len();
            bytes += news.iter().map(Event::bytes).sum::<usize>();
            if events > most.items || bytes > most.bytes {
                return None;
            }
            told.push(news);
        }
        Some(told)
    }
}

/// About how much of the tree a commit copies, which is kept as long as the state before it: all
/// nodes on the way to each change, with those beside them.
fn copied(record: &Record) -> usize {
    const STEP: usize = 4096;
    let steps = |act: &Act| match &act.change {
        Change::Create { path, .. } => path.len() + 2,
        Change::Update { path, .. }
        | Change::Merge { path, .. }
        | Change::Delete { path }
        | Change::Permit { path, .. }
        | Change::Quota { path, .. } => path.len() + 1,
        _ => 1,
    };
    record.acts.iter().map(|it| steps(it) * STEP).sum()
}

/// Whether `record` may have changed what `user` may do.
fn touches(record: &Record, user: Option<&UserName>) -> bool {
    record.acts.iter().any(|act| match &act.change {
        Change::Permit { who: Who::Everybody, .. } => true,
        Change::Permit { who: Who::User(name), .. }
        | Change::Account { user: name, .. }
        | Change::DeleteUser { user: name } => Some(name) == user,
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        Filter, Pattern, Subscriptions,
        fixture::{World, user},
    };

    /// A world whose commits are kept.
    struct Logged {
        world: World,
        log: ChangeLog,
    }

    impl Logged {
        fn new(limits: LogLimits) -> Self {
            let world = World::with(json!({"a": {"x": 1}}), &[("", "bob:4")]);
            Self { world, log: ChangeLog::new(limits) }
        }

        fn must(&mut self, command: serde_json::Value) -> Revision {
            let before = self.world.state.clone();
            let rev = self.world.must("boss", command).rev;
            let record = Arc::new(self.world.records.last().unwrap().clone());
            let after = self.world.state.clone();
            // Each takes 100 bytes beside what is copied.
            self.log.push(before, after, Arc::clone(&record), 100);
            rev
        }

        fn since(&self, rev: Revision) -> Option<Vec<(Revision, String)>> {
            let mut subscriptions = Subscriptions::default();
            subscriptions.open("bob".into(), Some(user("bob")), None);
            let pattern = Pattern::of(["a", "**"]).unwrap();
            let subscription = Subscription { pattern, filter: Filter::default() };
            let subscriber = subscriptions.subscriber(&"bob".into()).unwrap();
            let most = QueueLimits { items: 2, ..QueueLimits::default() };
            let state = &self.world.state;
            let told = self.log.since(rev, state, subscriber, (1, &subscription), most)?;
            Some(
                told.iter()
                    .flatten()
                    .map(|it| (it.rev, format!("{:?}", it.happening.name())))
                    .collect(),
            )
        }
    }

    #[test]
    fn what_was_missed_is_told_in_order() {
        let mut logged = Logged::new(LogLimits::default());
        let rev = logged.world.state.revision();
        logged.must(json!(["update", "a/x", 2]));
        logged.must(json!(["update", "b", 2]));
        logged.must(json!(["delete", "a/x"]));
        let name = |it: &str| it.to_owned();
        assert_eq!(
            logged.since(rev),
            Some(vec![(rev + 1, name("Update")), (rev + 3, name("Delete"))])
        );
        assert_eq!(logged.since(rev + 1), Some(vec![(rev + 3, name("Delete"))]));
        assert_eq!(logged.since(rev + 3), Some(vec![]));
        assert_eq!((logged.since(rev - 1), logged.since(rev + 4)), (None, None));
        logged.must(json!(["update", "a/x", 3]));
        assert_eq!(logged.since(rev), None, "more than may wait");
        assert!(logged.since(rev + 1).is_some());
    }

    #[test]
    fn whose_permissions_have_changed_needs_a_sync() {
        let mut logged = Logged::new(LogLimits::default());
        let rev = logged.world.state.revision();
        logged.must(json!(["updatePerms", "a/x", "carol", {"lvl": 2}]));
        assert!(logged.since(rev).is_some());
        for who in ["bob", "*"] {
            let rev = logged.must(json!(["update", "a/x", 2]));
            logged.must(json!(["updatePerms", "a/x", who, {"lvl": 4}]));
            assert_eq!(logged.since(rev), None, "{who}");
        }
    }

    #[test]
    fn the_log_forgets_by_age_and_by_size() {
        let mut logged = Logged::new(LogLimits { age: 1000, bytes: 2 * 4096 * 3 + 250 });
        let first = logged.must(json!(["update", "a/x", 1]));
        let second = logged.must(json!(["update", "a/x", 2]));
        logged.must(json!(["update", "a/x", 3]));
        assert!(logged.since(first - 1).is_none() && logged.since(first).is_some());
        logged.world.now += 1001;
        logged.must(json!(["update", "a/x", 4]));
        assert!(logged.since(second + 1).is_some() && logged.since(second).is_none());
    }
}
