//! What manager and keeper say to each other: one JSON object a line, in both directions.
//!
//! A request names itself (`{"signal":{"name":"Sample","signal":15,"scope":"group"}}`), and so does
//! a report (`{"exited":{"name":"Sample","pid":7,"status":{"code":37},"at_ms":…}}`).

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::identity::Identity;
use crate::proc::Pid;

/// The longest line in either direction. An environment has at most 2 MiB in the kernel; as JSON
/// it may double.
pub const LINE_LIMIT_BYTES: usize = 4 << 20;

/// How many listening sockets may be held under one name.
pub const SOCKETS: usize = 16;

/// What the manager asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// Starts a child. Answered by `spawned` or `spawn-failed`, each with the same id.
    Spawn(Spawn),
    /// Takes over a child of a keeper that is gone. One that it has already it keeps as it is; of
    /// one that is not the same process any more it signals nobody. `children` tells what came of
    /// it.
    Adopt(Adopt),
    /// Sends one signal. Answered only if it cannot be sent.
    Signal {
        /// Whose child.
        name: String,
        /// The number of the signal.
        signal: i32,
        /// To whom of the tree.
        scope: Scope,
    },
    /// Keeps in mind whether a child is meant to end and not to come again, for a manager that did
    /// not ask for it. Never answered; one that is not there needs none.
    Intend {
        /// Whose child.
        name: String,
        /// Whether it is.
        stop: bool,
    },
    /// Ends the whole tree by SIGKILL. `empty` tells when that is done. Where no child has the
    /// name, what was let go of it is ended, and nothing told; its identity file goes too.
    Kill {
        /// Whose tree.
        name: String,
    },
    /// Drops what is known of a dead child; its identity file tells of nobody then. If anything of
    /// its tree lives, it is let go of its name: it is kept and its output captured, but nothing
    /// told of it.
    Forget {
        /// Whose.
        name: String,
    },
    /// Holds listening sockets for whoever is spawned under a name, and closes the others that were
    /// held for it. Never answered.
    Hold(Hold),
    /// Asks for `children`, before which `holds` comes for each name with sockets.
    List {},
    /// Begins a new log file, between two lines.
    Rotate {
        /// Whose log.
        name: String,
    },
    /// Ends the keeper, if no child lives. Answered by `ending`, once all that was let go is
    /// killed.
    End {},
}

impl Request {
    /// Whether descriptors come with its line.
    pub(crate) fn carries(&self) -> bool {
        match self {
            Self::Adopt(adopt) => adopt.carried.is_some(),
            Self::Hold(hold) => !hold.added.is_empty(),
            _ => false,
        }
    }
}

/// A child to start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spawn {
    /// Repeated in the answer.
    pub id: u64,
    /// The daemon's name; also the name of its identity file.
    pub name: String,
    /// The program; absolute, since PATH is not searched.
    pub program: PathBuf,
    /// Its arguments without `argv[0]`, which is the program.
    pub args: Vec<String>,
    /// Its whole environment; nothing is added.
    pub env: Vec<(String, String)>,
    /// Its working directory.
    pub cwd: PathBuf,
    /// Its umask.
    pub umask: u32,
    /// Its soft limit of open files; absent: the one that the keeper was started with.
    pub nofile: Option<u64>,
    /// What the manager put into `env` as `DAE_SECRET`.
    pub secret: String,
    /// Where its output goes.
    pub log: LogSettings,
    /// Which of the sockets that are held for it become its descriptors 3, 4, …; it then finds its
    /// pid in `LISTEN_PID`.
    #[serde(default)]
    pub sockets: Vec<String>,
}

/// What is held for a name from now on. What the sockets are called means nothing to the keeper.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// For whom.
    pub name: String,
    /// All that are held; of those held already the others are closed.
    pub sockets: Vec<String>,
    /// Those of them whose descriptors come with this line, in this order.
    pub added: Vec<String>,
}

/// A child to take over, with what is left of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adopt {
    /// Which process it was when it was spawned, and where its output goes on.
    pub identity: Identity,
    /// Whether its name is another child's by now.
    #[serde(default)]
    pub let_go: bool,
    /// The descriptors that come with this line; absent if none do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub carried: Option<Carried>,
}

/// Which descriptors come with a line: a pidfd of the leader, then these.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carried {
    /// The read end of its standard output.
    pub out: bool,
    /// The read end of its standard error.
    pub err: bool,
}

/// Where the output of a child goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogSettings {
    /// The directory of this daemon's log files; made if absent.
    pub dir: PathBuf,
    /// The size at which a new file is begun.
    pub max_bytes: u64,
    /// How many older files are kept.
    pub keep: usize,
    /// How long a child waits for room on a full disk before its output is dropped.
    pub patience_ms: u64,
}

/// To whom of a tree a signal goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// The process that was spawned.
    Leader,
    /// Its process group, also when the leader is dead.
    Group,
}

/// What the keeper tells. With no manager connected it is not queued: `children` tells it later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Report {
    /// The child's program runs.
    Spawned {
        /// That of the request.
        id: u64,
        /// Whose.
        name: String,
        /// Which process it is.
        identity: Identity,
    },
    /// Descriptors for whoever outlives this keeper, once for each living child: after its spawn,
    /// and after a `list`.
    Held {
        /// Whose.
        name: String,
        /// Its leader.
        pid: Pid,
        /// Which descriptors come with this line.
        carried: Carried,
    },
    /// The child could not be started; nothing of it is left.
    SpawnFailed {
        /// That of the request.
        id: u64,
        /// Whose.
        name: String,
        /// What failed.
        step: Step,
        /// Why. A script whose interpreter is missing gives ENOENT as a missing program does.
        errno: i32,
    },
    /// The leader is dead and reaped. Others of its tree may live: see `empty`.
    Exited {
        /// Whose.
        name: String,
        /// Its pid, by now free for others.
        pid: Pid,
        /// How it ended.
        status: Status,
        /// When, in Unix milliseconds.
        at_ms: u64,
    },
    /// Nothing of the tree is left and all its output is in the log.
    Empty {
        /// Whose.
        name: String,
        /// The pid that the leader had.
        pid: Pid,
    },
    /// A child that was adopted unverified is now known to be the process of before, or to have
    /// ended; also told to whoever would spawn another of its name.
    Verified(Listed),
    /// What is held for a name.
    Holds {
        /// For whom.
        name: String,
        /// What the manager called the sockets.
        sockets: Vec<String>,
    },
    /// The descriptors of what is held for a name, for whoever outlives this keeper; after a
    /// `list`.
    Sockets {
        /// For whom.
        name: String,
        /// What they are, in the order in which they come with this line.
        sockets: Vec<String>,
    },
    /// All children that are not forgotten.
    Children(Vec<Listed>),
    /// The request was not carried out.
    Refused {
        /// The request's own name.
        request: String,
        /// Whose, if it names somebody.
        name: Option<String>,
        /// Why.
        reason: Refusal,
    },
    /// The keeper ends now.
    Ending {},
}

/// One child, as `children` lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Whose.
    pub name: String,
    /// Which process it is or was.
    pub identity: Identity,
    /// How far it came.
    pub state: State,
    /// Whether nothing of its tree is left and its log is complete.
    pub empty: bool,
    /// Whether it is only what was left behind, and its name free for another.
    #[serde(default)]
    pub let_go: bool,
    /// Whether a manager has told it to end, and did not want it to come again.
    #[serde(default)]
    pub stopping: bool,
}

/// How far a child came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Its program does not run yet.
    Starting,
    /// Its program runs.
    Running,
    /// Its program never ran.
    Failed {
        /// What failed.
        step: Step,
        /// Why.
        errno: i32,
    },
    /// Adopted without proof that the process with its pid is it. Nothing of it is signalled, and
    /// the name is not used, until that process has ended or it is told: see [`Report::Verified`].
    Unverified,
    /// Its leader is dead.
    Exited {
        /// How it ended.
        status: Status,
        /// When, in Unix milliseconds.
        at_ms: u64,
    },
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// Not known: nobody watched it, and the kernel does not tell afterwards.
    Unknown,
}

/// What of a spawn failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// The name: not one (EINVAL), or its tree is not empty yet (EBUSY).
    Name,
    /// Telling whether a process is the one of before.
    Verify,
    /// Opening the log.
    Log,
    /// Handing over a listening socket: it is not held (EBADF).
    Socket,
    /// Making the pipes.
    Pipe,
    /// Making the process.
    Spawn,
    /// Storing its identity.
    Identity,
    /// Its own session.
    Session,
    /// The working directory.
    Cwd,
    /// The limit of open files.
    Nofile,
    /// Standard input.
    Stdin,
    /// Closing what was inherited.
    Close,
    /// Running the program.
    Exec,
}

impl Step {
    /// Those that the new process tells by number: the index is the number.
    pub const REMOTE: [Self; 7] = [
        Self::Session,
        Self::Cwd,
        Self::Nofile,
        Self::Stdin,
        Self::Close,
        Self::Exec,
        Self::Socket,
    ];
}

/// Why a request was not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    /// No child has this name.
    Unknown,
    /// A child lives, or what it left behind.
    Alive,
    /// There is no process to signal or to adopt, or no such signal.
    Gone,
    /// The line is not a request.
    Unreadable,
}
