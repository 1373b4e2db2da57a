use std::{
    collections::{HashMap, VecDeque},
    future::poll_fn,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    task::JoinHandle,
    time::timeout,
};

use crate::{Address, Connection, Failure, Limits, Packet, Socket, Unreadable, encode};

/// A connection to a daemon, for as many callers at once as like.
///
/// Clones share the connection; it ends with the last of them. A client whose connection is lost stays
/// lost: [`Remote`](crate::Remote) is the one that connects again.
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
    shared: Arc<Shared>,
    _driver: Arc<Driver>,
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
    /// Nothing more comes: `cancelled`, `lagged` (also when this side took too little), `shutting-down`,
    /// `lost` with the connection, or a reason of the daemon's own.
    End {
        /// Why.
        reason: String,
    },
}

/// A running stream; dropping it cancels.
#[derive(Debug)]
pub struct Events {
    queue: mpsc::Receiver<Pushed>,
    tag: String,
    shared: Arc<Shared>,
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

/// Calls of one client that may be under way at once; a further one waits for its turn.
const CALLS: usize = 1024;

/// Events that may wait for their reader; beyond it the stream ends as `lagged`.
const EVENTS: usize = 4096;

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
        let shared = Arc::new(Shared::default());
        let connection = Connection::of_client(socket, &Limits::of_client());
        let task = tokio::spawn(drive(connection, Arc::clone(&shared)));
        Self { deadline: DEADLINE, shared, _driver: Arc::new(Driver(task)) }
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
        self.shared.lock().lost
    }

    /// Calls a command and reads its result; `()` where it has none.
    ///
    /// Calls are answered in the order in which they were made. A call that is dropped, or waits too
    /// long, only gives up its answer.
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

    /// Calls a command and hands out the reply as it came, for one whose reply has several arguments.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn exchange(
        &self,
        command: &str,
        args: &(impl Serialize + ?Sized),
    ) -> Result<Reply, CallError> {
        let _turn = self.shared.turns.acquire().await;
        let answer = self.shared.ask(command, false, args)?;
        self.answered(command, answer).await
    }

    /// As [`exchange`](Self::exchange), but under a tag: the daemon may run it beside others, and answer
    /// it before or after them.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn exchange_tagged(
        &self,
        command: &str,
        args: &(impl Serialize + ?Sized),
    ) -> Result<Reply, CallError> {
        let _turn = self.shared.turns.acquire().await;
        let answer = self.shared.ask(command, true, args)?;
        self.answered(command, answer).await
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
        let (sender, queue) = mpsc::channel(EVENTS);
        let (tag, answer) = self.shared.ask_stream(command, args, sender)?;
        let events = Events { queue, tag, shared: Arc::clone(&self.shared) };
        let first = self.answered(command, answer).await?.result(command)?;
        Ok((first, events))
    }

    async fn answered(&self, command: &str, answer: Answer) -> Result<Reply, CallError> {
        let command = || command.to_owned();
        match timeout(self.deadline, answer).await {
            Ok(Ok(Ok(reply))) => Ok(reply),
            Ok(Ok(Err(Trouble::Failed(failure)))) => Err(CallError::Failed(failure)),
            Ok(Ok(Err(Trouble::Lost { sent }))) => {
                Err(CallError::Lost { command: command(), sent })
            }
            Ok(Err(_)) => Err(CallError::Lost { command: command(), sent: true }),
            Err(_) => Err(CallError::TimedOut { command: command(), after: self.deadline }),
        }
    }
}

impl CallError {
    /// What to tell a guest for whom the call was made.
    #[must_use]
    pub fn to_failure(&self) -> Failure {
        let chain = |error: &dyn std::error::Error| {
            let causes = std::iter::successors(Some(error), |error| error.source());
            causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
        };
        match self {
            Self::Failed(failure) => failure.clone(),
            Self::TimedOut { .. } => Failure::new("timeout", self.to_string()),
            Self::Lost { .. } | Self::Connect(_) => Failure::new("unavailable", chain(self)),
            Self::Unexpected { .. } => Failure::internal(chain(self)),
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
        self.queue.recv().await
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.shared.cancel(&self.tag);
    }
}

/// The task that serves the connection; ends with the last client.
#[derive(Debug)]
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What callers and the driver share.
#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    turns: Semaphore,
}

#[derive(Debug, Default)]
struct State {
    outgoing: Vec<u8>,
    in_order: VecDeque<Waiting>,
    tagged: HashMap<String, Waiting>,
    streams: HashMap<String, mpsc::Sender<Pushed>>,
    last_tag: u64,
    /// How many requests were made, and how many of them the driver has taken to send.
    asked: u64,
    taken: u64,
    lost: bool,
    driver: Option<Waker>,
}

/// Who waits for the reply to the `number`th request.
#[derive(Debug)]
struct Waiting {
    number: u64,
    sender: oneshot::Sender<Result<Reply, Trouble>>,
}

type Answer = oneshot::Receiver<Result<Reply, Trouble>>;

#[derive(Debug)]
enum Trouble {
    Failed(Failure),
    Lost { sent: bool },
}

impl Default for Shared {
    fn default() -> Self {
        Self { state: Mutex::default(), turns: Semaphore::new(CALLS) }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(
        &self,
        command: &str,
        tagged: bool,
        args: &(impl Serialize + ?Sized),
    ) -> Result<Answer, CallError> {
        let mut state = self.lock();
        let tag = tagged.then(|| state.next_tag());
        state.ask(command, tag, args)
    }

    fn ask_stream(
        &self,
        command: &str,
        args: &(impl Serialize + ?Sized),
        events: mpsc::Sender<Pushed>,
    ) -> Result<(String, Answer), CallError> {
        let mut state = self.lock();
        let tag = state.next_tag();
        let answer = state.ask(command, Some(tag.clone()), args)?;
        state.streams.insert(tag.clone(), events);
        Ok((tag, answer))
    }

    /// Ends a stream at the daemon, unless it has ended; nobody waits for the answer.
    fn cancel(&self, tag: &str) {
        let mut state = self.lock();
        if state.streams.remove(tag).is_some() && !state.lost {
            drop(state.ask("cancel", None, &(tag,)));
        }
    }
}

impl State {
    fn next_tag(&mut self) -> String {
        self.last_tag += 1;
        format!("c{}", self.last_tag)
    }

    fn ask(
        &mut self,
        command: &str,
        tag: Option<String>,
        args: &(impl Serialize + ?Sized),
    ) -> Result<Answer, CallError> {
        if self.lost {
            return Err(CallError::Lost { command: command.to_owned(), sent: false });
        }
        encode(&mut self.outgoing, command, tag.as_deref(), args)
            .map_err(|source| CallError::Unexpected { command: command.to_owned(), source })?;
        let (sender, answer) = oneshot::channel();
        self.asked += 1;
        let waiting = Waiting { number: self.asked, sender };
        match tag {
            Some(tag) => drop(self.tagged.insert(tag, waiting)),
            None => self.in_order.push_back(waiting),
        }
        if let Some(driver) = self.driver.take() {
            driver.wake();
        }
        Ok(answer)
    }

    /// Takes in a packet of the daemon's.
    fn receive(&mut self, packet: Packet<'_>) {
        match (packet.name, packet.tag) {
            ("event", tag) => self.event(tag.unwrap_or_default(), &packet),
            ("end", tag) => self.end(tag.unwrap_or_default(), &packet),
            (_, Some(tag)) => {
                if let Some(waiting) = self.tagged.remove(tag) {
                    if packet.name == "err" {
                        self.streams.remove(tag);
                    }
                    waiting.answer(&packet);
                }
            }
            (_, None) => {
                if let Some(waiting) = self.in_order.pop_front() {
                    waiting.answer(&packet);
                }
            }
        }
    }

    fn event(&mut self, tag: &str, packet: &Packet<'_>) {
        let Ok((topic, payload, seq)) = packet.parse() else { return };
        let pushed = Pushed::Event { topic, payload, seq };
        let Some(stream) = self.streams.get(tag) else { return };
        if stream.capacity() > 1 && stream.try_send(pushed).is_ok() {
            return;
        }
        if let Some(stream) = self.streams.remove(tag) {
            // The last place is kept free for the end.
            drop(stream.try_send(Pushed::End { reason: "lagged".to_owned() }));
            drop(self.ask("cancel", None, &(tag,)));
        }
    }

    fn end(&mut self, tag: &str, packet: &Packet<'_>) {
        let Some(stream) = self.streams.remove(tag) else { return };
        let told: Result<[Value; 1], _> = packet.parse();
        let reason = told.ok().and_then(|[told]| Some(told.get("reason")?.as_str()?.to_owned()));
        drop(stream.try_send(Pushed::End { reason: reason.unwrap_or_default() }));
    }

    /// The connection is gone: everybody who waits is told.
    fn lose(&mut self) {
        self.lost = true;
        for waiting in self.in_order.drain(..).chain(self.tagged.drain().map(|(_, it)| it)) {
            let sent = waiting.number <= self.taken;
            drop(waiting.sender.send(Err(Trouble::Lost { sent })));
        }
        for (_, stream) in self.streams.drain() {
            drop(stream.try_send(Pushed::End { reason: "lost".to_owned() }));
        }
    }
}

impl Waiting {
    /// Hands the reply to who waits; one who has given up wants it no more.
    fn answer(self, packet: &Packet<'_>) {
        let answer = if packet.name == "err" {
            let told: Result<[Value; 1], _> = packet.parse();
            Err(Trouble::Failed(told.map_or_else(
                |_| Failure::new("unknown", packet.args),
                |[told]| Failure::from_value(told),
            )))
        } else {
            Ok(Reply { name: packet.name.to_owned(), args: packet.args.to_owned() })
        };
        drop(self.sender.send(answer));
    }
}

/// Serves the connection until it ends.
async fn drive(mut connection: Connection, shared: Arc<Shared>) {
    // Why it ended makes no difference to those who wait.
    drop(poll_fn(|cx| poll_drive(&mut connection, &shared, cx)).await);
    shared.lock().lose();
}

fn poll_drive(
    connection: &mut Connection,
    shared: &Shared,
    cx: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    {
        let mut state = shared.lock();
        connection.halves().1.append(&mut state.outgoing);
        state.taken = state.asked;
        state.driver = Some(cx.waker().clone());
    }
    if let Poll::Ready(written) = connection.poll_write(cx) {
        written?;
    }
    while let Poll::Ready(read) = connection.poll_read(cx)? {
        let mut state = shared.lock();
        while let Some(packet) = connection.next() {
            match packet {
                Ok(packet) => state.receive(packet),
                Err(why) if why.is_fatal() => return Poll::Ready(Err(io::Error::other(why))),
                Err(why) => state.receive_unreadable(&why),
            }
        }
        if read == 0 {
            return Poll::Ready(Ok(()));
        }
    }
    Poll::Pending
}

impl State {
    /// A reply that can't be read is somebody's reply all the same, or the order would be lost.
    fn receive_unreadable(&mut self, why: &Unreadable) {
        if let Some(waiting) = self.in_order.pop_front() {
            drop(waiting.sender.send(Err(Trouble::Failed(why.to_failure()))));
        }
    }
}
