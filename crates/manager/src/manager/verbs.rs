use std::{collections::BTreeSet, sync::Arc};

use common_tcp::Failure;
use serde_json::{Map, Value, json, value::to_raw_value};

use super::{
    Manager,
    entry::Entry,
    listing::{self, Listed},
    request::{Answer, Asked, Request, Target, Verb},
    waiters::{self, Verdict, Waiter},
};
use crate::{
    child::{Child, Event, State, Then},
    definition::{Change, Definition},
    events::{self, Kind, What},
    name::{Name, Pattern, nearest},
    registry::StoreError,
};

impl Manager {
    /// Does what a guest asks, and answers or remembers whom to answer.
    pub(super) fn answer(&mut self, asked: Asked) {
        let Asked { request, by, answer } = asked;
        self.record_command(&request, &by);
        let result = match request {
            Request::Match(pattern) => self.matching(&pattern),
            Request::InOrder(names) => Ok(self.in_order(names)),
            Request::List { all, own, name, entries } => {
                let listed: Vec<_> = self.list(all, own, name.as_ref()).collect();
                let text = to_raw_value(&listed).expect("texts and numbers are JSON");
                // Who asked may have gone.
                drop(entries.send(text));
                Ok(Value::Null)
            }
            Request::Find { name, wait } => return self.find(&name, wait, answer),
            Request::Watch { pattern, stream } => {
                let now = self.list(true, false, Some(&pattern)).map(|it| it.to_value()).collect();
                self.watchers.add(pattern, stream);
                Ok(now)
            }
            Request::Follow { stream } => {
                self.watchers.follow(stream);
                Ok(self.history.as_ref().map(events::Writer::last_seq).into())
            }
            Request::Status(None) => Ok(self.own_status()),
            Request::Status(Some(name)) => {
                self.installed(&name).map(|(name, entry)| self.status(name, entry))
            }
            Request::Ready { secret, port } => return self.heard_ready(&secret, port, answer),
            Request::Install { name, definition, start, replace } => {
                return self.install(name, *definition, start, replace, answer);
            }
            Request::Edit { name, change } => self.edit(&name, &change),
            Request::Verb(name, verb) => return self.perform(&name, verb, answer),
            Request::Scan => return self.look(Some(answer)),
            Request::Down { keep, limit } => {
                return self.begin_ending(keep, limit, Some(answer));
            }
        };
        answer.send(result);
    }

    fn matching(&self, pattern: &Pattern) -> Result<Value, Failure> {
        let names = self.entries.keys().filter(|name| pattern.matches(name.as_str()));
        let names: Vec<&str> = names.map(Name::as_str).collect();
        match names.is_empty() && !pattern.as_str().eq_ignore_ascii_case("all") {
            true => Err(self.unknown(pattern.as_str())),
            false => Ok(names.into()),
        }
    }

    /// `names` so that whoever is waited for comes before who waits: one that is at rest is not
    /// waited for.
    fn in_order(&self, mut names: BTreeSet<Name>) -> Value {
        let order = if names.len() > 1 { self.order.start_order() } else { vec![] };
        let ordered: Vec<Name> = order.into_iter().filter_map(|name| names.take(name)).collect();
        // What is being uninstalled has no place in the order any more.
        ordered.iter().chain(&names).map(Name::as_str).collect()
    }

    fn list(
        &self,
        all: bool,
        own: bool,
        name: Option<&Pattern>,
    ) -> impl Iterator<Item = Listed<'_>> {
        let is_named = move |it: &str| name.is_none_or(|pattern| pattern.matches(it));
        let runs =
            |entry: &Entry| matches!(entry.child.state(), State::Up { .. } | State::Sick { .. });
        let ours =
            self.all_listed(move |name, entry| is_named(name.as_str()) && (all || runs(entry)));
        ours.chain(self.foreigners.listed().filter(move |it| !own && is_named(it.name())))
    }

    fn find(&mut self, name: &str, wait: bool, answer: Answer) {
        let known = Name::new(name).ok().and_then(|name| self.entries.get_key_value(&name));
        let Some((name, entry)) = known else {
            let foreign = self.foreigners.find(name).map(|it| it.to_value());
            return answer.send(foreign.ok_or_else(|| self.unknown(name)));
        };
        match entry.child.state() {
            State::Up { port: Some(_), .. } | State::Sick { port: Some(_), .. } => {
                answer.send(Ok(self.listed(name, entry)));
            }
            _ if wait => {
                let (name, target) = (name.clone(), Target::Ready);
                self.waiters.add(&name, Waiter { target, is_patient: true, answer });
            }
            State::Up { .. } | State::Sick { .. } => answer.send(Err(listing::about(
                "not-found",
                name,
                format!("`{name}` runs, but its port is not known"),
            ))),
            state => {
                let message = format!("`{name}` is {state}");
                let failure = listing::about("not-found", name, message);
                answer.send(Err(failure.with("state", state.word())));
            }
        }
    }

    fn install(
        &mut self,
        name: Name,
        definition: Definition,
        start: bool,
        replace: bool,
        answer: Answer,
    ) {
        if let Some((known, _)) = self.entries.get_key_value(&name)
            && !replace
        {
            let message = format!("a daemon called `{known}` is installed already");
            let hint = format!("give another name, `--replace`, or `dae uninstall {known}` first");
            return answer.send(Err(listing::about("exists", known, message).with("hint", hint)));
        }
        if let Err(failure) =
            self.check_not_ending(&name).and_then(|()| self.check_budget(&definition))
        {
            return answer.send(Err(failure));
        }
        let name = self.entries.get_key_value(&name).map_or(name, |(known, _)| known.clone());
        if let Err(failure) = self.store(&name, definition) {
            return answer.send(Err(failure));
        }
        // From now on it has a log, if an empty one; without its directories the first start says
        // why.
        if let Err(error) = self.paths.create_for(&name) {
            tracing::warn!(%error, daemon = %name, "cannot make its directories");
        }
        match start {
            true => self.perform(&name, Verb::Restart, answer),
            false => answer.send(self.installed(&name).map(|(name, it)| self.listed(name, it))),
        }
    }

    /// Keeps a definition: in the order of all, on disk, and with the child.
    fn store(&mut self, name: &Name, definition: Definition) -> Result<(), Failure> {
        // It has left the registry already, and must not come back by this.
        if let Some(State::Stopping { then: Then::Gone, .. }) = self.state(name) {
            let message = format!("`{name}` is being uninstalled");
            return Err(listing::about("unavailable", name, message));
        }
        let mut order = self.order.clone();
        order.put(name.clone(), &definition);
        order.check().map_err(|cycle| {
            listing::about("conflict", name, format!("nobody could start first: {cycle}"))
        })?;
        let definition = Arc::new(definition);
        self.registry.put(name.clone(), Arc::clone(&definition)).map_err(|it| stored(name, &it))?;
        self.order = order;
        match self.entries.get_mut(name) {
            Some(entry) => entry.child.define(definition),
            None => {
                let entry = Entry::new(Child::new(definition));
                drop(self.entries.insert(name.clone(), entry));
            }
        }
        Ok(())
    }

    /// What is changed once everything is being stopped would come too late, or start something
    /// anew.
    fn check_not_ending(&self, name: &Name) -> Result<(), Failure> {
        match self.ending {
            None => Ok(()),
            Some(_) => {
                let message = "the manager is ending".to_owned();
                Err(listing::about("shutting-down", name, message))
            }
        }
    }

    /// Five descriptors a child are needed by the keeper (two pipes, two files of its log, a pidfd
    /// if it was adopted), and fewer by the manager; one for each listening socket that is held;
    /// some by both for themselves.
    fn check_budget(&self, new: &Definition) -> Result<(), Failure> {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
        let sockets: usize = self.entries.values().map(|it| it.child.defined().sockets.len()).sum();
        let sockets = (sockets + new.sockets.len()) as u64;
        let needed = 5 * (self.entries.len() as u64 + 1) + sockets + 48;
        match limit {
            Some(limit) if needed > limit => Err(Failure::new(
                "fd-budget",
                format!("{needed} descriptors would be needed, and the limit is {limit}"),
            )
            .with("hint", "raise the hard limit of open files (`ulimit -Hn`) and start anew")),
            _ => Ok(()),
        }
    }

    fn edit(&mut self, name: &Name, change: &Change) -> Result<Value, Failure> {
        let (name, entry) = self.installed(name)?;
        let name = name.clone();
        let mut definition = entry.child.defined().as_ref().clone();
        change.apply(&mut definition);
        self.store(&name, definition)?;
        let (name, entry) = self.installed(&name)?;
        Ok(json!({ "v": 1, "daemon": self.listed(name, entry) }))
    }

    fn perform(&mut self, name: &Name, verb: Verb, answer: Answer) {
        let name = match self.installed(name) {
            Ok((name, _)) => name.clone(),
            Err(failure) => return answer.send(Err(failure)),
        };
        if !matches!(verb, Verb::Stop | Verb::Wait(_))
            && let Err(failure) = self.check_not_ending(&name)
        {
            return answer.send(Err(failure));
        }
        match verb {
            Verb::Start => self.ask(&name, Event::Start, Target::Ready, answer),
            Verb::Restart => self.ask(&name, Event::Restart, Target::Ready, answer),
            Verb::Stop => self.ask(&name, Event::Stop, Target::Gone, answer),
            Verb::Uninstall { purge } => self.uninstall(&name, purge, answer),
            Verb::Enable { enabled, now } => self.enable(&name, enabled, now, answer),
            Verb::Wait(target) => self.wait(&name, target, answer),
        }
    }

    /// Tells the child, and has the guest wait until it is so.
    fn ask(&mut self, name: &Name, event: Event, target: Target, answer: Answer) {
        let is_restart = event == Event::Restart;
        if let Some(unverified) = self.entries.get_mut(name).and_then(|it| it.unverified.as_mut()) {
            unverified.is_unwanted = event == Event::Stop;
        }
        let waiter = Waiter { target, is_patient: false, answer };
        // What is so already is answered now; a restart of what is up only begins.
        if let Some(state) = self.state(name)
            && waiters::verdict(target, false, state) == Verdict::Reached
            && !is_restart
            && !matches!((target, state), (Target::Gone, State::Failed))
        {
            return self.answer_waiter(name, waiter, true);
        }
        // Waiters are settled by transitions, and a restart begins with `stopping`: the old `up` is
        // not seen.
        self.waiters.add(name, waiter);
        self.step(name, event);
    }

    fn uninstall(&mut self, name: &Name, purge: bool, answer: Answer) {
        if let Err(error) = self.registry.remove(name) {
            return answer.send(Err(stored(name, &error)));
        }
        self.order.remove(name);
        self.waiters.add(name, Waiter { target: Target::Gone, is_patient: true, answer });
        if purge {
            self.purged.insert(name.clone());
        }
        self.step(name, Event::Remove);
    }

    fn enable(&mut self, name: &Name, enabled: bool, now: bool, answer: Answer) {
        let Some(entry) = self.entries.get(name) else { return };
        let mut definition = entry.child.defined().as_ref().clone();
        definition.enabled = enabled;
        if let Err(failure) = self.store(name, definition) {
            return answer.send(Err(failure));
        }
        match (now, enabled) {
            (true, true) => self.perform(name, Verb::Start, answer),
            (true, false) => self.perform(name, Verb::Stop, answer),
            (false, _) => answer.send(self.installed(name).map(|(name, it)| self.listed(name, it))),
        }
    }

    fn wait(&mut self, name: &Name, target: Target, answer: Answer) {
        let waiter = Waiter { target, is_patient: true, answer };
        let Some(state) = self.state(name) else { return };
        match (waiters::verdict(target, true, state), target) {
            (Verdict::Reached, _) => self.answer_waiter(name, waiter, true),
            // It is at rest now; somebody may start it yet, so it is waited for all the same.
            (_, Target::Ready) if state == State::Failed => self.answer_waiter(name, waiter, false),
            _ => self.waiters.add(name, waiter),
        }
    }

    pub(super) fn installed(&self, name: &Name) -> Result<(&Name, &Entry), Failure> {
        self.entries.get_key_value(name).ok_or_else(|| self.unknown(name.as_str()))
    }

    fn unknown(&self, name: &str) -> Failure {
        let known: BTreeSet<&str> = self.entries.keys().map(Name::as_str).collect();
        let near = nearest(name, known);
        let message = match near.first() {
            Some(first) => format!("no daemon is called `{name}`; did you mean `{first}`?"),
            None => format!("no daemon is called `{name}`"),
        };
        Failure::not_found(message).with("name", name).with("near", near)
    }

    /// Writes what somebody asked for into the history, if it changes something.
    fn record_command(&mut self, request: &Request, by: &str) {
        let (command, name) = match request {
            Request::Install { name, .. } => ("install", Some(name)),
            Request::Edit { name, .. } => ("edit", Some(name)),
            Request::Down { .. } => ("down", None),
            Request::Verb(_, Verb::Wait(_)) => return,
            Request::Verb(name, verb) => (word(*verb), Some(name)),
            _ => return,
        };
        let members: Map<String, Value> =
            [("command".to_owned(), command.into())].into_iter().collect();
        self.record(What {
            kind: Kind::Command,
            name: name.map(ToString::to_string),
            by: Some(by.into()),
            members,
        });
    }
}

fn word(verb: Verb) -> &'static str {
    match verb {
        Verb::Start => "start",
        Verb::Stop => "stop",
        Verb::Restart => "restart",
        Verb::Uninstall { .. } => "uninstall",
        Verb::Enable { enabled: true, .. } => "enable",
        Verb::Enable { enabled: false, .. } => "disable",
        Verb::Wait(_) => "wait",
    }
}

fn stored(name: &Name, error: &StoreError) -> Failure {
    let cause = std::error::Error::source(error).map(|it| format!(": {it}")).unwrap_or_default();
    listing::about("storage", name, format!("`{name}` cannot be stored: {error}{cause}"))
        .with("hint", "nothing has been changed; make room or mend the directory, then try again")
}
