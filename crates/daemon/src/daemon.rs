use std::{
    collections::BTreeMap,
    fmt, fs,
    net::{IpAddr, Ipv4Addr, TcpListener},
    os::unix::fs::MetadataExt,
    sync::{Arc, Mutex, OnceLock},
};

use common_tcp::Limits;

use crate::{
    Admission, BindError, Bound, Entrance, Environment, Handler, Manager, Seldom, Shutdown, State,
    command::{Command, Declaration},
    common::{Common, now_ms},
    listen::Listener,
    router::{ByName, Entry, Router},
    serve::Service,
};

/// A daemon in the making: its name, its state, its commands.
///
/// Each command is one line; what follows the line (`reply`, `args`, `help`, `auth`) is about that
/// command.
pub struct Daemon<S> {
    name: String,
    version: &'static str,
    state: S,
    commands: Vec<Command<S>>,
    services: Vec<Service<S>>,
    settings: Option<Settings>,
    has_accounts: bool,
}

/// Where a daemon listens and what it bounds: what the common flags set.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The address that guests connect to; loopback unless told otherwise.
    pub bind: IpAddr,
    /// The port; 0 takes a free one.
    pub port: u16,
    /// Whether to listen on `127.0.0.1` *and* `::1`, as the manager does.
    pub both_loopbacks: bool,
    /// The bounds of a connection.
    pub limits: Limits,
    /// What is asked of guests besides.
    pub admission: Admission,
    /// What the manager handed over.
    pub environment: Environment,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            bind: Ipv4Addr::LOCALHOST.into(),
            port: 0,
            both_loopbacks: false,
            limits: Limits::default(),
            admission: Admission::default(),
            environment: Environment::default(),
        }
    }
}

impl Daemon<()> {
    /// A daemon without state. It goes by `name` unless the manager installed it under another one.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self::with_state(name, ())
    }
}

impl<S: Send + Sync + 'static> Daemon<S> {
    /// A daemon whose commands are methods of `state`.
    #[must_use]
    pub fn with_state(name: &str, state: S) -> Self {
        Self {
            name: name.to_owned(),
            version: env!("CARGO_PKG_VERSION"),
            state,
            commands: Vec::new(),
            services: Vec::new(),
            settings: None,
            has_accounts: false,
        }
    }

    /// Tells another version by `hello` than that of this crate.
    #[must_use]
    pub fn version(mut self, version: &'static str) -> Self {
        self.version = version;
        self
    }

    /// Adds a command; one of a name that every daemon has takes its place.
    ///
    /// # Panics
    /// When the name breaks the grammar: the daemon's author is told at the first start.
    #[must_use]
    pub fn command<M>(mut self, name: &'static str, handler: impl Handler<S, M>) -> Self {
        assert!(common_tcp::is_name(name.as_bytes()), "`{name}` can't be the name of a command");
        self.commands.push(Command::new(name, handler));
        self
    }

    /// Names the arguments of the last command, for `help` and error messages.
    ///
    /// # Panics
    /// When there is not one name for each argument.
    #[must_use]
    pub fn args<const N: usize>(mut self, names: [&str; N]) -> Self {
        self.last().name_args(&names);
        self
    }

    /// Says in one sentence what the last command does.
    #[must_use]
    pub fn help(mut self, sentence: &'static str) -> Self {
        self.last().help = sentence;
        self
    }

    /// Has the last command answer under another name than its own.
    #[must_use]
    pub fn reply(mut self, name: &'static str) -> Self {
        self.last().reply = name;
        self
    }

    /// Has the last command answer only guests that are authenticated: by the token, by the
    /// daemon's accounts, or by a Unix socket of the same user.
    #[must_use]
    pub fn auth(mut self) -> Self {
        self.last().needs_auth = true;
        self
    }

    /// Says that the last command only waits to tell something: it is dropped when its guest has
    /// gone. Any other runs to its end, whoever is there to hear how it went.
    #[must_use]
    pub fn only_waits(mut self) -> Self {
        self.last().only_waits = true;
        self
    }

    /// Says that what the last command brings about comes on the guest's
    /// [`feed`](crate::Guest::feed).
    #[must_use]
    pub fn feeds(mut self) -> Self {
        self.last().is_stream = true;
        self
    }

    /// Lets accounts of the daemon's own decide instead of the token: `handler` is the command
    /// `auth ["<user>","<password>"]`, which calls
    /// [`Guest::authenticate`](crate::Guest::authenticate).
    ///
    /// A failure `denied` is told after a second, and the third ends the connection.
    #[must_use]
    pub fn accounts<M>(mut self, handler: impl Handler<S, M>) -> Self {
        self.has_accounts = true;
        let mut daemon = self.command("auth", handler).args(["user", "password"]).help("Logs in");
        daemon.last().is_login = true;
        daemon
    }

    /// Runs beside the commands, with the same state, until the shutdown: a second listener for
    /// instance. One that ends earlier has nothing to do any more.
    #[must_use]
    pub fn service<F>(
        mut self,
        service: impl FnOnce(State<S>, Shutdown) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.services.push(Box::new(|state, shutdown| Box::pin(service(state, shutdown))));
        self
    }

    /// Sets where to listen and what to bound, instead of reading the common flags.
    #[must_use]
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = Some(settings);
        self
    }

    /// Listens, tells the manager when there is one, and serves until SIGTERM or SIGINT.
    ///
    /// Reads the common flags first (`--help` shows them), unless [`settings`](Self::settings) were
    /// given.
    pub async fn run(mut self) -> crate::Outcome {
        #[cfg(feature = "flags")]
        if self.settings.is_none() {
            self.settings = Some(crate::flags::parse_common(&self.name));
        }
        let bound = match self.bind().await {
            Ok(bound) => bound,
            Err(error) => return Err(error).into(),
        };
        tracing::info!(port = bound.port(), "listening");
        bound.serve(Shutdown::signal()).await;
        Ok::<_, BindError>(()).into()
    }

    /// Listens, and serves nobody yet. A listening socket without a label that was handed over
    /// (`--socket` of `dae install`) comes before the address and port of the settings.
    ///
    /// # Errors
    /// When the port or the Unix socket can't be had, or listening there would be unsafe.
    pub async fn bind(self) -> Result<Bound<S>, BindError> {
        let settings = self.settings.unwrap_or_default();
        let environment = settings.environment;
        let needs_auth = self.commands.iter().any(|it| it.declaration.needs_auth);
        let auth = match (self.has_accounts, &environment.token_file, &environment.socket) {
            (true, _, _) => "user",
            (false, Some(_), _) => "token",
            (false, None, Some(_)) if needs_auth => "peer",
            _ => "none",
        };
        let inherited = environment.sockets.take_unlabelled();
        let held = inherited.as_ref().map(TcpListener::local_addr).transpose();
        let address = held.map_err(BindError::Inherited)?.map_or(settings.bind, |it| it.ip());
        if !address.is_loopback() && !matches!(auth, "user" | "token") {
            return Err(BindError::Open { address });
        }
        if !address.is_loopback() {
            let why = "open to other machines without TLS: who is between reads all that is said";
            tracing::warn!(%address, auth, "{why}, passwords and tokens too");
        }
        let unix = environment.socket.as_deref();
        let listener = match inherited {
            Some(inherited) => Listener::inherit(inherited, unix)?,
            None => {
                let Settings { bind, port, both_loopbacks, .. } = settings;
                Listener::bind(bind, port, both_loopbacks, unix).await?
            }
        };
        let common = Common {
            name: environment.name.unwrap_or(self.name),
            version: self.version,
            secret: environment.secret.clone(),
            port: OnceLock::from(listener.port()),
            created: process_start_ms(),
            limits: settings.limits,
            admission: settings.admission,
            token_file: environment.token_file,
            wrong_tokens: Seldom::of_those_turned_away(),
            auth,
            options: BTreeMap::new(),
            help: BTreeMap::new(),
            more: Mutex::default(),
        };
        let manager = environment.manager_port.filter(|_| environment.secret.is_some());
        let (entrance, entering) = Entrance::new();
        Ok(Bound {
            listener,
            entrance,
            entering,
            router: Arc::new(router(common, self.state, self.commands)),
            services: self.services,
            manager: manager.map(Manager::at),
            trusts_own_user: !self.has_accounts,
            held: environment.sockets,
        })
    }

    fn last(&mut self) -> &mut Declaration {
        let command = self.commands.last_mut().expect("a command stands before what is said of it");
        &mut command.declaration
    }
}

/// All commands by name, and what `options` and `help` say of them.
fn router<S: 'static>(mut common: Common, state: S, own: Vec<Command<S>>) -> Router<S> {
    let mut commands = ByName::default();
    for command in Common::commands() {
        commands.insert(command.declaration.name, Entry::Common(command));
    }
    for command in own {
        commands.insert(command.declaration.name, Entry::Own(command));
    }
    let declarations = || commands.iter().map(|(&name, entry)| (name, entry.declaration()));
    common.options = declarations().map(|(name, it)| (name, it.min())).collect();
    common.help = declarations().map(|(name, it)| (name, it.to_value())).collect();
    Router { common, state, commands }
}

/// When this process started, in ms since 1970: the kernel makes its directory then.
fn process_start_ms() -> u64 {
    let made = fs::metadata("/proc/self").ok();
    made.and_then(|it| u64::try_from(it.ctime() * 1000 + it.ctime_nsec() / 1_000_000).ok())
        .unwrap_or_else(now_ms)
}

impl<S> fmt::Debug for Daemon<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let commands: Vec<_> = self.commands.iter().map(|it| it.declaration.name).collect();
        f.debug_struct("Daemon")
            .field("name", &self.name)
            .field("commands", &commands)
            .finish_non_exhaustive()
    }
}
