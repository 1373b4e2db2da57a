use std::time::Duration;

use journal::Memory;
use state::{Operation, account::Secret, level::Rank, name::UserName, queue::QueueLimits};
use tokio::{sync::Notify, time::timeout};

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
        self.try_to_ask(user, is_dry).unwrap()
    }

    fn try_to_ask(&mut self, user: &str, is_dry: bool) -> Result<Decided, Failure> {
        let (user, password) = (UserName::new(user).unwrap(), Some(Secret::new("x")));
        let operation = Operation::CreateUser { user, password, rank: Rank::User };
        let request = Request { is_dry, ..Request::one(operation, 0) };
        self.commits.submit(&self.journal, &Limits::default(), &Actor::server(), &request)
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
    let durable = held.journal.mend().await.unwrap();
    held.commits.mended(durable).unwrap();
    let again = held.create("bob");
    held.release();
    assert_eq!(told(again).await.unwrap(), "ok");
}

#[tokio::test]
async fn a_state_that_is_not_where_the_journal_is_goes_no_further() {
    let mut held = Held::new();
    drop(held.create("ann"));
    held.fail();
    let broken = held.commits.mended(1).unwrap_err();
    assert!(matches!(broken, Broken::Astray { durable: 1, newest: 0 }));
    held.journal.mend().await.unwrap();
    assert_eq!(held.try_to_ask("bob", false).err().unwrap().code(), "read-only");
}

#[tokio::test]
async fn what_is_durable_when_the_daemon_ends_is_answered() {
    let mut held = Held::new();
    let made = held.create("ann");
    held.journal.release();
    let (progress, commits) = (held.journal.progress(), Mutex::new(held.commits));
    timeout(Duration::from_secs(60), settle_rest(&commits, progress)).await.unwrap();
    assert_eq!(told(made).await.unwrap(), "ok");
}
