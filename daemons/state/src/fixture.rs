//! For tests: a state that is told what to do in the words of the commands.

use serde_json::{Value, json};

use crate::{
    Commit, Failure, Limits, Node, Operation, Path, Pattern, Record, Request, State, Step,
    account::Secret,
    actor::{Actor, SessionId},
    decide,
    level::Rank,
    name::UserName,
    operation::Message,
    payload::Payload,
    permission::Subject,
    trigger::Wish,
};

/// A path that is written `a/b`; empty is the root.
pub(crate) fn path(text: &str) -> Path {
    Path::of(text.split('/').filter(|it| !it.is_empty())).unwrap()
}

/// A pattern that is written so.
pub(crate) fn pattern(text: &str) -> Pattern {
    Pattern::of(text.split('/').filter(|it| !it.is_empty())).unwrap()
}

pub(crate) fn user(name: &str) -> UserName {
    UserName::new(name).unwrap()
}

pub(crate) fn node(value: Value) -> Node {
    Node::try_from(&value).unwrap()
}

/// Whose session `name` is: `bob` and `bob#2` are sessions of bob, `-` an anonymous one, and
/// nothing the server itself.
pub(crate) fn actor(name: &str) -> Actor {
    let session = SessionId::from(name);
    match name.split('#').next().unwrap() {
        "" => Actor::server(),
        "-" => Actor::anonymous(session),
        name => Actor::user(user(name), session),
    }
}

/// The step that `command` is, such as `["update", "a/b", 1, {"ifRev": 3}]`.
pub(crate) fn step(command: Value) -> Step {
    let args = command.as_array().unwrap();
    let has_options = args.last().is_some_and(|it| {
        let is_option = |it: &String| {
            ["ifRev", "ifValue", "parents", "req", "as", "ephemeral"].contains(&it.as_str())
        };
        it.as_object().is_some_and(|it| !it.is_empty() && it.keys().all(is_option))
    });
    let options = if has_options { args.last().cloned().unwrap() } else { json!({}) };
    let text = |at: usize| args[at].as_str().unwrap();
    let place = |at: usize| path(text(at));
    let operation = match text(0) {
        "create" => Operation::Create {
            path: place(1),
            name: serde_json::from_value(args[2].clone()).unwrap(),
            value: node(args[3].clone()),
            is_ephemeral: options["ephemeral"] == true,
        },
        "update" => Operation::Update { path: place(1), value: node(args[2].clone()) },
        "merge" => Operation::Merge { path: place(1), patch: node(args[2].clone()) },
        "delete" => Operation::Delete { path: place(1) },
        "updatePerms" => Operation::UpdatePerms {
            path: place(1),
            who: serde_json::from_value(args[2].clone()).unwrap(),
            entry: serde_json::from_value(args[3].clone()).unwrap(),
        },
        "gc" => Operation::Gc {
            path: place(1),
            wishes: args[2].as_array().unwrap().iter().map(wish).collect(),
        },
        "ungc" => Operation::Ungc { id: args[1].as_u64().unwrap() },
        "emit" => Operation::Emit(Message {
            user: user(text(1)),
            name: text(2).into(),
            payload: Payload::from(&args[3]),
            path: None,
        }),
        other => panic!("{other}"),
    };
    Step {
        if_rev: options["ifRev"].as_u64(),
        if_value: options.get("ifValue").map(|it| node(it.clone())),
        makes_parents: options["parents"] != false,
        req: options["req"].as_str().map(str::to_owned),
        acting_as: options["as"].as_str().map(user),
        ..Step::from(operation)
    }
}

fn wish(wish: &Value) -> Wish {
    let name = |it: &str| wish[it].as_str().unwrap().to_owned();
    match wish["on"].as_str().unwrap() {
        "disconnect" => Wish::Disconnect,
        "userDeleted" => Wish::UserDeleted(user(&name("user"))),
        "event" => Wish::Event { name: name("name"), src: wish["src"].as_str().map(user) },
        "after" => Wish::After(wish["ms"].as_u64().unwrap()),
        "at" => Wish::At(wish["time"].as_u64().unwrap()),
        other => panic!("{other}"),
    }
}

/// A state with the accounts boss (ROOT), ann, bob, carol, dave and erin.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) state: State,
    pub(crate) limits: Limits,
    /// All commits since there was nothing.
    pub(crate) records: Vec<Record>,
    pub(crate) now: u64,
}

impl World {
    pub(crate) fn new() -> Self {
        let limits = Limits { allows_anonymous: true, ..Limits::default() };
        let mut world = Self { state: State::default(), limits, records: Vec::new(), now: 1000 };
        for name in ["boss", "ann", "bob", "carol", "dave", "erin"] {
            let rank = if name == "boss" { Rank::Root } else { Rank::User };
            world.account(name, rank);
        }
        world.must("", json!(["delete", "users"]));
        world
    }

    /// A world in which ROOT has put `value`, with `entries` such as `("a/b", "bob:3!")`.
    pub(crate) fn with(value: Value, entries: &[(&str, &str)]) -> Self {
        let mut world = Self::new();
        world.must("boss", json!(["update", "", value]));
        entries.iter().for_each(|(at, entry)| world.permit(at, entry));
        world
    }

    pub(crate) fn account(&mut self, name: &str, rank: Rank) {
        let password = Some(Secret::new(format!("hash of {name}")));
        self.does("", Operation::CreateUser { user: user(name), password, rank }).unwrap();
    }

    pub(crate) fn permit(&mut self, at: &str, entry: &str) {
        let (who, level) = entry.split_once(':').unwrap();
        let (level, is_important) = match level.strip_suffix('!') {
            Some(level) => (level, true),
            None => (level, false),
        };
        let level: u8 = level.parse().unwrap();
        let entry = json!({"lvl": level, "!": is_important});
        self.must("boss", json!(["updatePerms", at, who, entry]));
    }

    /// What would be decided.
    pub(crate) fn would(&self, who: &str, step: impl Into<Step>) -> Result<Commit, Failure> {
        self.ask(&actor(who), &Request::one(step, self.now))
    }

    pub(crate) fn ask(&self, actor: &Actor, request: &Request) -> Result<Commit, Failure> {
        decide(&self.state, actor, request, &self.limits)
    }

    /// Decides and commits, by way of the record's bytes.
    pub(crate) fn does(&mut self, who: &str, step: impl Into<Step>) -> Result<Commit, Failure> {
        self.commit(&actor(who), &Request::one(step, self.now))
    }

    pub(crate) fn commit(&mut self, actor: &Actor, request: &Request) -> Result<Commit, Failure> {
        let commit = self.ask(actor, request)?;
        if let Some(record) = &commit.record {
            let record = Record::decode(&record.encode()).unwrap();
            self.state.apply(&record).unwrap();
            self.records.push(record);
        }
        Ok(commit)
    }

    pub(crate) fn must(&mut self, who: &str, command: Value) -> Commit {
        let said = command.to_string();
        self.does(who, step(command)).unwrap_or_else(|it| panic!("{who}: {said}: {it:?}"))
    }

    pub(crate) fn batch(&mut self, who: &str, commands: Value) -> Result<Commit, Failure> {
        let steps = commands.as_array().unwrap().iter().cloned().map(step).collect();
        self.commit(&actor(who), &Request::batch(steps, self.now))
    }

    /// The code with which `command` is refused, or `ok`.
    pub(crate) fn code(&self, who: &str, command: Value) -> &'static str {
        match self.would(who, step(command)) {
            Ok(_) => "ok",
            Err(failure) => failure.refusal.code(),
        }
    }

    pub(crate) fn subject(&self, who: &str) -> Subject {
        self.state.judge(&actor(who))
    }

    /// What `who` gets at `at`, or the code of the refusal as a string.
    pub(crate) fn get(&self, who: &str, at: &str) -> Value {
        match self.state.get(&self.subject(who), &path(at)) {
            Ok(value) => (&value.value).into(),
            Err(refusal) => json!(refusal.code()),
        }
    }

    /// All that there is.
    pub(crate) fn value(&self) -> Value {
        self.state.root().into()
    }
}
