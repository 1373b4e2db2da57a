//! Who changes the tree, on a connection and a thread of its own, and waits for each answer.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use serde_json::{Value, json};

use super::{
    super::state::{Asker, line},
    plan::{self, ROOMS, TAKEN, USERS},
};
use crate::bench::clock::now;

pub(super) struct Writer {
    root: Asker,
    /// How many sessions each user has that hear.
    audience: Vec<usize>,
    written: Written,
    progress: Arc<AtomicUsize>,
}

/// What was done.
#[derive(Default)]
pub(super) struct Written {
    /// How many messages were sent to each user.
    pub(super) news: Vec<u64>,
    /// Messages that did not go to all sessions of their user.
    pub(super) unheard: Vec<String>,
    /// How long each answer took.
    pub(super) waits: Vec<Duration>,
}

/// Changes that are sent at once around the moment in which the room is taken away.
const BURST: usize = 20;

/// How large a value is that nobody but the deaf subscriber is told.
const BIG: usize = 300_000;

impl Writer {
    pub(super) fn new(root: Asker, audience: Vec<usize>, progress: Arc<AtomicUsize>) -> Self {
        let written = Written { news: vec![0; USERS], ..Written::default() };
        Self { root, audience, written, progress }
    }

    /// Makes so many changes, and the last ones.
    pub(super) fn write(mut self, changes: usize) -> io::Result<Written> {
        for n in 0..changes {
            self.change(n)?;
            self.ask("update", &json!([["big"], format!("{n}{}", "x".repeat(BIG))]))?;
            self.emit(n)?;
            if n == changes / 3 {
                self.shut_out()?;
            }
            if n == changes * 2 / 3 {
                self.let_in_again()?;
            }
            self.progress.store(n, Relaxed);
        }
        let rooms = (0..ROOMS).map(|it| json!(["update", ["doc", plan::room(it), "end"], true]));
        let mut ends: Vec<Value> = rooms.collect();
        ends.push(json!(["update", ["doc", "end"], true]));
        self.ask("batch", &json!([ends]))?;
        self.progress.store(usize::MAX, Relaxed);
        Ok(self.written)
    }

    fn change(&mut self, n: usize) -> io::Result<()> {
        let (room, other) = (plan::room(n), plan::room(n * 7 + 1));
        let item = format!("item{}", n / 6);
        // Later what was made is taken away again, so a mirror has to follow both.
        let (name, args) = match n % 6 {
            0 => ("create", json!([["doc", plan::room(n / 6), "items"], item, { "n": n }])),
            1 => ("update", json!([["doc", room, "v"], n])),
            2 => ("merge", json!([["doc", room], { "m": { "n": n }, "old": null }])),
            3 => {
                let one = json!(["update", ["doc", room, "v"], n]);
                let two = json!(["merge", ["doc", other], { "old": n, "m": null }]);
                ("batch", json!([[one, two]]))
            }
            4 => ("update", json!([["doc", room, "old"], [n, "é\n"]])),
            _ => ("delete", json!([["doc", plan::room(n / 6), "items", item]])),
        };
        self.ask(name, &args)?;
        Ok(())
    }

    /// Tells a user something, as the next of all that he is told.
    fn emit(&mut self, n: usize) -> io::Result<()> {
        let user = n % USERS;
        if user % 10 == plan::DEAF {
            return Ok(());
        }
        self.written.news[user] += 1;
        let args = json!([plan::name(user), "news", self.written.news[user]]);
        let told = self.ask("emit", &args)?;
        if told["delivered"] != self.audience[user] {
            let shown = format!("{told} of {} at {}", self.audience[user], plan::name(user));
            self.written.unheard.push(shown);
        }
        Ok(())
    }

    /// Takes the room away from some while events of it are on their way to them.
    fn shut_out(&mut self) -> io::Result<()> {
        let room = ["doc".to_owned(), plan::room(TAKEN)];
        let shut_out = (0..USERS).filter(|it| plan::is_shut_out(*it));
        let perms =
            shut_out.map(|it| line("updatePerms", &json!([room, plan::name(it), { "lvl": 1 }])));
        let lines: Vec<String> = writes("open").chain(perms).chain(writes(plan::HIDDEN)).collect();
        self.root.say(&lines.concat())?;
        lines.iter().try_for_each(|_| self.root.hear().map(drop))
    }

    /// Lets some in again, once nothing hidden is there any more.
    fn let_in_again(&mut self) -> io::Result<()> {
        let room = ["doc".to_owned(), plan::room(TAKEN)];
        self.ask("update", &json!([["doc", plan::room(TAKEN), "v"], "for all"]))?;
        for user in (0..USERS).filter(|it| plan::is_let_in_again(*it)) {
            self.ask("updatePerms", &json!([room, plan::name(user), null]))?;
        }
        Ok(())
    }

    fn ask(&mut self, name: &str, args: &Value) -> io::Result<Value> {
        let begun = now();
        let answer = self.root.ask(name, args)?;
        self.written.waits.push(now() - begun);
        Ok(answer)
    }
}

/// Changes of the room that is taken away, each with `what` in it.
fn writes(what: &str) -> impl Iterator<Item = String> {
    let value = move |n| json!([["doc", plan::room(TAKEN), "v"], format!("{what} {n}")]);
    (0..BURST).map(move |n| line("update", &value(n)))
}
