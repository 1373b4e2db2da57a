use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use daemon::{Bound, Daemon, Entrance, Failure, Guest, Limits, Session, Settings, State, Stream};
use serde_json::Value;
use tokio::{
    sync::{Semaphore, oneshot},
    task::JoinHandle,
};

/// What the daemon under test keeps.
#[derive(Default)]
pub(crate) struct Lab {
    gates: Mutex<HashMap<String, Arc<Semaphore>>>,
    pub(crate) streams: Mutex<Vec<Stream>>,
    /// How often `wait` was begun and done.
    pub(crate) entered: AtomicUsize,
    pub(crate) left: AtomicUsize,
    /// How often it was given up.
    pub(crate) dropped: AtomicUsize,
    /// How many results `big-later` has begun to make, and has made.
    pub(crate) begun: AtomicUsize,
    pub(crate) made: AtomicUsize,
}

/// A guest's own; counts how many there are.
#[derive(Default)]
pub(crate) struct Notes {
    lines: Mutex<Vec<String>>,
    streams: Mutex<Vec<Stream>>,
    alive: Alive,
}

struct Alive;

pub(crate) static NOTES: AtomicUsize = AtomicUsize::new(0);

impl Default for Alive {
    fn default() -> Self {
        NOTES.fetch_add(1, SeqCst);
        Self
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        NOTES.fetch_sub(1, SeqCst);
    }
}

/// Counts when it is dropped.
struct GivenUp<'a>(&'a AtomicUsize);

impl Drop for GivenUp<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, SeqCst);
    }
}

impl Lab {
    pub(crate) fn gate(&self, name: &str) -> Arc<Semaphore> {
        let mut gates = self.gates.lock().unwrap();
        Arc::clone(gates.entry(name.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(0))))
    }

    /// Answers once the gate is opened, once for each opening.
    async fn wait(&self, gate: String) -> String {
        self.entered.fetch_add(1, SeqCst);
        let given_up = GivenUp(&self.dropped);
        self.gate(&gate).acquire().await.unwrap().forget();
        std::mem::forget(given_up);
        self.left.fetch_add(1, SeqCst);
        gate
    }

    pub(crate) fn open(&self, gate: String) {
        self.gate(&gate).add_permits(1);
    }

    fn echo(&self, value: Value) -> Value {
        value
    }

    async fn echo_later(&self, value: Value) -> Value {
        tokio::task::yield_now().await;
        value
    }

    fn big(&self, bytes: usize) -> String {
        "x".repeat(bytes)
    }

    async fn big_later(&self, bytes: usize) -> String {
        self.begun.fetch_add(1, SeqCst);
        tokio::task::yield_now().await;
        self.made.fetch_add(1, SeqCst);
        self.big(bytes)
    }

    /// Looks the password up for as long as the gate `login` is closed, and never finds it.
    pub(crate) async fn log_in_slowly(&self, _: String, _: String) -> Result<(), Failure> {
        self.entered.fetch_add(1, SeqCst);
        self.gate("login").acquire().await.unwrap().forget();
        Err(Failure::new("denied", "no such account"))
    }

    fn watch(&self, stream: Stream) -> &'static str {
        self.streams.lock().unwrap().push(stream);
        "watching"
    }

    async fn watch_later(&self, gate: String, stream: Stream) -> Result<&'static str, Failure> {
        stream.emit("early", &1).unwrap();
        self.gate(&gate).acquire().await.unwrap().forget();
        if gate == "bad" {
            return Err(Failure::not_found("bad"));
        }
        Ok(self.watch(stream))
    }

    fn watch_eagerly(&self, stream: Stream) -> &'static str {
        stream.emit("early", &1).unwrap();
        stream.emit("early", &2).unwrap();
        self.watch(stream)
    }

    fn watch_in_vain(&self, stream: Stream) -> Result<(), Failure> {
        stream.emit("early", &1).unwrap();
        Err(Failure::not_found("nothing to watch"))
    }

    /// Emits to all, forgets who is gone; how many are left.
    pub(crate) fn tell(&self, topic: String, payload: Value) -> usize {
        let mut streams = self.streams.lock().unwrap();
        streams.retain(|stream| stream.emit(&topic, &payload).is_ok());
        streams.len()
    }

    pub(crate) fn forget(&self) {
        self.streams.lock().unwrap().clear();
    }

    fn note(&self, notes: Session<Notes>, line: String) -> Vec<String> {
        let _ = &notes.alive;
        let mut lines = notes.lines.lock().unwrap();
        lines.push(line);
        lines.clone()
    }

    fn note_stream(&self, notes: Session<Notes>, stream: Stream) {
        notes.streams.lock().unwrap().push(stream);
    }

    fn panic(&self) {
        panic!("a secret of the daemon");
    }

    async fn panic_later(&self) {
        tokio::task::yield_now().await;
        panic!("a secret of the daemon");
    }

    fn break_in_the_middle(&self) -> Vec<Breaking> {
        vec![Breaking(false), Breaking(true)]
    }

    fn dismiss(&self, guest: Guest) {
        guest.leave();
    }

    fn secret(&self, guest: Guest) -> bool {
        guest.is_authenticated()
    }
}

/// Panics while it is written, if told so.
struct Breaking(bool);

impl serde::Serialize for Breaking {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        assert!(!self.0, "a secret of the daemon");
        serializer.serialize_str("fine so far")
    }
}

/// The daemon under test.
#[rustfmt::skip] // A table: one row a command.
pub(crate) fn lab() -> Daemon<Lab> {
    Daemon::with_state("Lab", Lab::default())
        .command("wait", Lab::wait)
        .only_waits()
        .command("work", Lab::wait)
        .command("open", Lab::open)
        .command("echo", Lab::echo)
        .command("echo-later", Lab::echo_later)
        .command("big", Lab::big)
        .command("big-later", Lab::big_later)
        .command("watch", Lab::watch)
        .command("watch-later", Lab::watch_later)
        .command("watch-eagerly", Lab::watch_eagerly)
        .command("watch-in-vain", Lab::watch_in_vain)
        .command("tell", Lab::tell)
        .command("forget", Lab::forget)
        .command("note", Lab::note)
        .command("note-stream", Lab::note_stream)
        .command("panic", Lab::panic)
        .command("panic-later", Lab::panic_later)
        .command("break", Lab::break_in_the_middle)
        .command("dismiss", Lab::dismiss)
        .command("secret", Lab::secret).auth()
}

pub(crate) fn limited(limits: Limits) -> Daemon<Lab> {
    lab().settings(Settings { limits, ..Settings::default() })
}

/// A daemon that serves until it is told to end.
pub(crate) struct Served<S> {
    pub(crate) port: u16,
    pub(crate) state: State<S>,
    pub(crate) entrance: Entrance,
    end: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

pub(crate) async fn serve<S: Send + Sync + 'static>(daemon: Daemon<S>) -> Served<S> {
    let bound: Bound<S> = daemon.bind().await.unwrap();
    let (port, state, entrance) = (bound.port(), bound.state(), bound.entrance());
    let (end, ended) = oneshot::channel();
    let task = tokio::spawn(bound.serve(async { drop(ended.await) }));
    Served { port, state, entrance, end, task }
}

impl<S> Served<S> {
    /// Asks the daemon to end.
    pub(crate) fn end(self) -> JoinHandle<()> {
        drop(self.end);
        self.task
    }
}
