//! The commands that change the tree.

use daemon::{Failure, Guest, OrNull, Session};
use serde::Serialize;
use serde_json::{Map, Value, json};
use state::{
    Node, Operation, Path, Request, Revision, Segment, Step,
    account::Quota,
    decide::{Answer, Sent},
    entry::{Entry, Who},
    gc::Occasion,
    operation::Message,
    payload::Payload,
    trigger::{RegistrationId, Wish},
};

use super::{
    Server,
    commits::{Reached, Verdict},
    now,
    opts::{BatchOpts, ChangeOpts, CreateOpts, EmitOpts, On, Op},
    visitor::Visitor,
};

type Me = Session<Visitor>;

/// What a change of the tree is answered.
#[derive(Debug, Serialize)]
pub(super) struct Changed {
    rev: Revision,
}

/// What a message is answered.
#[derive(Debug, Serialize)]
pub(super) struct Delivered {
    delivered: usize,
}

impl Server {
    pub(super) fn create(
        &self,
        guest: Guest,
        me: Me,
        path: Path,
        name: Segment,
        value: Node,
        opts: Option<CreateOpts>,
    ) -> impl Future<Output = Result<Changed, Failure>> {
        let opts = opts.unwrap_or_default();
        let is_ephemeral = opts.ephemeral;
        let operation = Operation::Create { path, name, value, is_ephemeral };
        self.change(&guest, &me, operation, opts.into())
    }

    pub(super) fn update(
        &self,
        guest: Guest,
        me: Me,
        path: Path,
        value: Node,
        opts: Option<ChangeOpts>,
    ) -> impl Future<Output = Result<Changed, Failure>> {
        let opts = opts.unwrap_or_default();
        self.change(&guest, &me, Operation::Update { path, value }, opts)
    }

    pub(super) fn merge(
        &self,
        guest: Guest,
        me: Me,
        path: Path,
        patch: Node,
        opts: Option<ChangeOpts>,
    ) -> impl Future<Output = Result<Changed, Failure>> {
        let opts = opts.unwrap_or_default();
        self.change(&guest, &me, Operation::Merge { path, patch }, opts)
    }

    pub(super) fn delete(
        &self,
        guest: Guest,
        me: Me,
        path: Path,
        opts: Option<ChangeOpts>,
    ) -> impl Future<Output = Result<Changed, Failure>> {
        self.change(&guest, &me, Operation::Delete { path }, opts.unwrap_or_default())
    }

    pub(super) fn update_perms(
        &self,
        guest: Guest,
        me: Me,
        path: Path,
        user: Who,
        OrNull(perms): OrNull<Entry>,
        opts: Option<ChangeOpts>,
    ) -> impl Future<Output = Result<Changed, Failure>> {
        let operation = Operation::UpdatePerms { path, who: user, entry: perms };
        self.change(&guest, &me, operation, opts.unwrap_or_default())
    }

    pub(super) async fn gc(
        &self,
        guest: Guest,
        me: Me,
        path: Path,
        triggers: Vec<On>,
        opts: Option<ChangeOpts>,
    ) -> Result<Value, Failure> {
        let wishes = triggers.into_iter().map(Wish::from).collect();
        let request = opts.unwrap_or_default().ask(Operation::Gc { path, wishes });
        let (verdict, _) = self.perform(&guest, &me, request).await?;
        match verdict.answers[..] {
            [Answer::Registered(id)] => Ok(json!({ "gc": id })),
            _ => Ok(json!({})),
        }
    }

    pub(super) async fn ungc(
        &self,
        guest: Guest,
        me: Me,
        id: RegistrationId,
    ) -> Result<(), Failure> {
        self.do_one(&guest, &me, Operation::Ungc { id }).await
    }

    pub(super) async fn set_quota(
        &self,
        guest: Guest,
        me: Me,
        path: Path,
        OrNull(quota): OrNull<Quota>,
    ) -> Result<(), Failure> {
        self.do_one(&guest, &me, Operation::SetQuota { path, quota }).await
    }

    pub(super) fn emit(
        &self,
        guest: Guest,
        me: Me,
        user: state::name::UserName,
        name: String,
        payload: Payload,
        opts: Option<EmitOpts>,
    ) -> impl Future<Output = Result<Delivered, Failure>> {
        let mut opts = opts.unwrap_or_default();
        let path = opts.path.take();
        let message = Message { user, name, payload, path };
        let request = ChangeOpts::from(opts).ask(Operation::Emit(message));
        let performed = self.perform(&guest, &me, request);
        async {
            let (_, reached) = performed.await?;
            Ok(Delivered { delivered: reached.first().copied().unwrap_or(0) })
        }
    }

    pub(super) async fn batch(
        &self,
        guest: Guest,
        me: Me,
        ops: Vec<Op>,
        opts: Option<BatchOpts>,
    ) -> Result<Value, Failure> {
        let BatchOpts { req, dry } = opts.unwrap_or_default();
        let steps = ops.into_iter().map(|it| it.0).collect();
        let request =
            Request { is_dry: dry, req: req.map(|it| it.0), ..Request::batch(steps, now()) };
        let (verdict, reached) = self.perform(&guest, &me, request).await?;
        let mut reached = reached.into_iter();
        let results = verdict.answers.iter().map(|it| told(*it, &mut reached));
        let results: Vec<Value> = results.collect();
        Ok(json!({ "rev": verdict.rev, "results": results }))
    }

    /// Does one thing to the tree, and tells the revision.
    fn change<'a>(
        &'a self,
        guest: &Guest,
        me: &Me,
        operation: Operation,
        opts: ChangeOpts,
    ) -> impl Future<Output = Result<Changed, Failure>> + use<'a> {
        let performed = self.perform(guest, me, opts.ask(operation));
        async { performed.await.map(|(verdict, _)| Changed { rev: verdict.rev }) }
    }

    /// Does one thing of which there is nothing to tell.
    pub(super) async fn do_one(
        &self,
        guest: &Guest,
        me: &Me,
        operation: impl Into<Step>,
    ) -> Result<(), Failure> {
        self.perform(guest, me, Request::one(operation, now())).await.map(|_| ())
    }

    /// Decides, and waits until it is durable and told to all who watch.
    ///
    /// It is decided before anything is waited for, so what is kept while waiting is short; and it
    /// lies apart, as each future around it would have room for it twice.
    pub(super) fn perform<'a>(
        &'a self,
        guest: &Guest,
        me: &Me,
        request: Request,
    ) -> impl Future<Output = Result<(Verdict, Reached), Failure>> + use<'a> {
        let actor = me.actor(self.enter(guest, me));
        let decided = self.commits().submit(&*self.journal, &self.limits, &actor, &request);
        Box::pin(async {
            let (verdict, reached) = decided?.settled().await?;
            let own: Vec<_> = verdict.messages.iter().flat_map(|it| self.emitted(it)).collect();
            if !own.is_empty() {
                // Seldom, so nobody else has to have room for it.
                Box::pin(self.fire_all(&own)).await;
            }
            Ok((verdict, reached))
        })
    }

    /// Has all be fired that others wait to do when `sent` is, and tells what its sender does.
    fn emitted(&self, sent: &Sent) -> Vec<RegistrationId> {
        // Mostly nobody waits for anything.
        let Some(src) = sent.src.clone().filter(|_| self.commits().newest().has_registrations())
        else {
            return Vec::new();
        };
        let name = sent.message.name.clone();
        self.make_others_due(&src.clone(), &Occasion::Emitted { name, src })
    }
}

/// What a step of a batch is answered; `reached` are the messages that are not told yet.
fn told(answer: Answer, reached: &mut impl Iterator<Item = usize>) -> Value {
    match answer {
        Answer::Done | Answer::Dropped | Answer::Gone => Value::Object(Map::new()),
        Answer::Registered(id) => json!({ "gc": id }),
        Answer::Sent => json!({ "delivered": reached.next().unwrap_or(0) }),
    }
}
