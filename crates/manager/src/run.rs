//! From nothing to a manager that listens, and back.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read, Seek, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process,
};

use daemon::{BindError, Environment, Settings};
use nix::unistd::geteuid;
use serde_json::{Value, json};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
};

use crate::{
    config::{Config, ConfigError},
    keeper_client::{Keeper, KeeperError},
    manager::{Beginning, Event, MAILBOX, Manager},
    paths::{Paths, PathsError},
    registry::{LoadError, Registry},
    service, token,
};

/// How a manager is started.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Where it listens; otherwise where it listened last, otherwise on a free port.
    pub port: Option<u16>,
    /// Whether what is enabled is left alone.
    pub no_start: bool,
    /// Whether it says on stdout, as one JSON line, that it listens.
    pub announce: bool,
}

/// Why there is no manager.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Its directories can't be used.
    #[error(transparent)]
    Paths(#[from] PathsError),
    /// There is one already.
    #[error("a manager already runs for this home: {holder}")]
    Running {
        /// What it wrote into its lock.
        holder: String,
    },
    /// A file that it can't do without can't be read or made.
    #[error("cannot use `{}`", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What the user has set can't be read.
    #[error("cannot use `{}`", path.display())]
    Config {
        /// Where it is.
        path: PathBuf,
        /// Why.
        source: ConfigError,
    },
    /// What is installed can't be read.
    #[error(transparent)]
    Registry(#[from] LoadError),
    /// No keeper can be had.
    #[error(transparent)]
    Keeper(#[from] KeeperError),
    /// It can't listen.
    #[error(transparent)]
    Bind(#[from] BindError),
}

/// Runs the manager until it is asked to end and everything has.
///
/// # Errors
/// [`RunError`]; then nothing was started, or it goes on with the keeper.
pub async fn run(paths: &Paths, options: Options) -> Result<(), RunError> {
    // From the first moment on: a signal that comes while all this is made ends it in order too.
    let signals = Signals::hear();
    paths.create()?;
    let path = paths.config();
    let config = Config::load(&path).map_err(|source| RunError::Config { path, source })?;
    let mut lock = Lock::take(paths.lock())?;
    let token = paths.token();
    token::make(&token).map_err(|source| RunError::File { path: token, source })?;
    let nofile = raise_nofile();
    let registry = Registry::load(paths.registry())?;
    if let Some(recovery) = registry.recovery() {
        tracing::error!(?recovery, "the registry was broken; the version before is in force");
    }
    let (mailbox, events) = mpsc::channel(MAILBOX);
    let (patient, asked) = mpsc::channel(MAILBOX);
    let log = paths.logs().join("keeper.log");
    let keeper = Keeper::connect(paths.runtime(), log, mailbox.clone()).await?;

    let dae = || service::Dae::new(mailbox.clone(), patient.clone(), paths.clone());
    let settings = settings(paths, options.port.or(lock.last_port));
    let bound = match service::daemon(dae(), settings.clone()).bind().await {
        // The last port is a wish; somebody else may have it by now.
        Err(BindError::Tcp { .. }) if options.port.is_none() && settings.port != 0 => {
            service::daemon(dae(), Settings { port: 0, ..settings }).bind().await?
        }
        bound => bound?,
    };
    let port = bound.port();
    lock.write(port)?;
    tracing::info!(port, "the manager listens");
    if geteuid().is_root() {
        tracing::warn!("runs as root, so it manages root's daemons and nobody else's");
    }
    if options.announce {
        announce(port, &paths.socket());
    }

    let beginning = Beginning {
        paths: paths.clone(),
        port,
        nofile,
        config,
        registry,
        keeper,
        mailbox: mailbox.clone(),
        events,
        asked,
    };
    let mut manager = Manager::new(beginning);
    manager.begin(!options.no_start);
    let (ended, has_ended) = tokio::sync::oneshot::channel::<()>();
    let manage = async move {
        manager.run().await;
        drop(ended);
    };
    let serve = bound.serve(async move { _ = has_ended.await });
    let both = async { tokio::join!(manage, serve) };
    // The signals go on to be heard until all has ended; then nobody is left to hear them.
    tokio::select! {
        ((), ()) = both => {}
        () = signals.forward(mailbox) => {}
    }
    Ok(())
}

/// What the manager is told by signals.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    hangup: Signal,
}

impl Signals {
    /// Keeps them from now on; they are taken out by [`forward`](Self::forward).
    fn hear() -> Self {
        let hear = |kind| signal(kind).expect("these signals can be handled");
        Self {
            terminate: hear(SignalKind::terminate()),
            interrupt: hear(SignalKind::interrupt()),
            quit: hear(SignalKind::quit()),
            hangup: hear(SignalKind::hangup()),
        }
    }

    /// Tells the manager, for ever. SIGHUP is for settings that can be read anew, which there are
    /// none.
    async fn forward(mut self, mailbox: mpsc::Sender<Event>) {
        loop {
            // All are cancel safe.
            let event = tokio::select! {
                _ = self.terminate.recv() => Event::Signalled,
                _ = self.interrupt.recv() => Event::Signalled,
                _ = self.quit.recv() => Event::DumpAsked,
                _ = self.hangup.recv() => continue,
            };
            // After its end the manager hears nothing, and needs not.
            drop(mailbox.send(event).await);
        }
    }
}

fn settings(paths: &Paths, port: Option<u16>) -> Settings {
    Settings {
        port: port.unwrap_or_default(),
        both_loopbacks: true,
        limits: service::limits(),
        environment: Environment {
            socket: Some(paths.socket()),
            token_file: Some(paths.token()),
            ..Environment::default()
        },
        ..Settings::default()
    }
}

fn announce(port: u16, socket: &Path) {
    let line = json!({ "v": 1, "pid": process::id(), "port": port, "unix": socket });
    // Who started us may have gone; then nobody wants to know.
    drop(writeln!(io::stdout(), "{line}"));
}

/// The lock that makes a process the manager.
struct Lock {
    file: File,
    path: PathBuf,
    last_port: Option<u16>,
}

impl Lock {
    fn take(path: PathBuf) -> Result<Self, RunError> {
        let failed = |source| RunError::File { path: path.clone(), source };
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&path)
            .map_err(failed)?;
        let mut content = String::new();
        let is_taken = match file.try_lock() {
            Ok(()) => false,
            Err(TryLockError::WouldBlock) => true,
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        };
        file.read_to_string(&mut content).map_err(failed)?;
        if is_taken {
            return Err(RunError::Running { holder: content.trim().to_owned() });
        }
        let written: Option<Value> = serde_json::from_str(&content).ok();
        let last_port = written.and_then(|it| it["port"].as_u64()?.try_into().ok());
        Ok(Self { file, path, last_port })
    }

    /// Writes who holds it and where it listens, for people: the lock decides, never this.
    fn write(&mut self, port: u16) -> Result<(), RunError> {
        let content = json!({ "pid": process::id(), "port": port });
        self.file
            .set_len(0)
            .and_then(|()| self.file.rewind())
            .and_then(|()| writeln!(self.file, "{content}"))
            .map_err(|source| RunError::File { path: self.path.clone(), source })
    }
}

/// Raises the soft limit of open files to the hard one: each daemon may keep a connection. Returns
/// what it was, which is what daemons get: a program that uses `select` breaks with more.
fn raise_nofile() -> Option<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
    limit.current
}
