//! The commands that change the tree.

use daemon::{Failure, Guest, OrNull, Session};
use serde_json::{Map, Value, json};
use state::{
    Commit, Node, Operation, Path, Request, Segment, Step,
    account::Quota,
    decide::Answer,
    entry::{Entry, Who},
    gc::Occasion,
    operation::Message,
    trigger::{RegistrationId, Wish},
};

use super::{
    Server,
    commits::Reached,
    now,
    opts::{BatchOpts, ChangeOpts, On, Op},
    visitor::Visitor,
};

type Me = Session<Visitor>;

impl Server {
    pub(super) async fn create(
        &self,
        guest: Guest,
        me: Me,
        path: Path,
        name: Segment,
        value: Node,
        opts: Option<ChangeOpts>,
    ) -> Result<Value, Failure> {
        let opts = opts.unwrap_or_default();
        let is_ephemeral = opts.ephemeral;
        self.change(&guest, &me, Operation::Create { path, name, value, is_ephemeral }, opts).await
    }

    pub(super) async fn update(
        &self,
        guest: Guest,
        me: Me,
        path: Path,
        value: Node,
        opts: Option<ChangeOpts>,
    ) -> Result<Value, Failure> {
        let opts = opts.unwrap_or_default();
        self.change(&guest, &me, Operation::Update { path, value }, opts).await
    }

    pub(super) async fn merge(
        &self,
        guest: Guest,
        me: Me,
        path: Path,
        patch: Node,
        opts: Option<ChangeOpts>,
    ) -> Result<Value, Failure> {
        let opts = opts.unwrap_or_default();
        self.change(&guest, &me, Operation::Merge { path, patch }, opts).await
    }

    pub(super) async fn delete(
        &self,
        guest: Guest,
        me: Me,
        path: Path,
        opts: Option<ChangeOpts>,
    ) -> Result<Value, Failure> {
        self.change(&guest, &me, Operation::Delete { path }, opts.unwrap_or_default()).await
    }

    pub(super) async fn update_perms(
        &self,
        guest: Guest,
        me: Me,
        path: Path,
        user: Who,
        OrNull(perms): OrNull<Entry>,
        opts: Option<ChangeOpts>,
    ) -> Result<Value, Failure> {
        let operation = Operation::UpdatePerms { path, who: user, entry: perms };
        self.change(&guest, &me, operation, opts.unwrap_or_default()).await
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
        let step = opts.unwrap_or_default().step(Operation::Gc { path, wishes });
        let (commit, _) = self.perform(&guest, &me, Request::one(step, now())).await?;
        match commit.answers[..] {
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

    pub(super) async fn emit(
        &self,
        guest: Guest,
        me: Me,
        user: state::name::UserName,
        name: String,
        payload: Value,
        opts: Option<ChangeOpts>,
    ) -> Result<Value, Failure> {
        let mut opts = opts.unwrap_or_default();
        let path = opts.path.take();
        let step = opts.step(Operation::Emit(Message { user, name, payload, path }));
        let (_, reached) = self.perform(&guest, &me, Request::one(step, now())).await?;
        Ok(json!({ "delivered": reached.first().copied().unwrap_or(0) }))
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
        let (commit, reached) = self.perform(&guest, &me, request).await?;
        let mut reached = reached.into_iter();
        let results = commit.answers.iter().map(|it| told(*it, &mut reached));
        let results: Vec<Value> = results.collect();
        Ok(json!({ "rev": commit.rev, "results": results }))
    }

    /// Does one thing to the tree, and tells the revision.
    async fn change(
        &self,
        guest: &Guest,
        me: &Me,
        operation: Operation,
        opts: ChangeOpts,
    ) -> Result<Value, Failure> {
        let is_dry = opts.dry;
        let request = Request { is_dry, ..Request::one(opts.step(operation), now()) };
        let (commit, _) = self.perform(guest, me, request).await?;
        Ok(json!({ "rev": commit.rev }))
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
    pub(super) async fn perform(
        &self,
        guest: &Guest,
        me: &Me,
        request: Request,
    ) -> Result<(Commit, Reached), Failure> {
        let actor = me.actor(self.enter(guest, me));
        let decided = self.commits().submit(&*self.journal, &self.limits, &actor, &request)?;
        let (commit, reached) = decided.settled().await?;
        for sent in &commit.messages {
            if let Some(src) = sent.src.clone() {
                let name = sent.message.name.clone();
                self.fire(&Occasion::Emitted { name, src }).await;
            }
        }
        Ok((commit, reached))
    }
}

/// What a step of a batch is answered; `reached` are the messages that are not told yet.
fn told(answer: Answer, reached: &mut impl Iterator<Item = usize>) -> Value {
    match answer {
        Answer::Done | Answer::Dropped => Value::Object(Map::new()),
        Answer::Registered(id) => json!({ "gc": id }),
        Answer::Sent => json!({ "delivered": reached.next().unwrap_or(0) }),
    }
}
