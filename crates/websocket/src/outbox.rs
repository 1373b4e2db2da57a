use std::{
    collections::VecDeque,
    io,
    io::IoSlice,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicBool, AtomicU64, AtomicUsize,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    task::{Context, Poll, Waker, ready},
};

use crate::{
    End, Frame, Overflow, SocketLimits,
    frame::{PING, PONG},
    io::Io,
};

/// Sends to a WebSocket from anywhere. Clones send to the same.
#[derive(Clone, Debug)]
pub struct Sender(pub(crate) Arc<Outbox>);

/// What became of a message that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It waits, or replaces one that waited.
    Queued,
    /// The queue is full, and this message is not sent.
    Dropped,
    /// The connection is over, or has just been given up because its queue is full.
    Gone,
}

/// What waits for one peer.
#[derive(Debug)]
pub(crate) struct Outbox {
    queue: Mutex<Queue>,
    /// Whether `Queue::end` is set, and what `Queue::bytes` is, for who looks often.
    has_ended: AtomicBool,
    queued_bytes: AtomicUsize,
    /// When the peer was heard last, in milliseconds of the server's clock.
    heard: AtomicU64,
}

#[derive(Debug, Default)]
struct Queue {
    entries: VecDeque<Entry>,
    /// How much of the first is written.
    sent: usize,
    bytes: usize,
    dropped: u64,
    /// The answer to the last ping: earlier ones need none (RFC 6455, 5.5.3).
    pong: Option<Frame>,
    is_ping_due: bool,
    lost_pings: u8,
    heard_when_asked: u64,
    end: Option<(End, String)>,
    limits: SocketLimits,
    waker: Option<Waker>,
    /// Whether the socket's task waits for something to do.
    is_parked: bool,
    /// Whether it would read what comes.
    is_listening: bool,
}

#[derive(Debug)]
struct Entry {
    frame: Frame,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Message,
    Reply,
    Control,
}

/// So many frames leave in one write.
const SLICES: usize = 64;

/// So many places are kept for frames of an idle connection.
const KEPT_PLACES: usize = 8;

impl Sender {
    /// Sends what the peer has not asked for, within the bounds of its queue.
    ///
    /// It leaves together with whatever else is sent before the socket's task waits again.
    pub fn send(&self, frame: Frame) -> Sent {
        self.0.send(frame)
    }

    /// Sends what the peer has asked for, whatever waits already. As long as much waits the peer is
    /// not read, so it can't ask for more. False if the connection is over.
    pub fn reply(&self, frame: Frame) -> bool {
        self.0.reply(frame)
    }

    /// Closes, after what waits; nothing more is sent, and the socket gives no more messages.
    pub fn close(&self, code: u16, reason: &str) {
        self.0.end(End::ByUs(code), reason);
    }

    /// Whether nothing can be sent any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.has_ended()
    }

    /// How many bytes wait.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.0.queued_bytes()
    }

    /// How many messages were not sent because the queue was full.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.0.lock().dropped
    }
}

impl Outbox {
    pub(crate) fn new(limits: SocketLimits, now: u64) -> Self {
        Self {
            queue: Mutex::new(Queue { limits, ..Queue::default() }),
            has_ended: AtomicBool::new(false),
            queued_bytes: AtomicUsize::new(0),
            heard: AtomicU64::new(now),
        }
    }

    pub(crate) fn set_limits(&self, limits: SocketLimits) {
        self.lock().limits = limits;
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.has_ended.load(Acquire)
    }

    pub(crate) fn queued_bytes(&self) -> usize {
        self.queued_bytes.load(Relaxed)
    }

    /// Why it ended, if it did, and what the peer shall be told of that.
    pub(crate) fn ended(&self) -> Option<(End, String)> {
        self.lock().end.clone()
    }

    /// Ends it, unless it has ended before.
    pub(crate) fn end(&self, end: End, reason: &str) {
        let mut queue = self.lock();
        if queue.end.is_none() {
            queue.finish(end, reason);
            self.publish(queue);
        }
    }

    /// Answers a ping before anything else.
    pub(crate) fn pong(&self, payload: &[u8]) {
        self.lock().pong = Some(Frame::of(PONG, payload));
    }

    pub(crate) fn hear(&self, now: u64) {
        self.heard.store(now, Relaxed);
    }

    pub(crate) fn heard(&self) -> u64 {
        self.heard.load(Relaxed)
    }

    /// Asks the peer whether it is there, or ends if it has not answered `most_lost` times. Not
    /// while the socket's task is at something else: then nobody could have heard an answer.
    pub(crate) fn ask(&self, most_lost: u8) {
        let mut queue = self.lock();
        if !queue.is_parked || !queue.is_listening {
            return;
        }
        let heard = self.heard();
        if std::mem::replace(&mut queue.heard_when_asked, heard) != heard {
            queue.lost_pings = 0;
        }
        if queue.lost_pings >= most_lost {
            queue.finish(End::Silent, "");
        } else {
            queue.lost_pings += 1;
            queue.is_ping_due = true;
        }
        self.publish(queue);
    }

    /// Notes whom to wake; false if there is something to do already.
    pub(crate) fn park(&self, cx: &Context<'_>, has_written_all: bool, listens: bool) -> bool {
        let mut queue = self.lock();
        if queue.end.is_some() || has_written_all && queue.has_something() {
            return false;
        }
        if !queue.waker.as_ref().is_some_and(|it| it.will_wake(cx.waker())) {
            queue.waker = Some(cx.waker().clone());
        }
        (queue.is_parked, queue.is_listening) = (true, listens);
        true
    }

    /// The socket's task is at work: what is sent now, it will see.
    pub(crate) fn unpark(&self) {
        self.lock().is_parked = false;
    }

    /// Appends a control frame behind all, for the end of a connection.
    pub(crate) fn append(&self, frame: Frame) {
        self.lock().push(Kind::Control, frame);
    }

    /// Writes what waits, as much as possible at once.
    pub(crate) fn poll_write(&self, io: &mut Io, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut queue = self.lock();
        let mut has_written = false;
        while queue.make_ready() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let count = queue.slices(&mut slices);
            let written = ready!(io.poll_write(cx, &slices[..count]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            queue.forget(written);
            self.queued_bytes.store(queue.bytes, Relaxed);
            has_written = true;
        }
        drop(queue);
        if has_written { io.poll_flush(cx) } else { Poll::Ready(Ok(())) }
    }

    fn send(&self, frame: Frame) -> Sent {
        let mut queue = self.lock();
        if queue.end.is_some() {
            return Sent::Gone;
        }
        let sent = match (queue.is_full(), queue.limits.overflow) {
            (false, _) => Sent::Queued,
            (true, Overflow::DropNewest) => Sent::Dropped,
            (true, Overflow::DropOldest) if queue.drop_oldest() => Sent::Queued,
            (true, Overflow::DropOldest) => Sent::Dropped,
            (true, Overflow::Close) => Sent::Gone,
        };
        match sent {
            Sent::Queued => queue.push(Kind::Message, frame),
            Sent::Dropped => queue.dropped += 1,
            Sent::Gone => queue.finish(End::Slow, "what was sent is not read"),
        }
        self.publish(queue);
        sent
    }

    fn reply(&self, frame: Frame) -> bool {
        let mut queue = self.lock();
        if queue.end.is_some() {
            return false;
        }
        queue.push(Kind::Reply, frame);
        self.publish(queue);
        true
    }

    /// Lets the others see what has changed, and wakes the socket's task if it waits.
    fn publish(&self, mut queue: MutexGuard<'_, Queue>) {
        self.queued_bytes.store(queue.bytes, Relaxed);
        self.has_ended.store(queue.end.is_some(), Release);
        let waker = std::mem::take(&mut queue.is_parked).then(|| queue.waker.take()).flatten();
        drop(queue);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn is_full(&self) -> bool {
        self.bytes >= self.limits.queue_bytes || self.entries.len() >= self.limits.queue_messages
    }

    fn has_something(&self) -> bool {
        !self.entries.is_empty() || self.pong.is_some() || self.is_ping_due
    }

    fn push(&mut self, kind: Kind, frame: Frame) {
        self.bytes += frame.wire_bytes();
        self.entries.push_back(Entry { frame, kind });
    }

    /// Removes the oldest message of which nothing is written; false if there is none.
    fn drop_oldest(&mut self) -> bool {
        let begun = usize::from(self.sent > 0);
        let is_oldest = |entry: &Entry| entry.kind == Kind::Message;
        let oldest = self.entries.iter().skip(begun).position(is_oldest);
        let Some(entry) = oldest.and_then(|at| self.entries.remove(begun + at)) else {
            return false;
        };
        self.bytes -= entry.frame.wire_bytes();
        self.dropped += 1;
        true
    }

    /// Nothing more is taken; who does not read loses what waits, but for a frame that is begun.
    fn finish(&mut self, end: End, reason: &str) {
        if matches!(end, End::Slow | End::Silent | End::Lost) {
            self.entries.truncate(usize::from(self.sent > 0));
            self.entries.shrink_to_fit();
            self.bytes = self.entries.iter().map(|entry| entry.frame.wire_bytes()).sum();
        }
        self.end = Some((end, reason.to_owned()));
    }

    /// Puts control frames before all messages of which nothing is written; false if nothing waits.
    fn make_ready(&mut self) -> bool {
        let begun = usize::from(self.sent > 0);
        // One pong that waits is enough: a peer that does not read may ask for any number.
        let is_control = self.entries.get(begun).is_some_and(|it| it.kind == Kind::Control);
        if !is_control {
            let ping = std::mem::take(&mut self.is_ping_due).then(|| Frame::of(PING, &[]));
            for frame in self.pong.take().into_iter().chain(ping) {
                self.bytes += frame.wire_bytes();
                self.entries.insert(begun, Entry { frame, kind: Kind::Control });
            }
        }
        !self.entries.is_empty()
    }

    fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>; SLICES]) -> usize {
        let mut count = 0;
        for (slice, entry) in slices.iter_mut().zip(&self.entries) {
            let begin = if count == 0 { self.sent } else { 0 };
            *slice = IoSlice::new(&entry.frame.bytes()[begin..]);
            count += 1;
        }
        count
    }

    /// Removes what is written.
    fn forget(&mut self, written: usize) {
        self.sent += written;
        while let Some(first) = self.entries.front().map(|it| it.frame.wire_bytes())
            && self.sent >= first
        {
            self.sent -= first;
            self.bytes -= first;
            self.entries.pop_front();
        }
        if self.entries.is_empty() {
            self.entries.shrink_to(KEPT_PLACES);
        }
    }
}
