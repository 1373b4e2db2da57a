//! A state server without sockets and disk: commands are read as the daemon reads them, decided,
//! told to those who watch, and everything that must hold then is checked.

mod commands;
mod watchers;

/// How the daemon reads what stands in the last argument of commands, and operations of batches.
#[expect(dead_code, reason = "commands that only the daemon has are read by it, too")]
#[path = "../../src/server/opts.rs"]
mod opts;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use state::{
    Commit, Limits, Operation, Path, Record, Request, State, Step,
    account::{Quota, Secret, Time},
    actor::{Actor, SessionId},
    decide,
    gc::Occasion,
    home,
    level::Rank,
    name::UserName,
    node::{Kind, Node, Revision},
};

use commands::Command;
use watchers::Watchers;

/// The time of day, which only we change.
static NOW: AtomicU64 = AtomicU64::new(0);

fn now() -> Time {
    NOW.load(Relaxed)
}

/// A small server with a few users.
#[derive(Debug)]
pub struct World {
    state: State,
    limits: Limits,
    watchers: Watchers,
}

/// Who is there from the first; `boss` may do everything.
const USERS: [&str; 3] = ["boss", "ann", "bob"];

/// As deep as a tree may be.
const DEPTH: usize = 64;

impl World {
    /// One in which bob may change everything, and anybody reads.
    pub fn new() -> Self {
        NOW.store(1000, Relaxed);
        let quota = |bytes, nodes| Quota { bytes, nodes };
        // Small, so that inputs reach them.
        let limits = Limits {
            value_bytes: 400,
            tree: quota(3000, 120),
            home: quota(300, 20),
            batch: 8,
            registrations: 4,
            tokens: 3,
            entries: 3,
            subscriptions: 4,
            allows_anonymous: true,
            self_register: true,
        };
        let mut world = Self { state: State::default(), limits, watchers: Watchers::default() };
        for name in USERS {
            let rank = if name == "boss" { Rank::Root } else { Rank::User };
            let user = UserName::new(name).expect("this is a name");
            let password = Some(Secret::new(name));
            let account = Operation::CreateUser { user, password, rank };
            assert!(world.ask(&Actor::server(), &Request::one(account, now())));
        }
        for line in [r#"[[],"bob",{"lvl":4}]"#, r#"[[],"*",{"lvl":2}]"#] {
            world.hear("boss", "updatePerms", line);
        }
        assert_eq!(world.state.revision(), 5, "all of it was allowed");
        world
    }

    /// Takes a packet of `session`, of the user who is called so, or of nobody.
    pub fn hear(&mut self, session: &str, name: &str, args: &str) {
        let actor = self.actor(session);
        match commands::read(name, args, &actor) {
            None => {}
            Some(Command::Change(request)) => drop(self.ask(&actor, &request)),
            Some(Command::Read(path)) => self.read(&actor, &path),
            Some(Command::Watch(subscription)) => {
                self.watchers.watch(&self.state, &actor, subscription, self.limits.subscriptions);
            }
            Some(Command::Unwatch(id)) => self.watchers.unwatch(&actor, id),
            Some(Command::Leave) => self.leave(&actor),
            Some(Command::Wait(time)) => {
                NOW.fetch_add(time.min(1 << 40), Relaxed);
                self.fire(&Occasion::Time(now()));
            }
        }
        self.watchers.check(&self.state);
    }

    fn actor(&self, session: &str) -> Actor {
        let id = SessionId::from(session);
        let user = session.split('.').next().and_then(|it| UserName::new(it).ok());
        match user.filter(|it| self.state.account(it).is_some()) {
            Some(user) => Actor::user(user, id),
            None => Actor::anonymous(id),
        }
    }

    /// Decides; what is refused has changed nothing, what is done can be done again.
    fn ask(&mut self, actor: &Actor, request: &Request) -> bool {
        let before = written(&self.state);
        let decided = decide(&self.state, actor, request, &self.limits);
        assert_eq!(written(&self.state), before, "nothing is done before it is durable");
        let Ok(Commit { record, after, rev, answers, messages }) = decided else { return false };
        if let Some(record) = &record {
            assert!(!request.is_dry && answers.len() == request.steps.len());
            self.commit(record, after, rev);
        }
        for sent in messages {
            assert!(!request.is_dry);
            let name = sent.message.name;
            sent.src.into_iter().for_each(|src| {
                self.fire(&Occasion::Emitted { name: name.clone(), src });
            });
        }
        record.is_some()
    }

    /// Makes it durable, so to speak.
    fn commit(&mut self, record: &Record, after: State, rev: Revision) {
        assert_eq!((after.revision(), rev), (self.state.revision() + 1, after.revision()));
        let again = Record::decode(&record.encode()).expect("what was written can be read");
        let mut replayed = self.state.clone();
        replayed.apply(&again).expect("what was decided can be done");
        let bytes = written(&after);
        assert_eq!(written(&replayed), bytes, "replayed it is another state");
        let read = State::read(&mut &bytes[..]).expect("what was written can be read");
        assert_eq!(written(&read), bytes, "restarted it is another state");
        let before = std::mem::replace(&mut self.state, after);
        self.check_limits(&before);
        self.watchers.tell(&before, &self.state, record);
        assert!(!record.acts.is_empty(), "a record without changes");
    }

    /// Who leaves fires what waits for that.
    fn leave(&mut self, actor: &Actor) {
        if let Some(session) = actor.session.clone() {
            self.watchers.leave(&session);
            self.fire(&Occasion::Disconnected(session));
        }
    }

    fn fire(&mut self, occasion: &Occasion) {
        for id in self.state.due(occasion) {
            let step = Step::from(Operation::Fire { id });
            // One before may have taken it along.
            self.ask(&Actor::server(), &Request::one(step, now()));
            assert!(self.state.registration(id).is_none(), "{id} stays due");
        }
    }

    /// What somebody reads is within what ROOT reads.
    fn read(&self, actor: &Actor, path: &Path) {
        let subject = self.state.judge(actor);
        let found = self.state.get(&subject, path);
        let keys = self.state.keys(&subject, path, None, 10);
        assert_eq!(found.is_ok(), keys.is_ok());
        if let Ok(found) = found {
            let whole = self.state.root().at(path).expect("what is read is there");
            assert!(found.value.totals().bytes <= whole.totals().bytes);
            assert_eq!(found.rev, whole.rev());
        }
        drop(self.state.permissions(&subject, path));
    }

    fn check_limits(&self, before: &State) {
        let (old, new) = (before.root(), self.state.root());
        assert!(matches!(new.kind(), Kind::Object(_)));
        assert!(new.depth() <= DEPTH, "deeper than a path reaches");
        assert!(!self.limits.tree.is_broken(old.totals(), new.totals()), "{:?}", new.totals());
        for (user, account) in self.state.accounts() {
            assert!(account.registrations <= self.limits.registrations, "{user}");
            assert!(self.state.tokens_of(user).count() <= self.limits.tokens, "{user}");
            let Some(home) = home(user) else { continue };
            let totals = |node: &Node| node.at(&home).map(Node::totals).unwrap_or_default();
            let quota = self.state.quota(&home).unwrap_or(self.limits.home);
            let was_there = before.quota(&home) == self.state.quota(&home);
            assert!(!was_there || !quota.is_broken(totals(old), totals(new)), "{user}");
        }
        self.check_entries(new);
    }

    fn check_entries(&self, node: &Node) {
        let entries = node.entries().map_or(0, |it| it.iter().count());
        assert!(entries <= self.limits.entries, "{entries} entries");
        if let Kind::Object(members) = node.kind() {
            members.iter().for_each(|it| self.check_entries(it.node()));
        }
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

/// All of it: what is equal here is equal in every respect.
fn written(state: &State) -> Vec<u8> {
    let mut bytes = Vec::new();
    state.write(&mut bytes).expect("there is room in memory");
    bytes
}
