//! The servers that are measured: started by us, on a free loopback port, and ended with the run.

use std::{
    env,
    ffi::OsStr,
    fs::{self, File},
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    thread::sleep,
    time::Duration,
};

use nix::errno::Errno;

use super::{
    clock::{ProcessorClock, now},
    nats,
    protocol::{Exchange, HANDSHAKE, Protocol},
    redis, relay, state, websocket,
};
use crate::workspace::target;

/// How many connections a server is told to accept: more than is asked of any, and few enough that
/// the ports of one loopback address suffice.
pub(crate) const CONNECTIONS: u32 = 20_000;

/// How long a server may take to listen, and to answer the first requests.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often a server that is starting is asked: nothing tells that a strange program listens.
const PERIOD: Duration = Duration::from_millis(5);

/// Who is measured.
#[derive(Clone, Debug)]
pub(crate) enum Contender {
    /// The daemon, by the path of its program.
    Sample(PathBuf),
    Redis,
    /// The same, with everything on the disk before it is acknowledged.
    DurableRedis,
    /// The daemon, by the path of its program.
    State(PathBuf),
    Nats,
    /// A bare epoll server that knows one answer: what no server can be below.
    Floor,
    /// A bare loop that passes on what it is sent: the same for those who tell many.
    Passing,
    /// The echo of `crates/websocket`, by the path of its program.
    Echo(PathBuf),
    /// The same with Node's `ws`, by the folder where that is installed.
    Ws(PathBuf),
    /// The daemon, by the path of its program.
    Relay(PathBuf),
    /// One with Node's `ws`, by the folder where that is installed.
    WsRelay(PathBuf),
}

impl Contender {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Sample(_) => "Sample",
            Self::Redis | Self::DurableRedis => "Redis",
            Self::State(_) => "State",
            Self::Nats => "NATS",
            Self::Floor | Self::Passing => "floor",
            Self::Echo(_) => "ours",
            Self::Ws(_) => "ws",
            Self::Relay(_) => "Relay",
            Self::WsRelay(_) => "ws-relay",
        }
    }

    pub(crate) fn protocol(&self) -> Protocol {
        match self {
            Self::Sample(_) | Self::Floor | Self::Passing => Protocol::CommonTcp,
            Self::State(_) => Protocol::State,
            Self::Redis | Self::DurableRedis | Self::Nats => Protocol::Resp,
            Self::Echo(_) | Self::Ws(_) | Self::Relay(_) | Self::WsRelay(_) => Protocol::WebSocket,
        }
    }

    fn command(&self, port: u16) -> io::Result<(PathBuf, Vec<String>)> {
        let with_port = || vec!["--port".into(), port.to_string()];
        Ok(match self {
            Self::Sample(program) => (fs::canonicalize(program)?, with_port()),
            Self::Redis => ("redis-server".into(), redis::arguments(port)),
            Self::DurableRedis => ("redis-server".into(), redis::durable_arguments(port)),
            Self::State(program) => (fs::canonicalize(program)?, state::daemon::arguments(port)),
            Self::Nats => ("nats-server".into(), nats::arguments(port)),
            Self::Floor => (env::current_exe()?, bench("floor", port)),
            Self::Passing => (env::current_exe()?, bench("passing", port)),
            Self::Echo(program) => {
                (fs::canonicalize(program)?, vec![format!("{}:{port}", Ipv4Addr::LOCALHOST)])
            }
            Self::Ws(folder) => websocket::node(folder, port),
            Self::Relay(program) => (fs::canonicalize(program)?, relay::arguments(port)),
            Self::WsRelay(folder) => relay::on_node(folder, port),
        })
    }

    /// Whether it is asked for messages alone, and answers nothing.
    fn only_passes_on(&self) -> bool {
        matches!(self, Self::Passing | Self::Nats | Self::Relay(_) | Self::WsRelay(_))
    }
}

/// Why a server cannot be measured.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServerError {
    #[error("cannot start {server}")]
    Start { server: &'static str, source: io::Error },

    #[error("{server} ended ({status}), see {}", log.display())]
    Ended { server: &'static str, status: ExitStatus, log: PathBuf },

    #[error("{server} did not listen within {PATIENCE:?}")]
    Silent { server: &'static str, source: io::Error },

    #[error("{server} did not answer {request:?}")]
    Unanswered { server: &'static str, request: String, source: io::Error },

    #[error("{server} answered {request:?} with {found:?}")]
    Wrong { server: &'static str, request: String, found: String },

    #[error("cannot look at the process of {server}")]
    Look { server: &'static str, source: io::Error },
}

/// A running server. Dropping it ends the process, and only this one.
pub(crate) struct Server {
    pub(crate) contender: Contender,
    pub(crate) address: SocketAddrV4,
    child: Child,
    log: PathBuf,
    /// Where it runs and keeps what it keeps; goes with it.
    pub(crate) folder: PathBuf,
    /// What a guest says first, where it must say something.
    pub(crate) login: Option<String>,
}

impl Server {
    /// Starts `contender`, puts the value into it, and sees that it gives the right answers.
    pub(crate) fn start(contender: &Contender) -> Result<Self, ServerError> {
        Self::start_in(contender, &new_folder(contender))
    }

    /// The same in a folder, where what another left there is found again.
    pub(crate) fn start_in(contender: &Contender, folder: &Path) -> Result<Self, ServerError> {
        let server = Self::spawn(contender, folder)
            .map_err(|source| ServerError::Start { server: contender.name(), source })?;
        Self::verified(server)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as a crash would, and leaves its folder.
    pub(crate) fn crash(mut self) -> PathBuf {
        self.end();
        std::mem::take(&mut self.folder)
    }

    fn end(&mut self) {
        // A child that has not been waited for keeps its pid, so this can hit no other process.
        let _gone_already = self.child.kill();
        let _status = self.child.wait();
    }

    /// Processor time that the server has used so far.
    pub(crate) fn processor_clock(&self) -> Result<ProcessorClock, ServerError> {
        ProcessorClock::of(self.child.id()).map_err(|errno| self.look(errno))
    }

    pub(crate) fn look(&self, errno: Errno) -> ServerError {
        ServerError::Look { server: self.contender.name(), source: errno.into() }
    }

    /// Resident memory in bytes, counted page by page: `/proc/PID/statm` lags behind by up to
    /// 256 KiB a processor.
    pub(crate) fn resident(&self) -> Result<u64, ServerError> {
        let look = |source| ServerError::Look { server: self.contender.name(), source };
        let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.child.id()));
        let rollup = rollup.map_err(look)?;
        let kibibytes = rollup
            .lines()
            .find_map(|line| line.strip_prefix("Rss:")?.split_whitespace().next()?.parse().ok());
        kibibytes.map(|it: u64| it * 1024).ok_or_else(|| look(io::ErrorKind::InvalidData.into()))
    }

    /// Does what comes before the first exchange on `stream`.
    pub(crate) fn greet(&self, stream: &mut TcpStream) -> io::Result<()> {
        if let Some(login) = &self.login {
            return log_in(stream, login);
        }
        if self.contender.protocol() != Protocol::WebSocket {
            return Ok(());
        }
        stream.write_all(HANDSHAKE.as_bytes())?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            head.extend(byte);
        }
        let is_open = head.starts_with(b"HTTP/1.1 101 ");
        is_open.then_some(()).ok_or_else(|| io::ErrorKind::ConnectionRefused.into())
    }

    /// One exchange on `stream`, checked byte for byte.
    pub(crate) fn ask(&self, stream: &mut TcpStream, asked: &Exchange) -> Result<(), ServerError> {
        let mut found = vec![0; asked.reply.len()];
        let mut exchange = || {
            stream.write_all(&asked.request)?;
            stream.read_exact(&mut found)?;
            if asked.is_open { read_line(stream).map(drop) } else { Ok(()) }
        };
        exchange().map_err(|source| ServerError::Unanswered {
            server: self.contender.name(),
            request: String::from_utf8_lossy(&asked.request).into_owned(),
            source,
        })?;
        if found == asked.reply {
            return Ok(());
        }
        Err(ServerError::Wrong {
            server: self.contender.name(),
            request: String::from_utf8_lossy(&asked.request).into_owned(),
            found: String::from_utf8_lossy(&found).into_owned(),
        })
    }

    /// Through `setpriv`, which becomes the server and has the kernel end it should we be killed.
    fn spawn(contender: &Contender, folder: &Path) -> io::Result<Self> {
        let port = free_port()?;
        let (program, arguments) = contender.command(port)?;
        fs::create_dir_all(folder)?;
        let log = target().join("bench").join(format!("{}.log", contender.name()));
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program).args(arguments);
        for (name, _) in env::vars_os().filter(|(name, _)| is_of_a_manager(name)) {
            command.env_remove(name);
        }
        let child = command
            .env("DAE_SAMPLE_CONNECTIONS", CONNECTIONS.to_string())
            .env("DAE_SAMPLE_DATA", folder.join("data"))
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .spawn()?;
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        let folder = folder.to_owned();
        Ok(Self { contender: contender.clone(), address, child, log, folder, login: None })
    }

    fn verified(mut self) -> Result<Self, ServerError> {
        let mut stream = self.connected()?;
        if self.contender.only_passes_on() {
            return Ok(self);
        }
        if matches!(self.contender, Contender::State(_)) {
            self.login =
                Some(state::daemon::token(&mut stream, &self.folder).map_err(|source| {
                    ServerError::Silent { server: self.contender.name(), source }
                })?);
        }
        let protocol = self.contender.protocol();
        self.greet(&mut stream)
            .map_err(|source| ServerError::Silent { server: self.contender.name(), source })?;
        self.ask(&mut stream, &protocol.set())?;
        self.ask(&mut stream, &protocol.get())?;
        Ok(self)
    }

    fn connected(&mut self) -> Result<TcpStream, ServerError> {
        let started = now();
        loop {
            let server = self.contender.name();
            match TcpStream::connect(self.address).and_then(patient) {
                Ok(stream) => return Ok(stream),
                Err(source) if now() - started > PATIENCE => {
                    return Err(ServerError::Silent { server, source });
                }
                Err(_) => sleep(PERIOD),
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(ServerError::Ended { server, status, log: self.log.clone() });
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
        if !self.folder.as_os_str().is_empty() {
            let _gone_already = fs::remove_dir_all(&self.folder);
        }
    }
}

/// Has this program be a server.
fn bench(which: &str, port: u16) -> Vec<String> {
    ["bench", which, "--port"].into_iter().map(String::from).chain([port.to_string()]).collect()
}

/// One that no other server of this run has.
fn new_folder(contender: &Contender) -> PathBuf {
    static LAST: AtomicU32 = AtomicU32::new(0);
    let number = LAST.fetch_add(1, Relaxed);
    let name = format!("{}-{}-{number}", contender.name(), std::process::id());
    target().join("bench").join(name)
}

/// Says `login`, whose answer is a line that must not be an error.
fn log_in(stream: &mut TcpStream, login: &str) -> io::Result<()> {
    stream.write_all(login.as_bytes())?;
    match read_line(stream)? {
        line if line.starts_with("err") => Err(io::Error::other(line)),
        _ => Ok(()),
    }
}

/// Byte by byte, so that nothing behind it is read.
pub(crate) fn read_line(stream: &mut TcpStream) -> io::Result<String> {
    let mut line = Vec::new();
    while line.last() != Some(&b'\n') {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        line.extend(byte);
    }
    Ok(String::from_utf8_lossy(&line).into_owned())
}

/// A stream that fails rather than wait for ever.
pub(crate) fn patient(stream: TcpStream) -> io::Result<TcpStream> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// What would make a daemon believe that a manager started it.
pub(crate) fn is_of_a_manager(variable: &OsStr) -> bool {
    variable.as_encoded_bytes().starts_with(b"DAE")
}

pub(crate) fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
