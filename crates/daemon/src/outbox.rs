use std::{
    cell::Cell,
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
};

use common_tcp::{Failure, Limits, encode, in_one_line};
use serde_json::json;

use crate::{EventWriter, Source, Stream};

/// What is to be pushed to one guest: a bounded queue for each of its streams.
///
/// Whoever has something to say appends to it; the guest's task alone writes to the socket. A
/// stream whose queue is full is ended as `lagged`, and what waited in it is dropped: the guest
/// learns how much it missed. A stream with a [`Source`] has its queue there.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    packets: usize,
    bytes: usize,
    state: Mutex<State>,
    /// Whether a stream is ready, for who asks often and is mostly told that none is.
    has_news: AtomicBool,
    /// Whether there has been a stream: most guests never have one.
    is_used: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    streams: BTreeMap<u64, Queue>,
    /// Streams that have something to send, in the order in which they got it.
    ready: VecDeque<u64>,
    /// How many bytes wait in all streams together.
    bytes: usize,
    /// How many did when the guest's task asked last.
    noted: usize,
    last_id: u64,
    waker: Option<Waker>,
    /// No stream may start any more: the guest is gone, or the daemon ends.
    closed: bool,
}

#[derive(Debug, Default)]
struct Queue {
    tag: Option<String>,
    /// The reply that starts the stream has been written; before it nothing may be sent.
    open: bool,
    bytes: Vec<u8>,
    packets: u64,
    seq: u64,
    end: Option<serde_json::Value>,
    /// Where the events come from that do not wait here.
    source: Option<Arc<dyn Source>>,
    /// The source may have something.
    is_awake: bool,
    /// It is among those that are ready.
    is_ready: bool,
    waiter: Waiter,
}

/// A source that is to be asked, and what its events need.
struct Drawn {
    source: Arc<dyn Source>,
    tag: Option<String>,
    /// Of the last event.
    seq: u64,
}

/// Who waits for the end of a stream: woken when it is dropped, at the latest with the stream.
#[derive(Debug, Default)]
struct Waiter(Option<Waker>);

impl Drop for Waiter {
    fn drop(&mut self) {
        if let Some(waker) = self.0.take() {
            waker.wake();
        }
    }
}

thread_local! {
    static TOLD: Cell<u64> = const { Cell::new(0) };
}

/// How often this thread has given somebody something to send.
pub(crate) fn told() -> u64 {
    TOLD.get()
}

/// Streams of one guest at once.
const STREAMS: usize = 64;

/// What a stream costs at least, with what its daemon keeps of it.
const STREAM_BYTES: usize = 512;

impl Outbox {
    pub(crate) fn new(limits: &Limits) -> Self {
        let (packets, bytes) = (limits.stream_packets, limits.stream_bytes);
        Self { packets, bytes, ..Self::default() }
    }

    /// Makes a stream, which sends nothing before it is opened.
    pub(crate) fn start(&self, tag: Option<&str>) -> Result<u64, Failure> {
        let mut state = self.lock();
        if state.closed {
            return Err(Failure::new("shutting-down", "no stream starts any more"));
        }
        if state.streams.len() >= STREAMS {
            let message = format!("{STREAMS} streams run on this connection already");
            return Err(Failure::new("busy", message).with("limit", STREAMS));
        }
        if state.streams.values().any(|queue| queue.tag.as_deref() == tag) {
            return Err(Failure::new("conflict", "a stream with this tag runs already"));
        }
        self.is_used.store(true, Relaxed);
        state.last_id += 1;
        let id = state.last_id;
        state.streams.insert(id, Queue { tag: tag.map(str::to_owned), ..Queue::default() });
        Ok(id)
    }

    /// Lets the streams of `tag` send, now that the reply is written.
    pub(crate) fn open(&self, tag: Option<&str>) {
        let mut state = self.lock();
        let found = state.streams.iter_mut().find(|(_, it)| !it.open && it.tag.as_deref() == tag);
        if let Some((&id, queue)) = found {
            queue.open = true;
            // By who asks what is ready.
            self.has_news.fetch_or(state.make_ready(id), Relaxed);
        }
    }

    /// Forgets a stream of `tag` that was not opened, since its command failed.
    pub(crate) fn abandon(&self, tag: Option<&str>) {
        let mut state = self.lock();
        state.forget(|queue| !queue.open && queue.tag.as_deref() == tag);
    }

    /// Appends an event; false if the stream has ended, or ends by this. Not for one that has a
    /// source: only the guest's task gives numbers to the events of that.
    pub(crate) fn emit(&self, id: u64, topic: &str, payload: &str) -> bool {
        let mut state = self.lock();
        let State { streams, bytes, .. } = &mut *state;
        let Some(queue) = streams.get_mut(&id).filter(|queue| queue.end.is_none()) else {
            return false;
        };
        *bytes += queue.event(topic, payload);
        let lags = queue.packets > self.packets as u64 || *bytes > self.bytes;
        if lags {
            *bytes -= queue.lag();
        }
        let is_much = state.bytes >= state.noted + Stream::UNWEIGHED_BYTES;
        if !self.has_more(&mut state, id) && is_much {
            state.wake();
        }
        !lags
    }

    /// Ends a stream; what waits in it is sent first.
    pub(crate) fn end(&self, id: u64, reason: &str) -> bool {
        self.end_with(id, json!({ "reason": reason }))
    }

    /// Ends a stream, saying `why`; what waits in it is sent first.
    pub(crate) fn end_with(&self, id: u64, why: serde_json::Value) -> bool {
        let mut state = self.lock();
        let Some(queue) = state.streams.get_mut(&id).filter(|queue| queue.end.is_none()) else {
            return false;
        };
        queue.finish(why);
        self.has_more(&mut state, id);
        true
    }

    /// Has a stream ask `source` for what comes.
    pub(crate) fn draw_from(&self, id: u64, source: Arc<dyn Source>) {
        if let Some(queue) = self.lock().streams.get_mut(&id) {
            queue.source = Some(source);
        }
    }

    /// Says that the source of a stream has something.
    pub(crate) fn wake_stream(&self, id: u64) {
        let mut state = self.lock();
        if let Some(queue) = state.streams.get_mut(&id) {
            queue.is_awake = true;
            self.has_more(&mut state, id);
        }
    }

    /// Waits for the end of a stream; the last one who waits is woken.
    pub(crate) fn poll_ended(&self, id: u64, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        let Some(queue) = state.streams.get_mut(&id).filter(|queue| queue.end.is_none()) else {
            return Poll::Ready(());
        };
        queue.waiter = Waiter(Some(cx.waker().clone()));
        Poll::Pending
    }

    /// Forgets a stream that was not opened.
    pub(crate) fn decline(&self, id: u64) {
        let mut state = self.lock();
        if let Some(queue) = state.streams.get(&id).filter(|queue| !queue.open) {
            state.bytes -= queue.bytes.len();
            state.streams.remove(&id);
        }
    }

    /// Ends the stream of `tag`; false if there is none.
    pub(crate) fn cancel(&self, tag: Option<&str>) -> bool {
        let state = self.lock();
        let mut running = state.streams.iter().filter(|(_, queue)| queue.end.is_none());
        let found = running.find(|(_, queue)| queue.tag.as_deref() == tag).map(|(&id, _)| id);
        drop(state);
        found.is_some_and(|id| self.end(id, "cancelled"))
    }

    /// Ends all streams and lets none start.
    pub(crate) fn close(&self, reason: &str) {
        let mut state = self.lock();
        state.closed = true;
        let ids: Vec<u64> = state.streams.keys().copied().collect();
        drop(state);
        for id in ids {
            self.end(id, reason);
        }
    }

    /// How much is kept for the guest: its streams, and what waits in them. For its task, which is
    /// woken when much more waits than this.
    pub(crate) fn held_bytes(&self) -> usize {
        if !self.is_used.load(Relaxed) {
            return 0;
        }
        let mut state = self.lock();
        state.noted = state.bytes;
        let here = state.bytes + state.streams.len() * STREAM_BYTES;
        // In one that sleeps nothing waits.
        let awake = state.streams.values().filter(|it| it.is_awake);
        let sources: Vec<_> = awake.filter_map(|it| it.source.clone()).collect();
        // A source may be asked for something while it puts something into a stream.
        drop(state);
        here + sources.iter().map(|it| it.held_bytes()).sum::<usize>()
    }

    /// How much waits in a stream, beside what its source has.
    pub(crate) fn queued_bytes(&self, id: u64) -> usize {
        self.lock().streams.get(&id).map_or(0, |queue| queue.bytes.len())
    }

    /// Whether a stream still runs.
    pub(crate) fn is_running(&self, id: u64) -> bool {
        self.lock().streams.get(&id).is_some_and(|queue| queue.end.is_none())
    }

    /// Drops everything: the guest is gone.
    pub(crate) fn clear(&self) {
        let mut state = self.lock();
        *state = State { closed: true, ..State::default() };
    }

    /// Remembers whom to wake when there is something to send.
    pub(crate) fn listen(&self, waker: &Waker) {
        self.lock().waker = Some(waker.clone());
    }

    /// Whether there is something to send. Whoever puts something in wakes the one who listens.
    pub(crate) fn has_news(&self) -> bool {
        self.has_news.load(Relaxed)
    }

    /// Moves what is to be sent to `out` until that has `enough` bytes; true if some is left.
    pub(crate) fn take(&self, out: &mut Vec<u8>, enough: usize) -> bool {
        let mut state = self.lock();
        while out.len() < enough
            && let Some(id) = state.ready.pop_front()
        {
            state = self.send(state, id, out, enough);
        }
        let is_left = !state.ready.is_empty();
        self.has_news.store(is_left, Relaxed);
        is_left
    }

    /// Moves what streams that have ended have left to `out`, so that each has its `end` before
    /// another one of the same tag begins.
    pub(crate) fn take_ended(&self, out: &mut Vec<u8>) {
        let mut state = self.lock();
        let has_ended = |it: &Queue| it.open && it.end.is_some();
        let ended = |state: &State| state.streams.iter().find(|it| has_ended(it.1)).map(|it| *it.0);
        while let Some(id) = ended(&state) {
            state.ready.retain(|it| *it != id);
            state = self.send(state, id, out, usize::MAX);
        }
    }

    /// Moves what waits in a stream, and what its source has, to `out` until that has `enough`
    /// bytes; forgets the stream if that was the last.
    ///
    /// The source is asked while nothing is locked: it may be locked by somebody who is about to
    /// wake the stream.
    fn send<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        id: u64,
        out: &mut Vec<u8>,
        enough: usize,
    ) -> MutexGuard<'a, State> {
        while let Some(drawn) = state.begin_sending(id, out) {
            drop(state);
            let (before, tag) = (out.len(), drawn.tag.as_deref());
            let mut events = EventWriter::new(out, tag, drawn.seq, enough.max(before + 1));
            drawn.source.fill(&mut events);
            let (seq, is_full) = (events.seq(), events.is_full());
            state = self.lock();
            let Some(queue) = state.streams.get_mut(&id) else { return state };
            queue.seq = seq;
            queue.is_awake |= is_full;
            if is_full && out.len() >= enough {
                state.make_ready(id);
                return state;
            }
        }
        state
    }

    /// Has a stream that has something sent; whether that was not known yet.
    fn has_more(&self, state: &mut State, id: u64) -> bool {
        let is_news = state.make_ready(id);
        if is_news {
            TOLD.set(TOLD.get() + 1);
            self.has_news.store(true, Relaxed);
            state.wake();
        }
        is_news
    }

    /// Wakes the guest's task.
    pub(crate) fn wake(&self) {
        self.lock().wake();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }

    /// Puts a stream among those that are ready; false if it may not send, or is there already.
    fn make_ready(&mut self, id: u64) -> bool {
        let Some(queue) = self.streams.get_mut(&id) else { return false };
        if !queue.open || queue.is_ready || !queue.has_something() {
            return false;
        }
        queue.is_ready = true;
        self.ready.push_back(id);
        true
    }

    /// Moves what waits in a stream to `out`. Then its source is to be asked, if there is one that
    /// may have something; else, if the stream has ended, it is forgotten.
    fn begin_sending(&mut self, id: u64, out: &mut Vec<u8>) -> Option<Drawn> {
        let queue = self.streams.get_mut(&id)?;
        queue.is_ready = false;
        self.bytes -= queue.bytes.len();
        out.append(&mut queue.bytes);
        queue.packets = 0;
        if std::mem::take(&mut queue.is_awake)
            && let Some(source) = queue.source.clone()
        {
            return Some(Drawn { source, tag: queue.tag.clone(), seq: queue.seq });
        }
        if let Some(end) = &queue.end {
            encode(out, "end", queue.tag.as_deref(), &[end]).expect("a JSON value is JSON");
            self.streams.remove(&id);
        }
        None
    }

    fn forget(&mut self, which: impl Fn(&Queue) -> bool) {
        let bytes = &mut self.bytes;
        self.streams.retain(|_, queue| {
            let stays = !which(queue);
            *bytes -= if stays { 0 } else { queue.bytes.len() };
            stays
        });
    }
}

impl Queue {
    fn has_something(&self) -> bool {
        self.packets > 0 || self.is_awake || self.end.is_some()
    }

    /// Appends an event; how many bytes it has.
    fn event(&mut self, topic: &str, payload: &str) -> usize {
        self.packets += 1;
        let before = self.bytes.len();
        let mut events =
            EventWriter::new(&mut self.bytes, self.tag.as_deref(), self.seq, usize::MAX);
        events.push(topic, payload);
        self.seq = events.seq();
        let written = self.bytes.len() - before;
        // What others wrote may have several lines; the last one ends the packet.
        in_one_line(&mut self.bytes[before..before + written - 1]);
        written
    }

    /// Ends it; what waits in it is sent first.
    fn finish(&mut self, end: serde_json::Value) {
        self.end = Some(end);
        self.waiter = Waiter::default();
    }

    /// Ends it without what waits in it; how many bytes that were.
    fn lag(&mut self) -> usize {
        self.finish(json!({ "reason": "lagged", "missed": self.packets }));
        std::mem::take(&mut self.bytes).len()
    }
}
