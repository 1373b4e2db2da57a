use std::{
    io,
    io::IoSlice,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicBool, AtomicU64, AtomicUsize,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use crate::{
    End, Frame, Ping, Sent, SocketLimits,
    heartbeat::Heartbeat,
    io::Io,
    queue::{Queue, SLICES},
    queued::Queued,
};

/// What waits for one peer, for all who send to it and the one who writes.
#[derive(Debug)]
pub(crate) struct Outbox {
    /// By which the server knows it.
    pub(crate) id: u64,
    /// When to ask the peer whether it is there.
    pub(crate) ping: Option<Ping>,
    state: Mutex<State>,
    /// Whether `State::ending` is set, and what waits, for who looks often.
    has_ended: AtomicBool,
    queued_bytes: AtomicUsize,
    /// What waits for all.
    queued: Arc<Queued>,
    /// When the peer was heard last, in microseconds from `begin`.
    heard: AtomicU64,
    begin: Instant,
    closing: Duration,
    /// Nothing waits any more.
    drained: Notify,
    /// Somebody wants to know at once when the peer is heard; then it is, or it all has ended.
    is_awaited: AtomicBool,
    was_heard: Notify,
}

#[derive(Debug, Default)]
struct State {
    queue: Queue,
    /// How many questions have left since the peer was heard, and how often it was to be asked
    /// while one had not even left.
    lost_pings: u8,
    stuck_pings: u8,
    /// A question has left since the last look.
    was_asked: bool,
    heard_when_asked: u64,
    ending: Option<Ending>,
    /// Nothing is taken any more, not even replies.
    is_over: bool,
    waker: Option<Waker>,
    /// Whether the socket's task waits for something to do.
    is_parked: bool,
    /// Whether it would read what comes.
    is_listening: bool,
    /// The stream has taken what it was given, and may keep some of it.
    must_flush: bool,
    /// The stream took nothing when it was asked last; and it has taken something after that.
    is_blocked: bool,
    has_made_room: bool,
}

/// Why it ends, and how.
#[derive(Clone, Debug)]
pub(crate) struct Ending {
    pub(crate) end: End,
    /// What the peer is told of it.
    pub(crate) reason: String,
    /// Until then what was read may be answered.
    pub(crate) until: Instant,
}

impl Outbox {
    pub(crate) fn new(
        limits: SocketLimits,
        ping: Option<Ping>,
        heartbeat: &Heartbeat,
        closing: Duration,
        queued: Arc<Queued>,
    ) -> Self {
        Self {
            id: heartbeat.next_id(),
            ping,
            state: Mutex::new(State { queue: Queue::new(limits), ..State::default() }),
            has_ended: AtomicBool::new(false),
            queued_bytes: AtomicUsize::new(0),
            queued,
            heard: AtomicU64::new(heartbeat.now()),
            begin: heartbeat.begin(),
            closing,
            drained: Notify::new(),
            is_awaited: AtomicBool::new(false),
            was_heard: Notify::new(),
        }
    }

    pub(crate) fn set_limits(&self, limits: SocketLimits) {
        self.lock().queue.limits = limits;
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.has_ended.load(Acquire)
    }

    pub(crate) fn queued_bytes(&self) -> usize {
        self.queued_bytes.load(Relaxed)
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.lock().queue.dropped()
    }

    pub(crate) fn since(&self) -> Option<Instant> {
        self.lock().queue.since()
    }

    /// Why it ended, if it did.
    pub(crate) fn ending(&self) -> Option<Ending> {
        self.lock().ending.clone()
    }

    /// Ends it, unless it has ended before.
    pub(crate) fn end(&self, end: End, reason: &str) {
        let mut state = self.lock();
        if state.ending.is_none() {
            state.finish(end, reason, Instant::now() + self.closing);
            self.publish(state);
        }
    }

    /// As [`Outbox::end`], without what waits.
    pub(crate) fn abandon(&self, end: End, reason: &str) {
        self.lock().queue.drop_all();
        self.end(end, reason);
    }

    /// As [`Outbox::end`], and nobody is answered any more either.
    pub(crate) fn end_for_all(&self, end: End) {
        self.end(end, "");
        self.lock().is_over = true;
    }

    /// The connection is gone: nothing is kept for it, whoever still has a sender.
    pub(crate) fn clear(&self) {
        self.end_for_all(End::Lost);
        let mut state = self.lock();
        state.waker = None;
        state.queue.clear();
        state.must_flush = false;
        self.publish(state);
        self.drained.notify_waiters();
    }

    pub(crate) fn send(&self, frame: Frame, key: Option<u64>) -> Sent {
        let mut state = self.lock();
        if state.ending.is_some() {
            return Sent::Gone;
        }
        let sent = match state.queue.is_stale() {
            true => Sent::Gone,
            false => state.queue.offer(frame, key),
        };
        if sent == Sent::Gone {
            let until = Instant::now() + self.closing;
            state.finish(End::Slow, "what was sent is not read", until);
        }
        self.publish(state);
        sent
    }

    pub(crate) fn send_urgent(&self, frame: Frame) -> bool {
        let mut state = self.lock();
        let is_open = state.ending.is_none();
        if is_open {
            state.queue.urgent(frame);
            self.publish(state);
        }
        is_open
    }

    pub(crate) fn reply(&self, frame: Frame) -> bool {
        let mut state = self.lock();
        let is_taken = state.takes_replies();
        if is_taken {
            state.queue.reply(frame);
            self.publish(state);
        }
        is_taken
    }

    pub(crate) fn drop_pushes(&self) -> usize {
        let mut state = self.lock();
        let dropped = state.queue.drop_pushes();
        self.publish(state);
        dropped
    }

    /// Answers a ping before anything else.
    pub(crate) fn pong(&self, payload: &[u8]) {
        self.lock().queue.pong(payload);
    }

    pub(crate) fn hear(&self) {
        self.heard.store(self.begin.elapsed().as_micros() as u64, Relaxed);
        if self.is_awaited.load(Relaxed) {
            self.was_heard.notify_waiters();
        }
    }

    /// Waits until it has ended.
    pub(crate) async fn ended(&self) {
        loop {
            let mut was_heard = pin!(self.was_heard.notified());
            was_heard.as_mut().enable();
            if self.has_ended() {
                return;
            }
            was_heard.await;
        }
    }

    /// Asks the peer whether it is there, and waits until it is heard; false if the connection is
    /// over.
    pub(crate) async fn answer(&self) -> bool {
        let mut was_heard = pin!(self.was_heard.notified());
        was_heard.as_mut().enable();
        self.is_awaited.store(true, Relaxed);
        self.ping();
        if !self.has_ended() {
            was_heard.await;
        }
        !self.has_ended()
    }

    pub(crate) fn heard(&self) -> u64 {
        self.heard.load(Relaxed)
    }

    pub(crate) fn heard_at(&self) -> Instant {
        self.begin + Duration::from_micros(self.heard())
    }

    /// Asks the peer whether it is there.
    pub(crate) fn ping(&self) {
        let mut state = self.lock();
        state.queue.ask();
        self.publish(state);
    }

    /// Asks the peer whether it is there, or ends if it has not answered `most_lost` times. Not
    /// while the socket's task is at something else: then nobody could have heard an answer.
    pub(crate) fn ask(&self, most_lost: u8) {
        let mut state = self.lock();
        if state.is_parked && state.is_listening && state.ending.is_none() {
            let until = Instant::now() + self.closing;
            if let Some(end) = state.ask(self.heard(), most_lost) {
                state.finish(end, "", until);
            }
            self.publish(state);
        }
    }

    /// Notes whom to wake; false if there is something to do already: to write, or an end that the
    /// socket's task did not know when it looked.
    pub(crate) fn park(&self, cx: &Context<'_>, listens: bool, knows: Known) -> bool {
        let mut state = self.lock();
        let has_ended = state.ending.is_some() && !knows.has_ended;
        if has_ended || knows.has_written_all && state.queue.has_something() {
            return false;
        }
        if !state.waker.as_ref().is_some_and(|it| it.will_wake(cx.waker())) {
            state.waker = Some(cx.waker().clone());
        }
        (state.is_parked, state.is_listening) = (true, listens);
        true
    }

    /// The socket's task is at work: what is sent now, it will see.
    pub(crate) fn unpark(&self) {
        self.lock().is_parked = false;
    }

    /// Adds the last frame of a connection.
    pub(crate) fn close(&self, frame: Frame) {
        self.lock().queue.close(frame);
    }

    /// The number of the last frame that waits.
    pub(crate) fn last(&self) -> u64 {
        self.lock().queue.last()
    }

    /// Whether nothing is left of what was sent up to `number`.
    pub(crate) fn is_past(&self, number: u64) -> bool {
        let state = self.lock();
        state.queue.is_past(number) && !state.must_flush
    }

    pub(crate) async fn drained(&self) {
        loop {
            let mut drained = pin!(self.drained.notified());
            drained.as_mut().enable();
            if !self.lock().has_something() {
                return;
            }
            drained.await;
        }
    }

    /// Writes what waits, as much as possible at once.
    pub(crate) fn poll_write(&self, io: &mut Io, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.lock();
        let had_something = state.has_something();
        let written = state.poll_write(io, cx);
        if std::mem::take(&mut state.has_made_room) {
            // Somebody must have taken what was sent before.
            self.hear();
        }
        self.note_queued(&state);
        let is_drained = had_something && !state.has_something();
        drop(state);
        if is_drained {
            self.drained.notify_waiters();
        }
        written
    }

    /// Lets the others see what has changed, and wakes the socket's task if it waits.
    fn publish(&self, mut state: MutexGuard<'_, State>) {
        self.note_queued(&state);
        if state.ending.is_some() && !self.has_ended.swap(true, Release) {
            // Who waits for an answer waits no longer.
            self.was_heard.notify_waiters();
        }
        let waker = std::mem::take(&mut state.is_parked).then(|| state.waker.take()).flatten();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Lets others see how much waits. Only who has the lock does.
    fn note_queued(&self, state: &State) {
        let (before, now) = (self.queued_bytes.load(Relaxed), state.queue.bytes());
        if before != now {
            self.queued_bytes.store(now, Relaxed);
            self.queued.change(before, now);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the socket's task knew before it parks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    pub(crate) has_written_all: bool,
    pub(crate) has_ended: bool,
}

impl State {
    fn takes_replies(&self) -> bool {
        let may_answer = |it: &Ending| !it.end.is_sudden() && Instant::now() < it.until;
        !self.is_over && self.ending.as_ref().is_none_or(may_answer)
    }

    fn has_something(&self) -> bool {
        self.queue.has_something() || self.must_flush
    }

    /// Nothing more is taken; who does not read loses what waits, but for a frame that is begun.
    fn finish(&mut self, end: End, reason: &str, until: Instant) {
        if end.is_sudden() {
            self.queue.drop_all();
        }
        self.ending = Some(Ending { end, reason: reason.to_owned(), until });
    }

    /// Asks the peer, unless it was asked often enough.
    fn ask(&mut self, heard: u64, most_lost: u8) -> Option<End> {
        if std::mem::replace(&mut self.heard_when_asked, heard) != heard {
            (self.lost_pings, self.stuck_pings, self.was_asked) = (0, 0, false);
        }
        self.lost_pings += u8::from(std::mem::take(&mut self.was_asked));
        if self.lost_pings >= most_lost {
            return Some(End::Silent);
        }
        if !self.queue.ask() {
            // It takes nothing: who does is heard.
            self.stuck_pings += 1;
        }
        (self.stuck_pings >= most_lost).then_some(End::Slow)
    }

    fn poll_write(&mut self, io: &mut Io, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.queue.make_ready() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let count = self.queue.slices(&mut slices);
            let polled = io.poll_write(cx, &slices[..count]);
            self.has_made_room |= self.is_blocked && polled.is_ready();
            self.is_blocked = polled.is_pending();
            let written = ready!(polled)?;
            if let Some(since) = self.queue.next_since() {
                io.note_wait(since.elapsed());
            }
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.must_flush = true;
            self.was_asked |= self.queue.forget(written);
        }
        if self.must_flush {
            ready!(io.poll_flush(cx))?;
            self.must_flush = false;
        }
        Poll::Ready(Ok(()))
    }
}
