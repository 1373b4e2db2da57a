//! From a decision to its reply: in line, durable, handed out, answered.

use std::{
    collections::VecDeque,
    ops::ControlFlow,
    sync::{Arc, Mutex, PoisonError},
};

use daemon::Failure;
use journal::{AppendError, Expected, Journal, Progress, Receipt, Record as Entry};
use serde_json::{Value, json};
use state::{
    Commit, Limits, Record, Refusal, Request, Revision, State, Subscription,
    account::Time,
    actor::{Actor, SessionId},
    decide,
    decide::{Answer, Sent},
    event::SubscriptionId,
    log::ChangeLog,
    queue::{Item, Owed},
    record::Change,
};
use tokio::{sync::oneshot, time::Instant};

use super::{
    audit::Audit,
    breakdown::Broken,
    by_session::Place,
    counters::Counters,
    failed, now,
    opts::Known,
    outages::{Outage, Outages},
    tap::events_first,
    visitor::Visitor,
    visitors::Visitors,
    watchers::Watchers,
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
    /// Where a record is written before it is put in line.
    room: Vec<u8>,
    /// Whether the journal takes nothing.
    pub(crate) is_read_only: bool,
    /// What was said of that.
    pub(super) outages: Outages,
}

/// So much room is kept for the next record.
const ROOM: usize = 4 << 10;

/// A decision that may not be told yet.
#[derive(Debug)]
struct Waiting {
    /// Of what it has put in line, or of the last that was in line when it was made.
    receipt: Receipt,
    /// `None` when it changes nothing.
    change: Option<Pending>,
    messages: Vec<Sent>,
    done: oneshot::Sender<Result<Reached, Failure>>,
}

/// What is in line.
#[derive(Debug)]
struct Pending {
    record: Arc<Record>,
    /// Of the record.
    bytes: usize,
    after: State,
}

/// Whether more is wanted.
pub(crate) type Flow = ControlFlow<()>;

/// To how many sessions each message of a commit went.
pub(crate) type Reached = Vec<usize>;

/// What is told of a decision.
#[derive(Debug)]
pub(crate) struct Verdict {
    /// The revision that a reply tells.
    pub(crate) rev: Revision,
    /// What each step is answered, in order.
    pub(crate) answers: Vec<Answer>,
    /// What was sent, in order.
    pub(crate) messages: Vec<Sent>,
}

/// A decision, and when it may be told.
pub(crate) struct Decided {
    decision: Result<Verdict, Failure>,
    done: Outcome,
    /// Who asked may be told something by it.
    tells_himself: bool,
}

/// Whether what was decided is done.
enum Outcome {
    /// It is: all that it was decided on is durable, and nothing had to be made so.
    Done(Reached),
    /// It will be, or fail.
    Waiting(oneshot::Receiver<Result<Reached, Failure>>),
}

impl Decided {
    /// Waits until it may be told: a refusal, too, tells of what it was decided on.
    pub(crate) async fn settled(self) -> Result<(Verdict, Reached), Failure> {
        let reached = match self.done {
            Outcome::Done(reached) => {
                if self.tells_himself {
                    events_first().await;
                }
                reached
            }
            Outcome::Waiting(done) => done.await.unwrap_or_else(|_| Err(ending()))?,
        };
        Ok((self.decision?, reached))
    }
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
            room: Vec::new(),
            is_read_only: false,
            outages: Outages::default(),
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
        journal: &dyn Journal,
        limits: &Limits,
        actor: &Actor,
        request: &Request,
    ) -> Result<Decided, Failure> {
        if self.is_ending {
            return Err(Failure::new("shutting-down", "the server ends"));
        }
        let decided = decide(&self.newest, actor, request, limits);
        let commit = match decided {
            Ok(commit) => commit,
            Err(failure) => {
                self.counters.count_refused(failure.refusal.code());
                self.audit.refused(actor, request, failure.refusal.code());
                return Ok(self.hold(actor, Err(failed(&failure))));
            }
        };
        let Commit { record, after, rev, answers, messages } = commit;
        let verdict = Verdict { rev, answers, messages };
        let Some(record) = record else { return Ok(self.hold(actor, Ok(verdict))) };
        // The journal may take records a moment before it is known that it does.
        if self.is_read_only {
            return Err(read_only());
        }
        let expected = Expected::Last(self.newest.revision());
        self.room.clear();
        self.room.shrink_to(ROOM);
        record.append_to(&mut self.room);
        let (bytes, entry) = (self.room.len(), Entry::new(&self.room));
        let receipt = journal.append(entry, expected).map_err(unwritable)?;
        self.newest = after.clone();
        let change = Some(Pending { record: Arc::new(record), bytes, after });
        let done = self.line_up(receipt, change, verdict.messages.clone());
        Ok(Decided { decision: Ok(verdict), done, tells_himself: true })
    }

    /// Keeps a decision that changes nothing until all that it was made on is durable, so that
    /// nobody is told of what may yet be lost.
    fn hold(&mut self, actor: &Actor, decision: Result<Verdict, Failure>) -> Decided {
        let messages = decision.as_ref().map_or(&[][..], |it| &it.messages);
        let hears = |it| self.watchers.is_open(it);
        let tells_himself = !messages.is_empty() && actor.session.as_ref().is_some_and(hears);
        let done = match self.waiting.back().map(|it| it.receipt) {
            Some(receipt) => self.line_up(receipt, None, messages.to_vec()),
            None => Outcome::Done(self.send(messages)),
        };
        Decided { decision, done, tells_himself }
    }

    fn line_up(
        &mut self,
        receipt: Receipt,
        change: Option<Pending>,
        messages: Vec<Sent>,
    ) -> Outcome {
        let (done, waiting) = oneshot::channel();
        self.waiting.push_back(Waiting { receipt, change, messages, done });
        Outcome::Waiting(waiting)
    }

    /// Begins a subscription of an open session, and tells it what there is now, or what it has
    /// missed of the same history since a revision that it knows.
    pub(crate) fn begin(
        &mut self,
        session: &SessionId,
        subscription: Subscription,
        most: usize,
        known: Option<Known>,
    ) -> Result<SubscriptionId, Refusal> {
        let path = subscription.pattern.prefix();
        let id =
            self.watchers.subscriptions_mut().subscribe(session, subscription.clone(), most)?;
        let Some(subscriber) = self.watchers.subscriptions().subscriber(session) else {
            return Ok(id);
        };
        let most = self.watchers.limits();
        let known = known.filter(|it| self.durable.has_been(it.history.as_ref(), it.rev));
        let missed = known.and_then(|it| {
            self.past.since(it.rev, &self.durable, subscriber, (id, &subscription), most)
        });
        match missed {
            Some(missed) => missed.into_iter().for_each(|it| self.watchers.tell_one(session, it)),
            None => {
                let owed = Owed { path, subs: [id].into(), is_lagged: false };
                self.watchers.owe_all(session, owed);
            }
        }
        Ok(id)
    }

    /// Ends a session in the moment in which that is decided: it asks nothing more and hears
    /// nothing more, but `last`. What it has done waits for its connection to end, as always.
    pub(crate) fn expel(&mut self, session: &SessionId, last: Option<&Value>) {
        self.watchers.silence(session, last);
        if let Some(guest) = self.visitors.leave(session) {
            drop(guest.session::<Visitor>().log_out());
            guest.forget();
            guest.leave();
        }
    }

    /// Ends the sessions from which a commit took what they were opened with.
    fn end_sessions(&mut self, before: &State, record: &Record) {
        for act in &record.acts {
            let (ended, last) = match &act.change {
                Change::RevokeToken { id } => match before.token(id) {
                    Some(token) => (self.visitors.by_token(&token.user, id), None),
                    None => continue,
                },
                Change::Account { user, is_new_password: true, .. } => {
                    (self.visitors.all_of(user, record.session.as_ref()), None)
                }
                Change::DeleteUser { user } => {
                    let payload = json!({ "user": user });
                    let last = json!({ "name": "userDeleted", "src": null, "payload": payload });
                    (self.visitors.all_of(user, None), Some(last))
                }
                _ => continue,
            };
            ended.iter().for_each(|it| self.expel(it, last.as_ref()));
        }
    }

    /// Gives what waits for a session that watches, until `give` has enough; nothing any more when
    /// what the session was opened with has expired.
    pub(crate) fn give(
        &mut self,
        place: Place,
        session: &SessionId,
        give: impl FnMut(&Item) -> Flow,
    ) {
        let now = now();
        if !self.visitors.has_expired(session, now) {
            self.watchers.give((place, session), &self.durable, now, give);
        }
    }

    /// When something is to be done next, at `from` or later, whoever asks for what.
    pub(crate) fn next_time(&self, from: Time) -> Option<Time> {
        let times =
            [self.durable.next_time(from), self.watchers.deadline(), self.visitors.next_expiry()];
        times.into_iter().flatten().min()
    }

    /// Whether somebody waits for something to be durable.
    fn is_waiting(&self) -> bool {
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
        // At one moment: a group may become durable, and the next one fail, between two looks.
        let ((durable, failure), first) = (progress.standing(), self.durable.first_timed());
        self.counters.note(progress);
        while self.waiting.front().is_some_and(|it| it.receipt.revision <= durable)
            && let Some(commit) = self.waiting.pop_front()
        {
            self.hand_out(commit);
        }
        if let Some(failure) = failure {
            self.roll_back(&failure);
        }
        self.durable.first_timed() != first
    }

    fn hand_out(&mut self, decision: Waiting) {
        let Waiting { change, messages, done, .. } = decision;
        if let Some(change) = change {
            self.tell(change);
        }
        // Nobody may wait any more; it is done all the same.
        drop(done.send(Ok(self.send(&messages))));
    }

    fn tell(&mut self, change: Pending) {
        let Pending { record, bytes, after } = change;
        self.counters.commits += 1;
        self.written += bytes as u64;
        let before = std::mem::replace(&mut self.durable, after);
        self.audit.done(&record, self.durable.revision());
        self.end_sessions(&before, &record);
        self.watchers.tell(&before, &self.durable, &record);
        self.past.push(before, self.durable.clone(), record, bytes);
    }

    fn send(&mut self, messages: &[Sent]) -> Reached {
        messages.iter().map(|it| self.watchers.send(it)).collect()
    }

    /// Changes are taken again, behind the revision `durable`.
    pub(crate) fn mended(&mut self, durable: Revision) -> Result<(), Broken> {
        let newest = self.newest.revision();
        if newest != durable {
            return Err(Broken::Astray { durable, newest });
        }
        self.is_read_only = false;
        self.outages.end();
        Ok(())
    }

    /// What is in line will not be durable: it never was.
    fn roll_back(&mut self, why: &journal::Failure) {
        if !self.is_read_only {
            let lost = self.waiting.iter().filter(|it| it.change.is_some()).count();
            self.outages.begin(Outage { error: daemon::causes(why), lost }, Instant::now());
        }
        self.is_read_only = true;
        self.newest = self.durable.clone();
        for decision in self.waiting.drain(..) {
            if let Some(change) = &decision.change {
                self.audit.lost(&change.record);
            }
            drop(decision.done.send(Err(read_only())));
        }
    }
}

/// Settles until nobody waits any more.
pub(crate) async fn settle_rest(commits: &Mutex<Commits>, mut progress: Progress) {
    loop {
        // First: what is durable already is no news to a new receiver.
        let is_waiting = {
            let mut commits = commits.lock().unwrap_or_else(PoisonError::into_inner);
            commits.settle(&progress);
            commits.is_waiting()
        };
        if !is_waiting || progress.changed().await.is_err() {
            return;
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

fn ending() -> Failure {
    Failure::new("shutting-down", "the server ends; whether this was done is not known")
}

#[cfg(test)]
mod tests;
