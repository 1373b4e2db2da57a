use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::{sync::mpsc, time::timeout};

use crate::{
    Address, Failure, Socket,
    driver::{Driver, Sink, Trouble},
};

/// A connection to a daemon, for as many callers at once as like.
///
/// Clones share the connection; it ends with the last of them. A client whose connection is lost
/// stays lost: [`Remote`](crate::Remote) is the one that connects again.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use common_tcp::{Address, Client};
///
/// let sample = Client::connect(&Address::local(40123)).await?;
/// sample.call::<()>("set", &("key", 5)).await?;
/// let value: u32 = sample.call("get", &("key",)).await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Client {
    deadline: Duration,
    driver: Arc<Driver>,
}

/// A reply as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Its name: that of the command, or one of the four that differ.
    pub name: String,
    /// Its arguments, a JSON array.
    pub args: String,
}

/// What a stream brings.
#[derive(Clone, Debug, PartialEq)]
pub enum Pushed {
    /// Something happened.
    Event {
        /// What it is about.
        topic: String,
        /// What happened.
        payload: Value,
        /// Rises by one from 1, so that a gap shows.
        seq: u64,
    },
    /// Nothing more comes: `cancelled`, `lagged` (also when this side took too little),
    /// `shutting-down`, `lost` with the connection, or a reason of the daemon's own.
    End {
        /// Why.
        reason: String,
    },
}

/// A running stream; dropping it cancels. It keeps the connection, as a client does.
#[derive(Debug)]
pub struct Events {
    queue: mpsc::UnboundedReceiver<(Pushed, usize)>,
    /// How many bytes wait in the queue.
    waiting: Arc<AtomicUsize>,
    tag: String,
    driver: Arc<Driver>,
}

/// Why a connection could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The kernel refused.
    #[error("cannot connect to {address}")]
    Refused {
        /// Where to.
        address: Address,
        /// What the kernel said.
        source: io::Error,
    },
    /// Nothing answered in time.
    #[error("{address} did not accept a connection within {after:?}")]
    TimedOut {
        /// Where to.
        address: Address,
        /// How long was waited.
        after: Duration,
    },
    /// Nobody knows where the daemon is.
    #[error("cannot find `{name}`: {why}")]
    NotFound {
        /// Who was looked for.
        name: String,
        /// What the manager said.
        why: String,
    },
}

/// Why a call brought no result.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The daemon answered with an error.
    #[error("{0}")]
    Failed(Failure),
    /// No answer came in time; the command may have been carried out all the same.
    #[error("`{command}` was not answered within {after:?}")]
    TimedOut {
        /// What was asked.
        command: String,
        /// How long was waited.
        after: Duration,
    },
    /// The connection ended before the answer. If the request was `sent`, the command may have been
    /// carried out all the same.
    #[error("the connection ended before `{command}` was answered")]
    Lost {
        /// What was asked.
        command: String,
        /// Whether a byte of the request may have reached the daemon.
        sent: bool,
    },
    /// The arguments can't be written, or the result is not what was expected.
    #[error("`{command}` is answered by something else than expected")]
    Unexpected {
        /// What was asked.
        command: String,
        /// What serde says.
        source: serde_json::Error,
    },
    /// There is no connection and none can be made.
    #[error(transparent)]
    Connect(#[from] ConnectError),
}

/// How long a call waits unless [`Client::with_deadline`] says otherwise.
const DEADLINE: Duration = Duration::from_secs(10);

impl Client {
    /// Connects, waiting at most ten seconds.
    ///
    /// # Errors
    /// When nobody listens there, or nobody accepts in time.
    pub async fn connect(address: &Address) -> Result<Self, ConnectError> {
        match timeout(DEADLINE, Socket::connect(address)).await {
            Ok(Ok(socket)) => Ok(Self::over(socket)),
            Ok(Err(source)) => Err(ConnectError::Refused { address: address.clone(), source }),
            Err(_) => Err(ConnectError::TimedOut { address: address.clone(), after: DEADLINE }),
        }
    }

    /// A client over a connected socket. Needs a running tokio runtime.
    #[must_use]
    pub fn over(socket: Socket) -> Self {
        Self { deadline: DEADLINE, driver: Arc::new(Driver::over(socket)) }
    }

    /// The same connection with another limit on how long a call waits.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Whether the connection has ended.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.driver.is_lost()
    }

    /// Calls a command and reads its result; `()` where it has none.
    ///
    /// Calls are answered in the order in which they were made; up to 1024 are under way at once, a
    /// further one waits for its turn. A call that is dropped, or waits too long, only gives up its
    /// answer, and others get theirs all the same.
    ///
    /// # Errors
    /// [`CallError::Failed`] with the daemon's `err`, and what can go wrong on the way.
    pub async fn call<T: DeserializeOwned>(
        &self,
        command: &str,
        args: &(impl Serialize + ?Sized),
    ) -> Result<T, CallError> {
        self.exchange(command, args).await?.result(command)
    }

    /// Calls a command and hands out the reply as it came, for one whose reply has several
    /// arguments.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn exchange(
        &self,
        command: &str,
        args: &(impl Serialize + ?Sized),
    ) -> Result<Reply, CallError> {
        self.answered(command, self.driver.exchange(command, false, args)).await
    }

    /// As [`exchange`](Self::exchange), but under a tag: the daemon may run it beside others, and
    /// answer it before or after them.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn exchange_tagged(
        &self,
        command: &str,
        args: &(impl Serialize + ?Sized),
    ) -> Result<Reply, CallError> {
        self.answered(command, self.driver.exchange(command, true, args)).await
    }

    /// Starts a stream: its first result, and what comes after it.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn stream<T: DeserializeOwned>(
        &self,
        command: &str,
        args: &(impl Serialize + ?Sized),
    ) -> Result<(T, Events), CallError> {
        let (sender, queue) = mpsc::unbounded_channel();
        let (waiting, tag) = (Arc::default(), self.driver.next_tag());
        let sink = Sink { sender, waiting: Arc::clone(&waiting) };
        // Made before it is asked for, so that it is cancelled if nobody waits for the answer any
        // more.
        let events = Events { queue, waiting, tag, driver: Arc::clone(&self.driver) };
        let started = self.driver.start(command, &events.tag, args, sink);
        let first = self.answered(command, started).await?.result(command)?;
        Ok((first, events))
    }

    async fn answered(
        &self,
        command: &str,
        answer: impl Future<Output = Result<Reply, Trouble>>,
    ) -> Result<Reply, CallError> {
        let name = command.to_owned();
        match timeout(self.deadline, answer).await {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(Trouble::Failed(failure))) => Err(CallError::Failed(failure)),
            Ok(Err(Trouble::Lost { sent })) => Err(CallError::Lost { command: name, sent }),
            Ok(Err(Trouble::Unwritable(source))) => {
                Err(CallError::Unexpected { command: name, source })
            }
            Err(_) => Err(CallError::TimedOut { command: name, after: self.deadline }),
        }
    }
}

impl CallError {
    /// What to tell a guest for whom the call was made.
    #[must_use]
    pub fn to_failure(&self) -> Failure {
        match self {
            Self::Failed(failure) => failure.clone(),
            Self::TimedOut { .. } => Failure::new("timeout", self.to_string()),
            Self::Lost { .. } | Self::Connect(_) => {
                Failure::new("unavailable", crate::causes(self))
            }
            Self::Unexpected { .. } => Failure::internal(crate::causes(self)),
        }
    }
}

impl Reply {
    /// All arguments as one value, for instance a [`Credential`](crate::Credential).
    ///
    /// # Errors
    /// What serde says of them.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(&self.args)
    }

    /// The one argument that most replies have; null where there is none.
    ///
    /// # Errors
    /// [`CallError::Unexpected`] when it is not a `T`.
    pub fn result<T: DeserializeOwned>(&self, command: &str) -> Result<T, CallError> {
        let unexpected = |source| CallError::Unexpected { command: command.to_owned(), source };
        let args: Vec<&serde_json::value::RawValue> =
            serde_json::from_str(&self.args).map_err(unexpected)?;
        let result = args.first().map_or("null", |first| first.get());
        serde_json::from_str(result).map_err(unexpected)
    }
}

impl Events {
    /// What comes next; `None` after the end. Cancel safe.
    pub async fn next(&mut self) -> Option<Pushed> {
        let (pushed, bytes) = self.queue.recv().await?;
        self.waiting.fetch_sub(bytes, Relaxed);
        Some(pushed)
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.driver.cancel(&self.tag);
    }
}
