//! The manager's end of the keeper: tells it what to do, hears what it reports.
//!
//! Nothing here waits for the keeper but its first `list`: requests go out through a bounded queue,
//! reports come in as events. A keeper that is not there is started; one from before this manager
//! is taken over.
//!
//! When the link breaks it is made anew, to the same keeper if it answers, else to another one,
//! which is given what it needs to adopt the children of the one before (`known.rs`). A request
//! that is made meanwhile is dropped and not queued: which of those before it were still obeyed
//! nobody knows, so that the manager derives all that is to be asked from what the keeper lists
//! when it is back.

mod connection;
mod known;
mod sockets;

use std::{
    fs::{self, OpenOptions},
    io,
    os::{fd::OwnedFd, unix::fs::OpenOptionsExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    sync::mpsc,
    task::{JoinHandle, spawn_blocking},
    time::{Instant, sleep, timeout},
};

use self::{
    connection::{Connection, line},
    known::Known,
};
use crate::{
    identity::Identity,
    keeper::{
        self, SUBCOMMAND, WITHOUT_CGROUPS,
        protocol::{LINE_LIMIT_BYTES, Listed, Request, Scope, Spawn},
    },
    manager::Event,
    proc::{self, Pid},
};

/// How long the log of keepers may be when another begins; one older is kept. A keeper that is well
/// writes nothing.
const LOG_BYTES: u64 = 1 << 20;

/// The keeper of this home.
#[derive(Debug)]
pub struct Keeper {
    place: Place,
    /// 0 while it is not known.
    pid: Arc<AtomicU32>,
    children: Vec<Listed>,
    /// Closed while there is no link.
    requests: mpsc::Sender<Message>,
    /// Why there is no link; absent if there is one.
    trouble: Option<String>,
    link: JoinHandle<()>,
}

/// A request on its way, with the descriptors that come with it.
#[derive(Debug)]
pub struct Message {
    line: Vec<u8>,
    descriptors: Vec<OwnedFd>,
}

/// Where the keeper is, and who hears it.
#[derive(Clone, Debug)]
struct Place {
    runtime: PathBuf,
    socket: PathBuf,
    log: PathBuf,
    mailbox: mpsc::Sender<Event>,
    known: Known,
    /// Those that were started here, until they are reaped.
    started: Arc<Mutex<Vec<Child>>>,
}

/// Why there is no keeper.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// The program can't be started again as keeper.
    #[error("cannot start the keeper")]
    Start(#[source] io::Error),
    /// It was started and does not listen.
    #[error("the keeper does not listen on `{}`; its log is `{}`", socket.display(), log.display())]
    Silent {
        /// Where it should.
        socket: PathBuf,
        /// What it said.
        log: PathBuf,
        /// What the kernel said at the last attempt.
        source: io::Error,
    },
    /// It listens and does not answer.
    #[error("the keeper does not answer `list`")]
    Mute,
}

/// A request is longer than the keeper reads. It has not been told, since it would hang up on its
/// manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the keeper takes at most {LINE_LIMIT_BYTES} bytes at once")]
pub struct TooLong;

/// How long the keeper is given to listen, and to answer its first `list`.
const DEADLINE: Duration = Duration::from_secs(10);

/// How long one that is about to end is given for that.
const AGAIN: Duration = Duration::from_millis(500);

/// Between two attempts to connect to a keeper that has just been started.
const PAUSE: Duration = Duration::from_millis(2);

/// Requests that may wait for the keeper to read them. It reads all the time; one that does not is
/// lost.
const REQUESTS: usize = 16_384;

/// The pause before the second attempt to get a keeper; before each further one twice as long, up
/// to `LONGEST`.
const SHORTEST: Duration = Duration::from_millis(20);

/// So soon after the cause has gone there is a keeper again; until then an attempt costs a process.
const LONGEST: Duration = Duration::from_millis(500);

/// A link that has lasted so long was a good one, and the next attempt is made at once.
const SOUND: Duration = Duration::from_secs(1);

impl Keeper {
    /// Connects to the keeper, or starts one; learns what it holds.
    ///
    /// # Errors
    /// When none can be started, or it does not answer.
    pub async fn connect(
        runtime: &Path,
        log: PathBuf,
        mailbox: mpsc::Sender<Event>,
    ) -> Result<Self, KeeperError> {
        let (known, started) = (Known::default(), Arc::default());
        let (runtime, socket) = (runtime.to_owned(), keeper::socket(runtime));
        let place = Place { runtime, socket, log, mailbox, known, started };
        // One that is about to end may hold the door and the lock for a moment.
        let met = match place.meet().await {
            Err(KeeperError::Silent { .. } | KeeperError::Mute) => {
                sleep(AGAIN).await;
                place.meet().await
            }
            met => met,
        };
        let (connection, children) = met?;
        place.known.sockets().believe();
        let pid = Arc::new(AtomicU32::new(connection.peer()));
        let (requests, queue) = mpsc::channel(REQUESTS);
        let link = tokio::spawn(keep(place.clone(), Arc::clone(&pid), connection, queue));
        Ok(Self { place, pid, children, requests, trouble: None, link })
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> Option<Pid> {
        let pid = self.pid.load(Ordering::Relaxed);
        (pid != 0).then_some(pid)
    }

    /// Why there is none to be reached just now.
    #[must_use]
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// Takes note that it cannot be reached.
    pub fn lost(&mut self, why: String) {
        self.trouble = Some(why);
    }

    /// Tells it from now on what is asked, since it can be reached again; first of all which
    /// sockets it is to hold.
    pub fn found(&mut self, requests: mpsc::Sender<Message>) {
        self.requests = requests;
        self.trouble = None;
        let corrections = self.place.known.sockets().correct();
        corrections.into_iter().for_each(|it| self.send(it));
    }

    /// Which listening sockets it holds for a daemon.
    #[must_use]
    pub fn held(&self, name: &str) -> Vec<String> {
        self.place.known.sockets().of(name)
    }

    /// For whom it holds sockets.
    #[must_use]
    pub fn holds_for(&self) -> Vec<String> {
        self.place.known.sockets().names()
    }

    /// For which daemon but this one it holds a socket.
    #[must_use]
    pub fn held_for_other(&self, name: &str, socket: &str) -> Option<String> {
        self.place.known.sockets().other_with(name, socket)
    }

    /// Has it hold, for a daemon, what it holds already of `kept`, and these besides; what else it
    /// holds for it is closed. If it can't be reached now, it is told when it can.
    pub fn hold(&self, name: &str, kept: &[String], added: Vec<(String, OwnedFd)>) {
        let mut sockets = self.place.known.sockets();
        sockets.hold(name, kept, added);
        self.send(sockets.message(name));
    }

    /// It lacks a socket that it was to hold. What is not held here is bound anew then.
    pub fn lacks_sockets(&self, name: &str) {
        self.place.known.sockets().drop_unseen(name);
    }

    /// What it held when it was connected to.
    pub fn take_children(&mut self) -> Vec<Listed> {
        std::mem::take(&mut self.children)
    }

    /// Has it start a child.
    ///
    /// # Errors
    /// [`TooLong`], for arguments and an environment that no kernel would take either.
    pub fn spawn(&self, spawn: Spawn) -> Result<(), TooLong> {
        let line = line(&Request::Spawn(spawn));
        if line.len() > LINE_LIMIT_BYTES {
            return Err(TooLong);
        }
        self.send(Message { line, descriptors: vec![] });
        Ok(())
    }

    /// Has it signal a child's process group.
    pub fn signal(&self, name: &str, signal: i32) {
        self.tell(Request::Signal { name: name.to_owned(), signal, scope: Scope::Group });
    }

    /// Has it keep in mind, for the next manager, whether a child is being stopped for good.
    pub fn intend(&self, name: &str, stop: bool) {
        self.tell(Request::Intend { name: name.to_owned(), stop });
    }

    /// Has it kill a child's whole tree.
    pub fn kill(&self, name: &str) {
        self.tell(Request::Kill { name: name.to_owned() });
    }

    /// Has it drop what it knows of a child that has ended, and drops what is kept of it here.
    pub fn forget(&self, name: &str) {
        self.place.known.forget(name);
        self.tell(Request::Forget { name: name.to_owned() });
    }

    /// Ends it, since nothing is left to keep.
    pub async fn end(self) {
        let process = self.pid().and_then(|pid| proc::open(pid).ok());
        let Self { requests, mut link, place, .. } = self;
        let message = Message { line: line(&Request::End {}), descriptors: vec![] };
        let told = requests.send(message).await;
        drop(requests);
        let ended = match told {
            // It closes the connection before it ends.
            Ok(()) => timeout(DEADLINE, &mut link).await.is_ok(),
            Err(_) => timeout(DEADLINE, place.end()).await.is_ok(),
        };
        if !ended || !has_ended(process).await {
            tracing::warn!("the keeper does not end");
        }
        link.abort();
        place.reap();
    }

    fn tell(&self, request: Request) {
        self.send(Message { line: line(&request), descriptors: vec![] });
    }

    fn send(&self, message: Message) {
        // A queue that is full or closed belongs to a keeper that is lost, which is reported by
        // itself.
        if let Err(error) = self.requests.try_send(message) {
            tracing::debug!(%error, "the keeper cannot be told");
        }
    }
}

impl Place {
    /// Gets a keeper that has all children; tells which.
    async fn meet(&self) -> Result<(Connection, Vec<Listed>), KeeperError> {
        let mut connection = Connection::new(self.stream().await?, self.known.clone());
        self.reap();
        match timeout(DEADLINE, self.complete(&mut connection)).await {
            Ok(Some(children)) => Ok((connection, children)),
            _ => Err(KeeperError::Mute),
        }
    }

    /// Has the keeper adopt what it lacks.
    async fn complete(&self, connection: &mut Connection) -> Option<Vec<Listed>> {
        let children = connection.list().await?;
        let logs = self.log.parent().unwrap_or(&self.runtime);
        let missing = self.known.missing(&children, &Identity::directory(&self.runtime), logs);
        if missing.is_empty() {
            return Some(children);
        }
        tracing::info!(count = missing.len(), "the keeper adopts what another one has left");
        for adoption in missing {
            connection.adopt(adoption).await.ok()?;
        }
        connection.list().await
    }

    /// Ends a keeper to which there is no link.
    async fn end(&self) {
        let Ok(mut stream) = UnixStream::connect(&self.socket).await else { return };
        if stream.write_all(&line(&Request::End {})).await.is_ok() {
            // It says so and hangs up.
            drop(stream.read_to_end(&mut vec![]).await);
        }
    }

    /// Reaps those who were started here and have ended.
    fn reap(&self) {
        let mut started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        started.retain_mut(|it| matches!(it.try_wait(), Ok(None)));
    }

    async fn stream(&self) -> Result<UnixStream, KeeperError> {
        if let Ok(stream) = UnixStream::connect(&self.socket).await {
            return Ok(stream);
        }
        let mut child = self.start().map_err(KeeperError::Start)?;
        let until = Instant::now() + DEADLINE;
        loop {
            match UnixStream::connect(&self.socket).await {
                Ok(stream) => {
                    let mut started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
                    started.push(child);
                    return Ok(stream);
                }
                Err(source) => {
                    let has_ended = matches!(child.try_wait(), Ok(Some(_)));
                    if has_ended || Instant::now() > until {
                        let (socket, log) = (self.socket.clone(), self.log.clone());
                        return Err(KeeperError::Silent { socket, log, source });
                    }
                    sleep(PAUSE).await;
                }
            }
        }
    }

    fn start(&self) -> io::Result<std::process::Child> {
        if fs::metadata(&self.log).is_ok_and(|it| it.len() >= LOG_BYTES) {
            fs::rename(&self.log, self.log.with_extension("log.old"))?;
        }
        let mut options = OpenOptions::new();
        options.create(true).append(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
        let log = options.open(&self.log)?;
        Command::new("/proc/self/exe")
            .arg(SUBCOMMAND)
            .arg("--runtime")
            .arg(&self.runtime)
            .args(WITHOUT_CGROUPS.iter().filter(|_| is_without_cgroups()))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
    }
}

/// Whether the user wants none, by `DAE_CGROUP=off`.
fn is_without_cgroups() -> bool {
    std::env::var_os("DAE_CGROUP").is_some_and(|it| it == "off")
}

/// Keeps a link for as long as the manager has something to tell.
async fn keep(
    place: Place,
    pid: Arc<AtomicU32>,
    mut connection: Connection,
    mut queue: mpsc::Receiver<Message>,
) {
    let mut pause = Duration::ZERO;
    loop {
        let since = Instant::now();
        connection.carry(&place.mailbox, &mut queue).await;
        pid.store(0, Ordering::Relaxed);
        if queue.is_closed() {
            return;
        }
        drop(queue);
        if since.elapsed() > SOUND {
            pause = Duration::ZERO;
        }
        let mut why = "the keeper hung up".to_owned();
        let (next, children) = loop {
            drop(place.mailbox.send(Event::KeeperLost { why }).await);
            sleep(pause).await;
            pause = (2 * pause).clamp(SHORTEST, LONGEST);
            match place.meet().await {
                Ok(met) => break met,
                Err(error) => why = daemon::causes(&error),
            }
        };
        pid.store(next.peer(), Ordering::Relaxed);
        let (requests, fresh) = mpsc::channel(REQUESTS);
        (connection, queue) = (next, fresh);
        drop(place.mailbox.send(Event::KeeperFound { children, requests }).await);
    }
}

/// Waits for the end of a process, but not for ever; who cannot be waited for has ended.
async fn has_ended(process: Option<OwnedFd>) -> bool {
    let Some(process) = process else { return true };
    let deadline = Timespec { tv_sec: DEADLINE.as_secs().cast_signed(), tv_nsec: 0 };
    let ended =
        spawn_blocking(move || poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&deadline)));
    ended.await.is_ok_and(|polled| polled.is_ok_and(|count| count > 0))
}
