//! The manager's end of the keeper: tells it what to do, hears what it reports.
//!
//! Nothing here waits for the keeper but its first `list`: requests go out through a bounded queue, reports
//! come in as events. A keeper that is not there is started; one from before this manager is taken over.

use std::{
    fs::OpenOptions,
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicI32, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{UnixStream, unix::OwnedReadHalf},
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

use crate::{
    keeper::{
        SUBCOMMAND, WITHOUT_CGROUPS,
        protocol::{LINE_LIMIT_BYTES, Listed, Report, Request, Scope, Spawn},
    },
    manager::Event,
};

/// The keeper of this home.
#[derive(Debug)]
pub struct Keeper {
    place: Place,
    /// 0 while it is not known.
    pid: Arc<AtomicI32>,
    children: Vec<Listed>,
    /// As lines.
    requests: mpsc::Sender<Vec<u8>>,
    link: JoinHandle<()>,
}

/// Where the keeper is, and who hears it.
#[derive(Clone, Debug)]
struct Place {
    runtime: PathBuf,
    socket: PathBuf,
    log: PathBuf,
    mailbox: mpsc::Sender<Event>,
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

/// A request is longer than the keeper reads. It has not been told, since it would hang up on its manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the keeper takes at most {LINE_LIMIT_BYTES} bytes at once")]
pub struct TooLong;

/// How long the keeper is given to listen, and to answer its first `list`.
const DEADLINE: Duration = Duration::from_secs(10);

/// Between two attempts to connect to a keeper that has just been started.
const PAUSE: Duration = Duration::from_millis(2);

/// Requests that may wait for the keeper to read them. It reads all the time; one that does not is lost.
const REQUESTS: usize = 16_384;

impl Keeper {
    /// Connects to the keeper, or starts one; learns what it holds.
    ///
    /// # Errors
    /// When none can be started, or it does not answer.
    pub async fn connect(
        runtime: &Path,
        socket: PathBuf,
        log: PathBuf,
        mailbox: mpsc::Sender<Event>,
    ) -> Result<Self, KeeperError> {
        let place = Place { runtime: runtime.to_owned(), socket, log, mailbox };
        let stream = place.stream().await?;
        let pid = Arc::new(AtomicI32::new(peer(&stream)));
        let (reading, mut writing) = stream.into_split();
        let mut reports = Reports(BufReader::new(reading));
        let list = line(&Request::List {});
        let children = timeout(DEADLINE, async {
            writing.write_all(&list).await.ok()?;
            loop {
                // What it reports before is told by the list as well.
                if let Report::Children(children) = reports.next().await? {
                    return Some(children);
                }
            }
        });
        let children = children.await.ok().flatten().ok_or(KeeperError::Mute)?;
        let (requests, queue) = mpsc::channel(REQUESTS);
        let link = tokio::spawn(link(place.clone(), reports, writing, queue));
        Ok(Self { place, pid, children, requests, link })
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> Option<i32> {
        let pid = self.pid.load(Ordering::Relaxed);
        (pid != 0).then_some(pid)
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
        self.send(line);
        Ok(())
    }

    /// Has it signal a child's process group.
    pub fn signal(&self, name: &str, signal: i32) {
        self.tell(Request::Signal { name: name.to_owned(), signal, scope: Scope::Group });
    }

    /// Has it kill a child's whole tree.
    pub fn kill(&self, name: &str) {
        self.tell(Request::Kill { name: name.to_owned() });
    }

    /// Has it drop what it knows of a child that has ended.
    pub fn forget(&self, name: &str) {
        self.tell(Request::Forget { name: name.to_owned() });
    }

    /// Starts another one in the place of one that is gone.
    pub fn restart(&mut self) {
        let (requests, queue) = mpsc::channel(REQUESTS);
        self.requests = requests;
        self.link.abort();
        self.pid.store(0, Ordering::Relaxed);
        self.link = tokio::spawn(link_anew(self.place.clone(), Arc::clone(&self.pid), queue));
    }

    /// Ends it, since nothing is left to keep.
    pub async fn end(self) {
        let Self { requests, mut link, .. } = self;
        drop(requests.send(line(&Request::End {})).await);
        // It closes the connection when it ends.
        if timeout(DEADLINE, &mut link).await.is_err() {
            tracing::warn!("the keeper does not end");
            link.abort();
        }
    }

    fn tell(&self, request: Request) {
        self.send(line(&request));
    }

    fn send(&self, line: Vec<u8>) {
        // A queue that is full or closed belongs to a keeper that is lost, which is reported by itself.
        if let Err(error) = self.requests.try_send(line) {
            tracing::error!(%error, "the keeper cannot be told");
        }
    }
}

impl Place {
    async fn stream(&self) -> Result<UnixStream, KeeperError> {
        if let Ok(stream) = UnixStream::connect(&self.socket).await {
            return Ok(stream);
        }
        let mut child = self.start().map_err(KeeperError::Start)?;
        let until = Instant::now() + DEADLINE;
        loop {
            match UnixStream::connect(&self.socket).await {
                Ok(stream) => return Ok(stream),
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
        let log = OpenOptions::new().create(true).append(true).mode(0o600).open(&self.log)?;
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

/// The reports of one connection.
struct Reports(BufReader<OwnedReadHalf>);

impl Reports {
    /// The next report; `None` when the keeper is gone or talks nonsense. Not cancel safe.
    async fn next(&mut self) -> Option<Report> {
        let mut line = Vec::new();
        let read = self.0.read_until(b'\n', &mut line).await.ok()?;
        if read == 0 || read > LINE_LIMIT_BYTES {
            return None;
        }
        serde_json::from_slice(&line)
            .inspect_err(|error| tracing::error!(%error, "the keeper is not understood"))
            .ok()
    }
}

impl Reports {
    /// Whether the report behind `exited` is already here and says that its whole tree has ended. That one
    /// is then taken too: most daemons leave nothing behind, and both ends come in one write.
    fn take_empty_of(&mut self, report: &Report) -> bool {
        let Report::Exited { name, pid, .. } = report else { return false };
        let waiting = self.0.buffer();
        let Some(end) = waiting.iter().position(|&byte| byte == b'\n') else { return false };
        let next: Option<Report> = serde_json::from_slice(&waiting[..end]).ok();
        let is_its_own = matches!(
            next, Some(Report::Empty { name: of, pid: leader }) if of == *name && leader == *pid
        );
        if is_its_own {
            self.0.consume(end + 1);
        }
        is_its_own
    }
}

/// Carries requests out and reports in, until either side is gone.
async fn link(
    place: Place,
    mut reports: Reports,
    mut writing: tokio::net::unix::OwnedWriteHalf,
    mut queue: mpsc::Receiver<Vec<u8>>,
) {
    let hear = async {
        while let Some(report) = reports.next().await {
            let is_empty = reports.take_empty_of(&report);
            if place.mailbox.send(Event::Reported { report, is_empty }).await.is_err() {
                return;
            }
        }
    };
    let tell = async {
        let mut lines = vec![];
        while queue.recv_many(&mut lines, 64).await > 0 {
            if writing.write_all(&lines.concat()).await.is_err() {
                return;
            }
            lines.clear();
        }
        // The manager is ending; what the keeper still says is heard.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = hear => {}
        () = tell => {}
    }
    drop(place.mailbox.send(Event::KeeperLost).await);
}

/// As [`link`], with a keeper that has yet to be started.
async fn link_anew(place: Place, pid: Arc<AtomicI32>, queue: mpsc::Receiver<Vec<u8>>) {
    match place.stream().await {
        Ok(stream) => {
            pid.store(peer(&stream), Ordering::Relaxed);
            let (reading, writing) = stream.into_split();
            link(place, Reports(BufReader::new(reading)), writing, queue).await;
        }
        Err(error) => {
            tracing::error!(%error, "no keeper can be had");
            sleep(Duration::from_secs(1)).await;
            drop(place.mailbox.send(Event::KeeperLost).await);
        }
    }
}

/// The process at the other end; 0 if the kernel does not tell.
fn peer(stream: &UnixStream) -> i32 {
    stream.peer_cred().ok().and_then(|it| it.pid()).unwrap_or_default()
}

fn line(request: &Request) -> Vec<u8> {
    let mut line = serde_json::to_vec(request).expect("strings and numbers are JSON");
    line.push(b'\n');
    line
}
