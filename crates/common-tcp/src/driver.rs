//! What stands behind a [`Client`](crate::Client): who waits for which reply, and the task that
//! serves the connection.

use std::{
    collections::{HashMap, VecDeque},
    future::poll_fn,
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker, ready},
};

use serde::{Serialize, ser::Error};
use serde_json::Value;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    task::{JoinHandle, yield_now},
};

use crate::{Connection, Failure, Limits, Packet, Pushed, Reply, Socket, Unreadable, encode};

/// Requests of one connection that may be unanswered, whether or not somebody still waits for the
/// answer.
const CALLS: usize = 1024;

/// Bytes of events that may wait for the reader of a stream; beyond it the stream ends as `lagged`.
/// Their number has no bound of its own: a burst that comes in one read is no sign of a slow
/// reader.
const WAITING_BYTES: usize = 16 << 20;

/// What an event takes besides its text, roughly.
const EVENT_BYTES: usize = 256;

/// What the driver keeps of its buffer for requests.
const KEPT_BYTES: usize = 512;

/// The commands whose replies go by another name.
const RENAMED: [(&str, &str); 5] = [
    ("dae", "credential"),
    ("whois", "credential"),
    ("options", "commands"),
    ("list", "daemons"),
    ("all", "memory"),
];

/// The task that serves the connection; ends when nobody has it any more.
#[derive(Debug)]
pub(crate) struct Driver {
    shared: Arc<Shared>,
    turns: Arc<Semaphore>,
    task: JoinHandle<()>,
}

/// Where the events of a stream go.
#[derive(Debug)]
pub(crate) struct Sink {
    pub(crate) sender: mpsc::UnboundedSender<(Pushed, usize)>,
    /// How many bytes wait there.
    pub(crate) waiting: Arc<AtomicUsize>,
}

/// Why there is no reply.
#[derive(Debug)]
pub(crate) enum Trouble {
    Failed(Failure),
    Lost { sent: bool },
    Unwritable(serde_json::Error),
}

/// What callers and the task share.
#[derive(Debug, Default)]
struct Shared(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    outgoing: Vec<u8>,
    in_order: VecDeque<Waiting>,
    tagged: HashMap<String, Waiting>,
    streams: HashMap<String, Sink>,
    last_tag: u64,
    /// How many requests were made, and how many of them the task has taken to send.
    asked: u64,
    taken: u64,
    lost: bool,
    task: Option<Waker>,
}

/// Who waits for the reply to the `number`th request. One who has given up stays, since the reply
/// may come.
#[derive(Debug)]
struct Waiting {
    number: u64,
    command: Box<str>,
    sender: oneshot::Sender<Result<Reply, Trouble>>,
    _turn: OwnedSemaphorePermit,
}

type Answer = oneshot::Receiver<Result<Reply, Trouble>>;

impl Driver {
    pub(crate) fn over(socket: Socket) -> Self {
        let shared = Arc::new(Shared::default());
        let connection = Connection::of_client(socket, &Limits::of_client());
        let task = tokio::spawn(drive(connection, Arc::clone(&shared)));
        Self { shared, turns: Arc::new(Semaphore::new(CALLS)), task }
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.shared.lock().lost
    }

    /// A tag that was never used on this connection.
    pub(crate) fn next_tag(&self) -> String {
        self.shared.lock().next_tag()
    }

    pub(crate) async fn exchange(
        &self,
        command: &str,
        tagged: bool,
        args: &(impl Serialize + ?Sized),
    ) -> Result<Reply, Trouble> {
        let turn = self.turn().await;
        let answer = {
            let mut state = self.shared.lock();
            let tag = tagged.then(|| state.next_tag());
            state.ask(command, tag, args, turn)?
        };
        answered(answer).await
    }

    /// As `exchange`, and what is pushed under `tag` goes to `sink` from then on.
    pub(crate) async fn start(
        &self,
        command: &str,
        tag: &str,
        args: &(impl Serialize + ?Sized),
        sink: Sink,
    ) -> Result<Reply, Trouble> {
        let turn = self.turn().await;
        let answer = {
            let mut state = self.shared.lock();
            let answer = state.ask(command, Some(tag.to_owned()), args, turn)?;
            state.streams.insert(tag.to_owned(), sink);
            answer
        };
        answered(answer).await
    }

    /// Ends a stream at the daemon, unless it has ended.
    pub(crate) fn cancel(&self, tag: &str) {
        let mut state = self.shared.lock();
        if state.streams.remove(tag).is_some() {
            state.cancel(tag);
        }
    }

    async fn turn(&self) -> OwnedSemaphorePermit {
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        turn.expect("nobody closes the semaphore")
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answered(answer: Answer) -> Result<Reply, Trouble> {
    answer.await.unwrap_or(Err(Trouble::Lost { sent: true }))
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
        turn: OwnedSemaphorePermit,
    ) -> Result<Answer, Trouble> {
        if self.lost {
            return Err(Trouble::Lost { sent: false });
        }
        self.write(command, tag.as_deref(), args).map_err(Trouble::Unwritable)?;
        let (sender, answer) = oneshot::channel();
        self.asked += 1;
        let waiting = Waiting { number: self.asked, command: command.into(), sender, _turn: turn };
        match tag {
            Some(tag) => drop(self.tagged.insert(tag, waiting)),
            None => self.in_order.push_back(waiting),
        }
        Ok(answer)
    }

    fn write(
        &mut self,
        command: &str,
        tag: Option<&str>,
        args: &(impl Serialize + ?Sized),
    ) -> Result<(), serde_json::Error> {
        let is_name = |byte: u8| byte.is_ascii_graphic() && byte != b'#';
        if command.is_empty() || !command.bytes().all(is_name) {
            return Err(serde_json::Error::custom("a name is visible ASCII without `#`"));
        }
        encode(&mut self.outgoing, command, tag, args)?;
        if let Some(task) = self.task.take() {
            task.wake();
        }
        Ok(())
    }

    /// Nobody waits for the answer, so it has a tag that nobody knows.
    fn cancel(&mut self, tag: &str) {
        if !self.lost {
            let unknown = self.next_tag();
            self.write("cancel", Some(&unknown), &(tag,)).expect("a string is JSON");
        }
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
                if let Some(waiting) = self.next_in_order(&packet) {
                    waiting.answer(&packet);
                }
            }
        }
    }

    /// Who waits for this reply: the first, as a rule. Programs of the original kind never answer
    /// what they do not know; so one who has given up is passed over where the reply fits the one
    /// behind.
    fn next_in_order(&mut self, packet: &Packet<'_>) -> Option<Waiting> {
        let passed = |it: &&Waiting| it.sender.is_closed() && !it.fits(packet);
        let over = self.in_order.iter().take_while(passed).count();
        if self.in_order.get(over).is_some_and(|it| it.fits(packet)) {
            self.in_order.drain(..over);
        }
        self.in_order.pop_front()
    }

    /// A reply that can't be read may be anybody's: nobody can tell any more whose the next one is.
    fn receive_unreadable(&mut self, why: &Unreadable) {
        if let Some(waiting) = self.in_order.pop_front() {
            drop(waiting.sender.send(Err(Trouble::Failed(why.to_failure()))));
        }
    }

    fn event(&mut self, tag: &str, packet: &Packet<'_>) {
        let Some(stream) = self.streams.get(tag) else { return };
        let Ok((topic, payload, seq)) = packet.parse() else { return };
        if stream.push(Pushed::Event { topic, payload, seq }, packet.args.len()) {
            return;
        }
        if let Some(stream) = self.streams.remove(tag) {
            stream.end("lagged");
            self.cancel(tag);
        }
    }

    fn end(&mut self, tag: &str, packet: &Packet<'_>) {
        let Some(stream) = self.streams.remove(tag) else { return };
        let told: Result<[Value; 1], _> = packet.parse();
        let reason = told.ok().and_then(|[told]| Some(told.get("reason")?.as_str()?.to_owned()));
        stream.end(&reason.unwrap_or_default());
    }

    /// The connection is gone: everybody who waits is told.
    fn lose(&mut self) {
        self.lost = true;
        for waiting in self.in_order.drain(..).chain(self.tagged.drain().map(|(_, it)| it)) {
            let sent = waiting.number <= self.taken;
            drop(waiting.sender.send(Err(Trouble::Lost { sent })));
        }
        for (_, stream) in self.streams.drain() {
            stream.end("lost");
        }
    }
}

impl Sink {
    /// Appends an event, unless too much waits already. A single one may be as large as any packet.
    fn push(&self, event: Pushed, text_bytes: usize) -> bool {
        let bytes = text_bytes + EVENT_BYTES;
        let before = self.waiting.fetch_add(bytes, Relaxed);
        let fits = before == 0 || before + bytes <= WAITING_BYTES;
        fits && self.sender.send((event, bytes)).is_ok()
    }

    fn end(&self, reason: &str) {
        drop(self.sender.send((Pushed::End { reason: reason.to_owned() }, 0)));
    }
}

impl Waiting {
    /// Hands the reply to who waits; one who has given up wants it no more.
    fn answer(self, packet: &Packet<'_>) {
        let answer = if packet.name == "err" {
            Err(Trouble::Failed(failure_of(packet)))
        } else {
            Ok(Reply { name: packet.name.to_owned(), args: packet.args.to_owned() })
        };
        drop(self.sender.send(answer));
    }

    /// Whether the reply names the command.
    fn fits(&self, packet: &Packet<'_>) -> bool {
        match packet.name {
            "err" => failure_of(packet).command().is_none_or(|command| *command == *self.command),
            name => name == &*self.command || RENAMED.contains(&(&self.command, name)),
        }
    }
}

fn failure_of(packet: &Packet<'_>) -> Failure {
    let told: Result<[Value; 1], _> = packet.parse();
    told.map_or_else(|_| Failure::new("unknown", packet.args), |[told]| Failure::from_value(told))
}

/// Serves the connection until it ends.
async fn drive(mut connection: Connection, shared: Arc<Shared>) {
    /// However the task ends, nobody goes on waiting.
    struct Losing(Arc<Shared>);

    impl Drop for Losing {
        fn drop(&mut self) {
            self.0.lock().lose();
        }
    }

    let shared = Losing(shared);
    // Why it ended makes no difference to those who wait.
    while let Ok(true) = poll_fn(|cx| poll_drive(&mut connection, &shared.0, cx)).await {
        // Who takes the events comes to its turn before there are more.
        yield_now().await;
    }
}

/// Reads and writes as far as can be; true if events may have come, false at the end of the stream.
fn poll_drive(
    connection: &mut Connection,
    shared: &Shared,
    cx: &mut Context<'_>,
) -> Poll<io::Result<bool>> {
    let mut has_events = false;
    // Reading comes first: what is not sent into a connection that has ended may be asked again
    // elsewhere.
    while let Poll::Ready(open) = poll_replies(connection, shared, cx)? {
        if !open {
            return Poll::Ready(Ok(false));
        }
        has_events = !shared.lock().streams.is_empty();
        if has_events {
            break;
        }
    }
    {
        let mut state = shared.lock();
        connection.halves().1.append(&mut state.outgoing);
        state.outgoing.shrink_to(KEPT_BYTES);
        state.taken = state.asked;
        state.task = Some(cx.waker().clone());
    }
    match connection.poll_write(cx) {
        Poll::Ready(Err(error)) => {
            // Replies may have come before the end.
            while poll_replies(connection, shared, cx)? == Poll::Ready(true) {}
            Poll::Ready(Err(error))
        }
        _ if has_events => Poll::Ready(Ok(true)),
        _ => Poll::Pending,
    }
}

/// Takes in what one read brings; false at the end of the stream.
fn poll_replies(
    connection: &mut Connection,
    shared: &Shared,
    cx: &mut Context<'_>,
) -> Poll<io::Result<bool>> {
    let read = ready!(connection.poll_read(cx, usize::MAX))?;
    let mut state = shared.lock();
    while let Some(packet) = connection.next() {
        match packet {
            Ok(packet) => state.receive(packet),
            // What stands before it was whole.
            Err(Unreadable::TrailingBytes { .. }) => {}
            Err(why) => {
                state.receive_unreadable(&why);
                return Poll::Ready(Err(io::Error::other(why)));
            }
        }
    }
    Poll::Ready(Ok(read > 0))
}
