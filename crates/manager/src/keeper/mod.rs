//! The keeper: parent of all children, reader of their output, writer of their logs.
//!
//! It is a process of its own so that none of this ends with the manager: exit codes, output and
//! the children themselves survive it. For that it stays small and dull: one thread, one loop, no
//! runtime. It obeys and reports (see [`protocol`]), and knows no policy: what is restarted, when,
//! and whether, is not its business. It must not know the registry, the network or the command line.

mod child;
mod clock;
pub mod exec;
mod link;
mod log;
pub mod protocol;
mod spawn;
mod syscall;
mod tree;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::fs::{FlockOperation, Mode};
use rustix::io::Errno;
use rustix::process::{Pid, Resource, Rlimit, WaitOptions};

use self::child::Child;
use self::clock::Now;
use self::link::{Link, LinkError};
pub use self::log::{FLAG_DROPPED, RECORD_BYTES};
use self::log::{Log, Stream};
use self::protocol::{Refusal, Report, Request, Scope, Spawn, State, Step};
use self::spawn::SpawnError;
use self::tree::{Children, Orphans};
use crate::identity::Identity;

/// The hidden subcommand that gets here: `dae keeper --runtime DIR`.
pub const SUBCOMMAND: &str = "keeper";

/// The socket below the runtime directory.
pub const SOCKET: &str = ".keeper.sock";

/// Held while a keeper lives. The lock decides, never the file: a socket that a dead keeper left
/// behind may be replaced by whoever has it.
const LOCK: &str = ".keeper.lock";

/// What is read of one pipe at once. Each pipe is read once a turn, so that nobody's output waits
/// for more than this of each other's.
const READ_BYTES: usize = 1 << 20;

/// How long a keeper without children waits for a manager.
const IDLE_MS: u64 = 60_000;

/// A tree that outlives so many sweeps is held by the kernel; the next `kill` tries again.
const SWEEPS: u8 = 20;

/// How many events one turn takes.
const EVENTS: usize = 256;

/// Why a keeper did not start, or did not go on.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// The command line is not that of a keeper.
    #[error("a keeper is started as `dae keeper --runtime DIR`")]
    Usage,
    /// Another keeper has this directory.
    #[error("a keeper already runs in `{}`", runtime.display())]
    Running {
        /// The directory.
        runtime: PathBuf,
    },
    /// The directory, the lock or the socket cannot be made.
    #[error("cannot use `{}`", path.display())]
    Runtime {
        /// Which of them.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The kernel refused what a keeper cannot do without.
    #[error("cannot set up the keeper")]
    Kernel(#[from] io::Error),
}

impl From<Errno> for KeeperError {
    fn from(errno: Errno) -> Self {
        Self::Kernel(errno.into())
    }
}

/// Runs the hidden subcommand with what follows its name.
///
/// # Errors
/// Those of [`run`], and [`KeeperError::Usage`].
pub fn main(mut arguments: impl Iterator<Item = OsString>) -> Result<(), KeeperError> {
    match (arguments.next(), arguments.next(), arguments.next()) {
        (Some(flag), Some(runtime), None) if flag == "--runtime" => run(Path::new(&runtime)),
        _ => Err(KeeperError::Usage),
    }
}

/// Keeps children until it is told to end, or is alone for [`IDLE_MS`].
///
/// It takes over the process: closes all descriptors above stderr, leaves the session, blocks
/// signals. Standard output and error stay what the starter made them.
///
/// # Errors
/// [`KeeperError`]
pub fn run(runtime: &Path) -> Result<(), KeeperError> {
    let nofile = settle()?;
    // Held to the end of this function; the kernel lets go of it however that comes.
    let _lock = lock(runtime)?;
    let mut keeper = Keeper::listen(runtime, nofile)?;
    while keeper.turn()? {}
    // It is ours by the lock, and the next keeper would replace it anyway.
    drop(fs::remove_file(runtime.join(SOCKET)));
    Ok(())
}

/// Arranges the process; returns the soft limit of open files that children are to have.
fn settle() -> Result<u64, KeeperError> {
    syscall::close_inherited()?;
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    // Fails for the leader of a group, which then has its own already.
    let _ = rustix::process::setsid();
    rustix::process::umask(Mode::from_raw_mode(0o077));
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    // The end of a terminal, of a session or of the manager must not end what the keeper holds;
    // the manager says `end` when nothing is left. Blocking spares a handler for each.
    SigSet::all().thread_set_mask().map_err(io::Error::from)?;
    let limit = rustix::process::getrlimit(Resource::Nofile);
    rustix::process::setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?;
    Ok(limit.current.unwrap_or(u64::MAX))
}

fn lock(runtime: &Path) -> Result<File, KeeperError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| KeeperError::Runtime { path, source }
    };
    let running = runtime.join("running");
    DirBuilder::new().recursive(true).mode(0o700).create(&running).map_err(failed(&running))?;
    let path = runtime.join(LOCK);
    let file = File::create(&path).map_err(failed(&path))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(Errno::WOULDBLOCK) => Err(KeeperError::Running { runtime: runtime.to_owned() }),
        Err(errno) => Err(failed(&path)(errno.into())),
    }
}

fn bind(runtime: &Path) -> Result<UnixListener, KeeperError> {
    let path = runtime.join(SOCKET);
    let bind = || {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    bind().map_err(|source| KeeperError::Runtime { path: path.clone(), source })
}

/// Whom an event is about, as the number that epoll carries for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Listener,
    Link,
    Signals,
    Control(u64),
    Output(u64, Stream),
}

impl Source {
    fn number(self) -> u64 {
        match self {
            Self::Listener => 0,
            Self::Link => 1,
            Self::Signals => 2,
            Self::Control(key) => key << 2,
            Self::Output(key, stream) => (key << 2) + 1 + stream.index() as u64,
        }
    }

    /// Keys begin at 1, so that the numbers of children and of others differ.
    fn from_number(number: u64) -> Self {
        match (number >> 2, number & 3) {
            (0, 0) => Self::Listener,
            (0, 1) => Self::Link,
            (0, _) => Self::Signals,
            (key, 0) => Self::Control(key),
            (key, 1) => Self::Output(key, Stream::Out),
            (key, _) => Self::Output(key, Stream::Err),
        }
    }
}

struct Keeper {
    runtime: PathBuf,
    nofile: u64,
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
    listener: UnixListener,
    signals: SignalFd,
    link: Option<Link>,
    children: Children,
    orphans: Orphans,
    last_key: u64,
    /// Who waits for a moment: for room on the disk, or for the end of its pipes.
    due: BTreeSet<u64>,
    /// How many children are not empty.
    living: usize,
    alone_since_ms: Option<u64>,
    is_ending: bool,
    buffer: Vec<u8>,
}

impl Keeper {
    fn listen(runtime: &Path, nofile: u64) -> Result<Self, KeeperError> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        let signals =
            SignalFd::with_flags(&Signal::SIGCHLD.into(), flags).map_err(io::Error::from)?;
        let listener = bind(runtime)?;
        watch(&epoll, &listener, Source::Listener)?;
        watch(&epoll, &signals, Source::Signals)?;
        Ok(Self {
            runtime: runtime.to_owned(),
            nofile,
            epoll,
            events: Vec::with_capacity(EVENTS),
            listener,
            signals,
            link: None,
            children: Children::new(),
            orphans: Orphans::default(),
            last_key: 0,
            due: BTreeSet::new(),
            living: 0,
            alone_since_ms: None,
            is_ending: false,
            buffer: vec![0; READ_BYTES],
        })
    }

    /// Waits for something and does what it asks for; false when the keeper is to end.
    fn turn(&mut self) -> Result<bool, KeeperError> {
        let timeout = self.timeout(Now::read());
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), timeout.as_ref()) {
            Err(Errno::INTR) => {}
            waited => drop(waited?),
        }
        let now = Now::read();
        let events = std::mem::take(&mut self.events);
        for event in &events {
            self.on(Source::from_number(event.data.u64()), now);
        }
        self.events = events;
        self.events.clear();
        self.obey_one(now);
        self.tend(now);
        self.flush();
        Ok(!self.is_ending && !self.is_alone_too_long(now))
    }

    /// Until the next moment that something waits for; `None` for ever.
    fn timeout(&self, now: Now) -> Option<Timespec> {
        if self.link.as_ref().is_some_and(Link::has_request) {
            return Some(Timespec::default());
        }
        let due = self.due.iter().filter_map(|key| self.children.get(key)?.due_at_ms());
        let at_ms = due.chain(self.alone_since_ms.map(|since| since + IDLE_MS)).min()?;
        let wait_ms = i64::try_from(at_ms.saturating_sub(now.steady_ms)).unwrap_or(i64::MAX);
        Some(Timespec { tv_sec: wait_ms / 1000, tv_nsec: wait_ms % 1000 * 1_000_000 })
    }

    fn on(&mut self, source: Source, now: Now) {
        match source {
            Source::Listener => self.accept(),
            Source::Link => self.read_link(),
            Source::Signals => self.reap(now),
            Source::Control(key) => self.listen_to(key),
            Source::Output(key, stream) => self.capture(key, stream, now),
        }
    }

    /// A new manager replaces an older one, which may hang without knowing it.
    fn accept(&mut self) {
        let Some(link) = Link::accept(&self.listener) else { return };
        if watch(&self.epoll, link.socket(), Source::Link).is_ok() {
            self.link = Some(link);
        }
    }

    fn read_link(&mut self) {
        let read = self.link.as_mut().map_or(Ok(()), Link::read);
        self.drop_link_on(read);
    }

    /// What is not told is not lost: `list` tells it to the next manager.
    fn tell(&mut self, report: &Report) {
        let sent = self.link.as_mut().map_or(Ok(()), |link| link.send(report));
        self.drop_link_on(sent);
    }

    fn flush(&mut self) {
        let flushed = self.link.as_mut().map_or(Ok(()), Link::flush);
        self.drop_link_on(flushed);
        if let Some(link) = &self.link {
            let backlog = if link.has_backlog() {
                epoll::EventFlags::OUT
            } else {
                epoll::EventFlags::empty()
            };
            let data = epoll::EventData::new_u64(Source::Link.number());
            // It is watched, so this cannot fail.
            let _ =
                epoll::modify(&self.epoll, link.socket(), data, epoll::EventFlags::IN | backlog);
        }
    }

    fn drop_link_on(&mut self, outcome: Result<(), LinkError>) {
        if outcome.is_err() {
            self.link = None;
        }
    }

    /// One request a turn, so that many of them do not keep the children's output waiting.
    fn obey_one(&mut self, now: Now) {
        match self.link.as_mut().and_then(Link::next) {
            None => {}
            Some(Ok(request)) => self.obey(&request, now),
            Some(Err(_)) => self.refuse("", None, Refusal::Unreadable),
        }
    }

    fn obey(&mut self, request: &Request, now: Now) {
        let (request, name, outcome) = match request {
            Request::Spawn(order) => return self.spawn(order, now),
            Request::List {} => return self.list(),
            Request::Signal { name, signal, scope } => {
                ("signal", Some(name), self.signal(name, *signal, *scope))
            }
            Request::Kill { name } => ("kill", Some(name), self.kill(name, now)),
            Request::Forget { name } => ("forget", Some(name), self.forget(name)),
            Request::Rotate { name } => ("rotate", Some(name), self.rotate(name, now)),
            Request::End {} => ("end", None, self.end()),
        };
        if let Err(reason) = outcome {
            self.refuse(request, name, reason);
        }
    }

    fn refuse(&mut self, request: &str, name: Option<&String>, reason: Refusal) {
        self.tell(&Report::Refused { request: request.to_owned(), name: name.cloned(), reason });
    }

    fn spawn(&mut self, order: &Spawn, now: Now) {
        if let Err(SpawnError { step, source }) = self.try_spawn(order, now) {
            let errno = source.raw_os_error().unwrap_or(libc::EINVAL);
            let name = order.name.clone();
            self.tell(&Report::SpawnFailed { id: order.id, name, step, errno });
        }
    }

    fn try_spawn(&mut self, order: &Spawn, now: Now) -> Result<(), SpawnError> {
        if order.name.is_empty() || order.name.contains('/') || order.name.starts_with('.') {
            return Err(SpawnError::at(Step::Name)(Errno::INVAL));
        }
        let before = self.find(&order.name).ok();
        if before.is_some_and(|key| !self.children[&key].is_empty()) {
            return Err(SpawnError::at(Step::Name)(Errno::BUSY));
        }
        let log = Log::open(&order.log, now).map_err(SpawnError::at(Step::Log))?;
        let started = spawn::start(order, &self.runtime, self.nofile, now)?;
        self.last_key += 1;
        let child = Child::new(order.id, started, log);
        watch_child(&self.epoll, self.last_key, &child).map_err(SpawnError::at(Step::Spawn))?;
        before.map(|key| self.children.remove(&key));
        self.children.insert(self.last_key, child);
        self.living += 1;
        Ok(())
    }

    fn list(&mut self) {
        self.tell(&Report::Children(self.children.values().map(Child::listed).collect()));
    }

    fn signal(&mut self, name: &str, signal: i32, scope: Scope) -> Result<(), Refusal> {
        let child = &self.children[&self.find(name)?];
        let sent = match scope {
            _ if !(1..=libc::SIGRTMAX()).contains(&signal) => Err(Errno::INVAL),
            Scope::Leader => tree::signal_leader(child, signal),
            Scope::Group => tree::signal_group(child, signal),
        };
        sent.map_err(|_| Refusal::Gone)
    }

    fn kill(&mut self, name: &str, now: Now) -> Result<(), Refusal> {
        let key = self.find(name)?;
        if let Some(child) = self.children.get_mut(&key).filter(|child| child.has_tree()) {
            child.sweeps_left = SWEEPS;
            self.sweep_and_check(now);
        }
        Ok(())
    }

    fn forget(&mut self, name: &str) -> Result<(), Refusal> {
        let key = self.find(name)?;
        if !self.children[&key].is_empty() {
            return Err(Refusal::Alive);
        }
        self.children.remove(&key);
        self.remove_identity(name);
        Ok(())
    }

    fn rotate(&mut self, name: &str, now: Now) -> Result<(), Refusal> {
        let key = self.find(name)?;
        let log = self.children.get_mut(&key).and_then(Child::log_mut);
        log.map(|log| log.rotate(now)).ok_or(Refusal::Gone)
    }

    fn end(&mut self) -> Result<(), Refusal> {
        if self.living > 0 {
            return Err(Refusal::Alive);
        }
        self.tell(&Report::Ending {});
        self.is_ending = true;
        Ok(())
    }

    fn find(&self, name: &str) -> Result<u64, Refusal> {
        let is_it = |child: &Child| child.identity.name == name;
        let found = self.children.iter().find(|(_, child)| is_it(child));
        found.map(|(key, _)| *key).ok_or(Refusal::Unknown)
    }

    /// What is left over is told from a live child by its content, so a failure is no harm.
    fn remove_identity(&self, name: &str) {
        drop(fs::remove_file(Identity::path(&self.runtime, name)));
    }

    fn listen_to(&mut self, key: u64) {
        if let Some(report) = self.children.get_mut(&key).and_then(Child::listen) {
            self.tell(&report);
        }
    }

    /// Reaps whoever is dead: leaders, and all that the keeper inherited.
    fn reap(&mut self, now: Now) {
        while let Ok(Some(_)) = self.signals.read_signal() {}
        while let Some(pid) = syscall::dead_child() {
            let key = self.leader_key(pid);
            if let Some(child) = key.and_then(|key| self.children.get_mut(&key)) {
                child.before_reaping();
            }
            let Ok(Some((_, status))) = rustix::process::waitpid(Some(pid), WaitOptions::NOHANG)
            else {
                break;
            };
            self.orphans.reaped(pid);
            if let Some(key) = key {
                // It may have spoken before it died; that is told first.
                self.listen_to(key);
                let child = self.children.get_mut(&key).expect("it was there before");
                if let Some(report) = child.exited(status, now) {
                    self.tell(&report);
                }
            }
        }
        self.sweep_and_check(now);
    }

    fn leader_key(&self, pid: Pid) -> Option<u64> {
        let is_it = |child: &Child| child.unreaped() == Some(pid);
        self.children.iter().find(|(_, child)| is_it(child)).map(|(key, _)| *key)
    }

    /// Goes on killing, and sees which trees are empty. Nothing else empties one: its last process
    /// is always a child of the keeper, so its end is a SIGCHLD.
    fn sweep_and_check(&mut self, now: Now) {
        self.check_trees(now);
        let killed = |(_, child): &(&u64, &mut Child)| child.sweeps_left > 0;
        let keys: Vec<u64> = self.children.iter_mut().filter(killed).map(|(key, _)| *key).collect();
        for key in keys {
            self.orphans.sweep(key, &self.children);
            if let Some(child) = self.children.get_mut(&key) {
                child.sweeps_left -= 1;
            }
        }
    }

    fn check_trees(&mut self, now: Now) {
        let is_open = |child: &Child| child.has_tree() && child.unreaped().is_none();
        if !self.children.values().any(is_open) {
            return;
        }
        let owners = self.orphans.owners(&self.children);
        for (key, child) in &mut self.children {
            if is_open(child) && !owners.contains(key) && !tree::has_group(child) {
                child.tree_emptied(now);
                self.orphans.emptied(*key);
                self.due.insert(*key);
            }
        }
    }

    fn capture(&mut self, key: u64, stream: Stream, now: Now) {
        let Some(child) = self.children.get_mut(&key) else { return };
        child.capture(stream, &mut self.buffer, now);
        if child.due_at_ms().is_some() {
            self.due.insert(key);
        }
    }

    fn tend(&mut self, now: Now) {
        for key in std::mem::take(&mut self.due) {
            let Some(child) = self.children.get_mut(&key) else { continue };
            let has_emptied = child.tend(now);
            turn_tap(&self.epoll, key, child);
            if child.due_at_ms().is_some() {
                self.due.insert(key);
            }
            if has_emptied {
                self.emptied(key);
            }
        }
    }

    fn emptied(&mut self, key: u64) {
        self.living -= 1;
        let child = &self.children[&key];
        if let State::Failed { .. } = child.state {
            self.remove_identity(&child.identity.name);
        }
        let report = child.emptied();
        self.tell(&report);
    }

    fn is_alone_too_long(&mut self, now: Now) -> bool {
        if self.link.is_some() || self.living > 0 {
            self.alone_since_ms = None;
            return false;
        }
        let since = *self.alone_since_ms.get_or_insert(now.steady_ms);
        now.steady_ms >= since + IDLE_MS
    }
}

fn watch(epoll: &OwnedFd, fd: impl AsFd, source: Source) -> Result<(), Errno> {
    let data = epoll::EventData::new_u64(source.number());
    epoll::add(epoll, fd, data, epoll::EventFlags::IN)
}

fn watch_child(epoll: &OwnedFd, key: u64, child: &Child) -> Result<(), Errno> {
    if let Some(control) = child.control() {
        watch(epoll, control, Source::Control(key))?;
    }
    child.outputs().try_for_each(|(stream, fd)| watch(epoll, fd, Source::Output(key, stream)))
}

/// A blocked pipe is taken out altogether: its end would wake the keeper even unasked.
fn turn_tap(epoll: &OwnedFd, key: u64, child: &mut Child) {
    let Some(is_blocked) = child.turn_of_the_tap() else { return };
    for (stream, fd) in child.outputs() {
        // Each is watched exactly when the tap is open, so neither can fail.
        let _ = if is_blocked {
            epoll::delete(epoll, fd)
        } else {
            watch(epoll, fd, Source::Output(key, stream))
        };
    }
}
