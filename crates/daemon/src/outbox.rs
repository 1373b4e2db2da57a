use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    task::Waker,
};

use common_tcp::{Failure, Limits, encode, encode_with};
use serde_json::json;

/// What is to be pushed to one guest: a bounded queue for each of its streams.
///
/// Whoever has something to say appends to it; the guest's task alone writes to the socket. A stream whose
/// queue is full is ended as `lagged`, and what waited in it is dropped: the guest learns how much it missed.
#[derive(Debug)]
pub(crate) struct Outbox {
    packets: usize,
    bytes: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    streams: HashMap<u64, Queue>,
    /// Streams that have something to send, in the order in which they got it.
    ready: Vec<u64>,
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
}

impl Outbox {
    pub(crate) fn new(limits: &Limits) -> Self {
        let state = Mutex::default();
        Self { packets: limits.stream_packets, bytes: limits.stream_bytes, state }
    }

    /// Makes a stream, which sends nothing before it is opened.
    pub(crate) fn start(&self, tag: Option<&str>) -> Result<u64, Failure> {
        let mut state = self.lock();
        if state.closed {
            return Err(Failure::new("shutting-down", "no stream starts any more"));
        }
        if state.streams.values().any(|queue| queue.tag.as_deref() == tag) {
            return Err(Failure::new("conflict", "a stream with this tag runs already"));
        }
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
            if queue.has_something() {
                state.ready.push(id);
            }
        }
    }

    /// Forgets a stream of `tag` that was not opened, since its command failed.
    pub(crate) fn abandon(&self, tag: Option<&str>) {
        self.lock().streams.retain(|_, queue| queue.open || queue.tag.as_deref() != tag);
    }

    /// Appends an event; false if the stream has ended, or ends by this.
    pub(crate) fn emit(&self, id: u64, topic: &str, payload: &str) -> bool {
        let mut state = self.lock();
        let Some(queue) = state.streams.get_mut(&id).filter(|queue| queue.end.is_none()) else {
            return false;
        };
        let was_empty = !queue.has_something();
        queue.event(topic, payload);
        let lags = queue.packets > self.packets as u64 || queue.bytes.len() > self.bytes;
        if lags {
            queue.lag();
        }
        if was_empty && queue.open {
            state.wake(id);
        }
        !lags
    }

    /// Ends a stream; what waits in it is sent first.
    pub(crate) fn end(&self, id: u64, reason: &str) -> bool {
        let mut state = self.lock();
        let Some(queue) = state.streams.get_mut(&id).filter(|queue| queue.end.is_none()) else {
            return false;
        };
        let was_empty = !queue.has_something();
        queue.end = Some(json!({ "reason": reason }));
        if was_empty && queue.open {
            state.wake(id);
        }
        true
    }

    /// Forgets a stream that was not opened.
    pub(crate) fn decline(&self, id: u64) {
        let mut state = self.lock();
        if state.streams.get(&id).is_some_and(|queue| !queue.open) {
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

    /// Whether a stream still runs.
    pub(crate) fn is_running(&self, id: u64) -> bool {
        self.lock().streams.get(&id).is_some_and(|queue| queue.end.is_none())
    }

    /// Moves what is to be sent to `out`, and remembers whom to wake when there is more.
    pub(crate) fn take(&self, out: &mut Vec<u8>, waker: &Waker) {
        let mut state = self.lock();
        if !state.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            state.waker = Some(waker.clone());
        }
        for id in std::mem::take(&mut state.ready) {
            if state.streams.get_mut(&id).is_some_and(|queue| queue.send(out)) {
                state.streams.remove(&id);
            }
        }
    }

    /// Wakes the guest's task.
    pub(crate) fn wake(&self) {
        if let Some(waker) = &self.lock().waker {
            waker.wake_by_ref();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn wake(&mut self, id: u64) {
        self.ready.push(id);
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }
}

impl Queue {
    fn has_something(&self) -> bool {
        self.packets > 0 || self.end.is_some()
    }

    fn event(&mut self, topic: &str, payload: &str) {
        self.seq += 1;
        self.packets += 1;
        let seq = self.seq;
        let written = encode_with(&mut self.bytes, "event", self.tag.as_deref(), |out| {
            out.push(b'[');
            serde_json::to_writer(&mut *out, topic)?;
            out.push(b',');
            out.extend_from_slice(payload.as_bytes());
            out.push(b',');
            serde_json::to_writer(&mut *out, &seq)?;
            out.push(b']');
            Ok::<_, serde_json::Error>(())
        });
        written.expect("a string and a number are JSON");
    }

    fn lag(&mut self) {
        self.end = Some(json!({ "reason": "lagged", "missed": self.packets }));
        self.bytes = Vec::new();
    }

    /// Moves what waits to `out`; true if that was the last.
    fn send(&mut self, out: &mut Vec<u8>) -> bool {
        out.append(&mut self.bytes);
        self.packets = 0;
        let Some(end) = &self.end else { return false };
        encode(out, "end", self.tag.as_deref(), &[end]).expect("a JSON value is JSON");
        true
    }
}
