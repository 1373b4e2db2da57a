use journal::Memory;
use state::{Operation, account::Secret, level::Rank, name::UserName, queue::QueueLimits};
use tokio::sync::Notify;

use super::*;

/// A disk that becomes durable when a test says so, and what waits for it.
struct Held {
    journal: Memory,
    commits: Commits,
}

impl Held {
    fn new() -> Self {
        let journal = Memory::new();
        journal.hold();
        let watchers = Watchers::new(QueueLimits::default(), Arc::new(Notify::new()));
        Self { journal, commits: Commits::new(State::default(), watchers) }
    }

    fn create(&mut self, user: &str) -> Decided {
        self.ask(user, false)
    }

    /// Makes an account, or only tries what would become of that.
    fn ask(&mut self, user: &str, is_dry: bool) -> Decided {
        let user = UserName::new(user).unwrap();
        let operation =
            Operation::CreateUser { user, password: Some(Secret::new("x")), rank: Rank::User };
        let request = Request { is_dry, ..Request::one(operation, 0) };
        let actor = Actor::server();
        self.commits.submit(&self.journal, &Limits::default(), &actor, &request).unwrap()
    }

    fn settle(&mut self) {
        self.commits.settle(&self.journal.progress());
    }

    /// All that waits is durable.
    fn release(&mut self) {
        self.journal.release();
        self.settle();
    }

    /// All that waits is lost.
    fn fail(&mut self) {
        self.journal.fail();
        self.settle();
    }
}

/// The code of the answer, if there is one at once.
async fn told(decided: Decided) -> Option<String> {
    let answer = tokio::select! {
        biased;
        answer = decided.settled() => answer,
        // Everybody else has had a turn.
        () = async { for _ in 0..3 { yield_now().await } } => return None,
    };
    Some(answer.map_or_else(|failure| failure.code().to_owned(), |_| "ok".to_owned()))
}

#[tokio::test]
async fn what_is_decided_on_nothing_that_may_be_lost_is_answered_at_once() {
    let mut held = Held::new();
    drop(held.create("ann"));
    held.release();
    let (refused, dry) = (held.create("ann"), held.ask("bob", true));
    assert_eq!(told(refused).await.unwrap(), "exists");
    assert_eq!(told(dry).await.unwrap(), "ok");
}

#[tokio::test]
async fn what_is_decided_on_a_change_waits_until_that_is_durable() {
    let mut held = Held::new();
    let made = held.create("ann");
    let (early, late) = (held.create("ann"), held.create("ann"));
    let (early_dry, late_dry) = (held.ask("bob", true), held.ask("bob", true));
    assert_eq!(told(early).await, None, "the account may yet be lost");
    assert_eq!(told(early_dry).await, None, "so may the revision");
    held.release();
    assert_eq!(told(made).await.unwrap(), "ok");
    assert_eq!(told(late).await.unwrap(), "exists");
    assert_eq!(told(late_dry).await.unwrap(), "ok");
}

#[tokio::test]
async fn what_is_decided_on_a_change_that_is_lost_is_not_told() {
    let mut held = Held::new();
    let (made, refused, dry) = (held.create("ann"), held.create("ann"), held.ask("bob", true));
    held.fail();
    for decided in [made, refused, dry] {
        assert_eq!(told(decided).await.unwrap(), "read-only");
    }
}

#[tokio::test]
async fn a_group_that_was_durable_before_the_next_one_failed_is_handed_out() {
    let mut held = Held::new();
    let durable = held.create("ann");
    held.journal.release();
    held.journal.hold();
    let lost = held.create("bob");
    held.fail();
    assert_eq!(told(durable).await.unwrap(), "ok");
    assert_eq!(told(lost).await.unwrap(), "read-only");
    assert_eq!(held.commits.newest().revision(), held.journal.mend().await.unwrap());
}
