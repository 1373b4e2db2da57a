use std::{collections::BTreeSet, time::Duration};

use serde_json::{Value, value::RawValue};
use tokio::sync::oneshot;

use common_tcp::Failure;
use daemon::Stream;

use crate::{
    definition::{Change, Definition},
    name::{Name, Pattern},
};

/// What a guest wants, and where the answer goes.
#[derive(Debug)]
pub struct Asked {
    /// What is wanted.
    pub request: Request,
    /// Who wants it, for the history: `uid 1000`, `tcp 7`.
    pub by: String,
    /// Where the answer goes.
    pub answer: Answer,
}

/// Where an answer goes. A guest that is gone by then wants none.
#[derive(Debug)]
pub struct Answer(oneshot::Sender<Result<Value, Failure>>);

/// What can be asked of the manager.
#[derive(Debug)]
pub enum Request {
    /// The names of all installed daemons that a pattern matches.
    Match(Pattern),
    /// The same names, in an order in which they may start.
    InOrder(BTreeSet<Name>),
    /// Entries of running daemons; with `all` of stopped ones too, without `own` of foreign ones
    /// too.
    List {
        /// Stopped ones too.
        all: bool,
        /// No foreign ones.
        own: bool,
        /// Only these.
        name: Option<Pattern>,
        /// Where they go, as JSON: for a thousand, values would take longer than all else. The
        /// answer is null.
        entries: oneshot::Sender<Box<RawValue>>,
    },
    /// Where a daemon is; with `wait` not before it is ready.
    Find {
        /// Its name; that of a foreign one may be anything.
        name: String,
        /// Whether to wait for it.
        wait: bool,
    },
    /// Entries now, and a stream of what becomes of them.
    Watch {
        /// Of whom.
        pattern: Pattern,
        /// Where to.
        stream: Stream,
    },
    /// A stream of the history. Answered with the number of the last event before it.
    Follow {
        /// Where to.
        stream: Stream,
    },
    /// A daemon in full, or the manager.
    Status(Option<Name>),
    /// A child listens.
    Ready {
        /// Which spawn it is.
        secret: String,
        /// Where it says that it listens.
        port: u16,
    },
    /// A new daemon.
    Install {
        /// Its name.
        name: Name,
        /// What it is.
        definition: Box<Definition>,
        /// Whether to start it.
        start: bool,
        /// Whether one of that name may be there.
        replace: bool,
    },
    /// Other settings for a daemon.
    Edit {
        /// Which.
        name: Name,
        /// What.
        change: Change,
    },
    /// Something with a daemon.
    Verb(Name, Verb),
    /// A look for foreign daemons.
    Scan,
    /// The end of the manager.
    Down {
        /// Leave daemons with the keeper.
        keep: bool,
        /// When those that are left lose their grace; absent: some time after the longest one.
        limit: Option<Duration>,
    },
}

/// What can be asked with the name of a daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Until it is ready.
    Start,
    /// Until nothing of it is left.
    Stop,
    /// Until it is ready again.
    Restart,
    /// Until it is forgotten; its logs too with `purge`.
    Uninstall {
        /// Its logs too.
        purge: bool,
    },
    /// Whether `up` starts it; with `now`, start or stop it as well.
    Enable {
        /// What it shall be.
        enabled: bool,
        /// At once too.
        now: bool,
    },
    /// Until it is so.
    Wait(Target),
}

/// What can be waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// It is up.
    Ready,
    /// Nothing of it runs, and nothing will by itself.
    Gone,
    /// It has given up.
    Failed,
}

impl Answer {
    /// An answer, and where it is waited for.
    #[must_use]
    pub fn new() -> (Self, oneshot::Receiver<Result<Value, Failure>>) {
        let (sender, receiver) = oneshot::channel();
        (Self(sender), receiver)
    }

    /// Answers.
    pub fn send(self, result: Result<Value, Failure>) {
        // Who does not wait any more has gone.
        drop(self.0.send(result));
    }

    /// Whether nobody waits for it any more.
    #[must_use]
    pub fn is_unwanted(&self) -> bool {
        self.0.is_closed()
    }
}
