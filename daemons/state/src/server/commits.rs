//! From a decision to its reply: in line, durable, handed out, answered.

use std::{collections::VecDeque, sync::Arc};

use daemon::Failure;
use journal::{AppendError, Expected, Journal, Progress, Receipt, Record as Entry, Store};
use state::{
    Commit, Limits, Record, Refusal, Request, Revision, State, Subscription,
    account::Time,
    actor::{Actor, SessionId},
    decide,
    decide::Sent,
    event::SubscriptionId,
    log::ChangeLog,
    queue::{Item, Owed},
};
use tokio::sync::oneshot;

use super::{
    audit::Audit, chain, counters::Counters, failed, visitors::Visitors, watchers::Watchers,
};

/// The newest state, the durable one, and all commits between the two.
#[derive(Debug)]
pub(crate) struct Commits {
    /// With all commits that are in line.
    newest: State,
    /// What is told to those who ask.
    durable: State,
    waiting: VecDeque<Waiting>,
    /// For those who come back.
    past: ChangeLog,
    /// Who is told of what.
    pub(crate) watchers: Watchers,
    /// Who is logged in.
    pub(crate) visitors: Visitors,
    pub(crate) counters: Counters,
    audit: Audit,
    /// Nothing is taken any more: nobody would settle it.
    is_ending: bool,
    /// Bytes of records that were handed out since that was asked last.
    written: u64,
    /// Whether the journal takes nothing.
    pub(crate) is_read_only: bool,
}

/// A commit that is not durable yet.
#[derive(Debug)]
struct Waiting {
    receipt: Receipt,
    record: Arc<Record>,
    /// Of the record.
    bytes: usize,
    after: State,
    messages: Vec<Sent>,
    done: oneshot::Sender<Result<Reached, Failure>>,
}

/// To how many sessions each message of a commit went.
pub(crate) type Reached = Vec<usize>;

/// A decision, and when it is done.
pub(crate) struct Decided {
    pub(crate) commit: Commit,
    pub(crate) done: Outcome,
}

/// Whether what was decided is done.
pub(crate) enum Outcome {
    /// It is: nothing had to be made durable.
    Done(Reached),
    /// It will be, or fail.
    Waiting(oneshot::Receiver<Result<Reached, Failure>>),
}

impl Commits {
    pub(crate) fn new(state: State, past: ChangeLog, watchers: Watchers) -> Self {
        Self {
            newest: state.clone(),
            durable: state,
            waiting: VecDeque::new(),
            past,
            watchers,
            visitors: Visitors::default(),
            counters: Counters::default(),
            audit: Audit::default(),
            is_ending: false,
            written: 0,
            is_read_only: false,
        }
    }

    /// Has it written who changed what.
    pub(crate) fn audited(self, audit: Audit) -> Self {
        Self { audit, ..self }
    }

    /// The state that may be told.
    pub(crate) fn durable(&self) -> &State {
        &self.durable
    }

    /// The state on which is decided.
    pub(crate) fn newest(&self) -> &State {
        &self.newest
    }

    /// Decides `request`, and puts what it changes in line.
    pub(crate) fn submit(
        &mut self,
        journal: &Store,
        limits: &Limits,
        actor: &Actor,
        request: &Request,
    ) -> Result<Decided, Failure> {
        if self.is_ending {
            return Err(Failure::new("shutting-down", "the server ends"));
        }
        let commit = decide(&self.newest, actor, request, limits).map_err(|failure| {
            self.counters.count_refused(failure.refusal.code());
            self.audit.refused(actor, request, failure.refusal.code());
            failed(&failure)
        })?;
        let Some(record) = &commit.record else {
            let reached = commit.messages.iter().map(|it| self.watchers.send(it)).collect();
            return Ok(Decided { commit, done: Outcome::Done(reached) });
        };
        let expected = Expected::Last(self.newest.revision());
        let bytes = record.encode();
        let receipt = journal.append(Entry::new(&bytes), expected).map_err(unwritable)?;
        let (done, waiting) = oneshot::channel();
        self.newest = commit.after.clone();
        self.waiting.push_back(Waiting {
            receipt,
            record: Arc::new(record.clone()),
            bytes: bytes.len(),
            after: commit.after.clone(),
            messages: commit.messages.clone(),
            done,
        });
        Ok(Decided { commit, done: Outcome::Waiting(waiting) })
    }

    /// Begins a subscription of an open session, and tells it what there is now, or what it has
    /// missed since a revision that it knows.
    pub(crate) fn begin(
        &mut self,
        session: &SessionId,
        subscription: Subscription,
        most: usize,
        since: Option<Revision>,
    ) -> Result<SubscriptionId, Refusal> {
        let path = subscription.pattern.prefix();
        let id =
            self.watchers.subscriptions_mut().subscribe(session, subscription.clone(), most)?;
        let Some(subscriber) = self.watchers.subscriptions().subscriber(session) else {
            return Ok(id);
        };
        let most = self.watchers.limits();
        let known = since.and_then(|since| {
            self.past.since(since, &self.durable, subscriber, (id, &subscription), most)
        });
        match known {
            Some(missed) => missed.into_iter().for_each(|it| self.watchers.tell_one(session, it)),
            None => {
                let owed = Owed { path, subs: [id].into(), is_lagged: false };
                self.watchers.owe_all(session, owed);
            }
        }
        Ok(id)
    }

    /// The next that waits for a session that watches.
    pub(crate) fn next_for(&mut self, session: &SessionId) -> Option<Item> {
        self.watchers.next(session, &self.durable)
    }

    /// When something is to be done next, at `from` or later, whoever asks for what.
    pub(crate) fn next_time(&self, from: Time) -> Option<Time> {
        let times =
            [self.durable.next_time(from), self.watchers.deadline(), self.visitors.next_expiry()];
        times.into_iter().flatten().min()
    }

    /// Whether somebody waits for something to be durable.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// How many bytes of records became durable since this was asked last.
    pub(crate) fn take_written(&mut self) -> u64 {
        std::mem::take(&mut self.written)
    }

    /// Takes nothing any more.
    pub(crate) fn end(&mut self) {
        self.is_ending = true;
    }

    /// Hands out what has become durable, each commit's events before its reply. True if the next
    /// time at which something fires is another now.
    pub(crate) fn settle(&mut self, progress: &Progress) -> bool {
        let (durable, first) = (progress.durable(), self.durable.first_timed());
        self.counters.note(progress);
        while self.waiting.front().is_some_and(|it| it.receipt.revision <= durable)
            && let Some(commit) = self.waiting.pop_front()
        {
            self.hand_out(commit);
        }
        if let Some(failure) = progress.failure() {
            self.roll_back(&failure);
        }
        self.durable.first_timed() != first
    }

    fn hand_out(&mut self, commit: Waiting) {
        let Waiting { record, bytes, after, messages, done, .. } = commit;
        self.counters.commits += 1;
        self.written += bytes as u64;
        let before = std::mem::replace(&mut self.durable, after);
        self.audit.done(&record, self.durable.revision());
        self.watchers.tell(&before, &self.durable, &record);
        self.past.push(before, self.durable.clone(), record, bytes);
        let reached = messages.iter().map(|it| self.watchers.send(it)).collect();
        // Nobody may wait any more; it is done all the same.
        drop(done.send(Ok(reached)));
    }

    /// What is in line will not be durable: it never was.
    fn roll_back(&mut self, why: &journal::Failure) {
        if !self.is_read_only {
            tracing::error!(
                error = chain(why),
                lost = self.waiting.len(),
                "nothing can be written"
            );
        }
        self.is_read_only = true;
        self.newest = self.durable.clone();
        for commit in self.waiting.drain(..) {
            self.audit.lost(&commit.record);
            drop(commit.done.send(Err(read_only())));
        }
    }
}

fn unwritable(error: AppendError) -> Failure {
    match error {
        AppendError::Full => Failure::new("busy", "too many changes wait for the disk"),
        AppendError::TooLarge { limit } => {
            let message = format!("a commit may have {limit} bytes");
            Failure::new("too-large", message).with("limit", limit)
        }
        AppendError::ReadOnly(_) => read_only(),
        // Nobody else appends.
        other => Failure::internal(other.to_string()),
    }
}

fn read_only() -> Failure {
    Failure::new("read-only", "nothing can be made durable now; reading goes on")
}
