use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

use crate::{
    End, Fault, Found, Link, Message, Pace, SocketLimits,
    answer::Terms,
    decoder::Decoder,
    io::Io,
    outbox::{Known, Outbox},
    places::Place,
    shared::Shared,
    turn::{Turn, Wait},
    unfinished::Share,
};

/// All that a WebSocket consists of.
pub(crate) struct Wire {
    pub(crate) io: Io,
    pub(crate) decoder: Decoder,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) end: Option<End>,
    pub(crate) link: Link,
    pause_bytes: usize,
    pace: Pace,
    /// Begins with the first that is done after a wait.
    turn: Option<Turn>,
    /// The wait for another turn.
    waiting: Option<Wait>,
    /// A message that is not complete.
    incoming: Option<Incoming>,
    share: Share,
    /// Runs while there is something that the peer must do in time.
    deadline: Option<Pin<Box<Sleep>>>,
    is_parked: bool,
    _place: Place,
}

/// The wait for the rest of a message. Only the time counts in which nothing else was done.
#[derive(Clone, Copy, Debug, Default)]
struct Incoming {
    waited: Duration,
    parked: Option<Instant>,
}

/// The wait for all to be written that was sent before.
#[derive(Debug)]
pub(crate) struct Flushing {
    last: u64,
    deadline: Instant,
}

/// What was taken out of what has been read.
enum Step {
    Found(Found),
    /// Nothing that a handler sees, but perhaps the end.
    Control,
}

impl Wire {
    pub(crate) fn new(
        io: Io,
        read: &[u8],
        link: Link,
        Terms { limits, ping }: Terms,
        shared: Arc<Shared>,
        place: Place,
    ) -> Self {
        let common = shared.limits();
        let queued = Arc::clone(&shared.queued);
        let outbox = Outbox::new(limits, ping, &shared.heartbeat, common.closing, queued);
        let outbox = Arc::new(outbox);
        shared.heartbeat.enter(&outbox);
        if *shared.ending.borrow() {
            // The others have been closed already.
            outbox.end(End::ByUs(common.end_code), "");
        }
        let mut decoder = Decoder::new(limits.incoming);
        decoder.feed(read);
        Self {
            io,
            decoder,
            outbox,
            shared,
            end: None,
            link,
            pause_bytes: limits.pause_bytes.max(1),
            pace: common.pace,
            turn: None,
            waiting: None,
            incoming: None,
            share: Share::default(),
            deadline: None,
            is_parked: false,
            _place: place,
        }
    }

    pub(crate) fn set_limits(&mut self, limits: SocketLimits) {
        self.decoder.set_limits(limits.incoming);
        self.pause_bytes = limits.pause_bytes.max(1);
        self.outbox.set_limits(limits);
    }

    /// Reads, answers pings and writes until there is a message or nothing to do.
    pub(crate) fn poll_found(&mut self, cx: &mut Context<'_>) -> Poll<Option<Found>> {
        self.unpark();
        loop {
            let has_ended = self.outbox.has_ended();
            if self.end.is_some() || has_ended && self.must_stop() {
                return Poll::Ready(None);
            }
            if self.waiting.is_some() || self.turn().is_over() {
                ready!(self.poll_turn(cx));
                continue;
            }
            let may_take = self.outbox.queued_bytes() < self.pause_bytes;
            if may_take && let Some(step) = self.take_step() {
                self.count_step();
                match step {
                    Step::Found(found) => return Poll::Ready(Some(found)),
                    Step::Control => continue,
                }
            }
            let before = self.outbox.queued_bytes();
            let has_written_all = self.write(cx);
            if self.end.is_some() || !may_take && self.outbox.queued_bytes() < before {
                continue;
            }
            if has_ended && may_take {
                // All that was read has been handed out.
                self.stop();
                continue;
            }
            if may_take && self.read(cx) {
                continue;
            }
            if self.poll_patience(cx, may_take, has_ended).is_ready() {
                continue;
            }
            if self.outbox.park(cx, true, Known { has_written_all, has_ended }) {
                self.park(may_take);
                return Poll::Pending;
            }
        }
    }

    /// The message that was found; a text that is none is the end.
    pub(crate) fn message(&mut self, found: Found) -> Option<Message<'_>> {
        let payload = self.decoder.payload();
        if found == Found::Binary {
            return Some(Message::Binary(payload));
        }
        match std::str::from_utf8(payload) {
            Ok(text) => Some(Message::Text(text)),
            Err(_) => {
                self.end = Some(End::Broken(Fault::NotUtf8));
                None
            }
        }
    }

    /// Writes, and is woken when there is more.
    pub(crate) fn only_write(&mut self, cx: &mut Context<'_>) {
        // Others have their turn meanwhile.
        self.turn = None;
        self.unpark();
        while !self.is_gone() {
            let has_written_all = self.write(cx);
            if self.outbox.park(cx, false, Known { has_written_all, has_ended: true }) {
                self.is_parked = true;
                break;
            }
        }
    }

    pub(crate) fn flushing(&self) -> Flushing {
        Flushing { last: self.outbox.last(), deadline: self.stuck_at() }
    }

    /// Ready when all is written that was sent before, or never will be.
    pub(crate) fn poll_flushed(
        &mut self,
        flushing: &mut Flushing,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        self.turn = None;
        self.unpark();
        loop {
            let has_ended = self.outbox.has_ended();
            if self.is_gone() || has_ended && self.must_stop() {
                return Poll::Ready(());
            }
            let before = self.outbox.queued_bytes();
            let has_written_all = self.write(cx);
            if self.outbox.is_past(flushing.last) {
                return Poll::Ready(());
            }
            if self.outbox.queued_bytes() < before {
                flushing.deadline = self.stuck_at();
            }
            if self.poll_deadline(flushing.deadline, cx).is_ready() {
                self.outbox.end(End::Slow, "what was sent is not read");
                self.end = Some(End::Slow);
                return Poll::Ready(());
            }
            if self.outbox.park(cx, false, Known { has_written_all, has_ended }) {
                self.is_parked = true;
                return Poll::Pending;
            }
        }
    }

    /// Takes the next of what has been read already.
    fn take_step(&mut self) -> Option<Step> {
        let Some(next) = self.decoder.next() else {
            let held = self.decoder.held_bytes();
            self.incoming = (held > 0).then(|| self.incoming.unwrap_or_default());
            self.shared.unfinished.note(&self.outbox, &mut self.share, held);
            return None;
        };
        match next {
            Ok(found @ (Found::Text | Found::Binary)) => {
                self.incoming = None;
                self.shared.unfinished.release(&mut self.share);
                return Some(Step::Found(found));
            }
            Ok(Found::Ping) => self.outbox.pong(self.decoder.payload()),
            Ok(Found::Pong) => {}
            Ok(Found::Close) => {
                self.end = Some(match self.decoder.close() {
                    Ok(close) => End::ByPeer(close.map(|(code, why)| (code, why.to_owned()))),
                    Err(fault) => End::Broken(fault),
                });
            }
            Err(fault) => self.end = Some(End::Broken(fault)),
        }
        Some(Step::Control)
    }

    /// Reads once; false if there is nothing yet.
    fn read(&mut self, cx: &mut Context<'_>) -> bool {
        let most = self.turn().most_read();
        let Self { io, decoder, .. } = self;
        match io.poll_read(cx, most, |bytes| decoder.feed(bytes)) {
            Poll::Pending => {
                self.turn = None;
                return false;
            }
            Poll::Ready(Ok(1..)) => self.outbox.hear(),
            Poll::Ready(Ok(0) | Err(_)) => self.lose(),
        }
        self.count_step();
        true
    }

    /// Writes what the kernel takes; whether that was all.
    fn write(&mut self, cx: &mut Context<'_>) -> bool {
        match self.outbox.poll_write(&mut self.io, cx) {
            Poll::Ready(Ok(())) => return true,
            Poll::Ready(Err(_)) => self.lose(),
            Poll::Pending => {}
        }
        false
    }

    fn turn(&mut self) -> Turn {
        *self.turn.get_or_insert_with(Turn::sprint)
    }

    fn count_step(&mut self) {
        if let Some(turn) = &mut self.turn {
            turn.count();
        }
    }

    /// Lets others have their turn; what was answered so far leaves before.
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.waiting.is_none() {
            self.write(cx);
        }
        let lane = &self.shared.lane;
        ready!(Pin::new(self.waiting.get_or_insert_with(|| lane.enter())).poll(cx));
        self.waiting = None;
        self.turn = Some(Turn::full());
        Poll::Ready(())
    }

    /// Ends a wait that the peer has let last too long: for the rest of a message, or for room to
    /// answer what it has asked before the end.
    fn poll_patience(
        &mut self,
        cx: &mut Context<'_>,
        is_reading: bool,
        has_ended: bool,
    ) -> Poll<()> {
        let deadline = match (has_ended, self.incoming) {
            (true, _) => self.outbox.ending().map(|it| it.until),
            (false, Some(incoming)) if is_reading => {
                let most = self.pace.time_for(self.decoder.held_bytes());
                Some(Instant::now() + most.saturating_sub(incoming.waited))
            }
            _ => None,
        };
        let Some(deadline) = deadline else {
            self.deadline = None;
            return Poll::Pending;
        };
        ready!(self.poll_deadline(deadline, cx));
        if !has_ended {
            self.end = Some(End::Stalled);
        }
        Poll::Ready(())
    }

    fn poll_deadline(&mut self, at: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if deadline.deadline() != at {
            deadline.as_mut().reset(at);
        }
        if Instant::now() < at {
            ready!(deadline.as_mut().poll(cx));
        }
        self.deadline = None;
        Poll::Ready(())
    }

    fn stuck_at(&self) -> Instant {
        Instant::now() + self.pace.patience
    }

    fn park(&mut self, is_reading: bool) {
        self.is_parked = true;
        if let Some(incoming) = self.incoming.as_mut().filter(|_| is_reading) {
            incoming.parked = Some(Instant::now());
        }
    }

    fn unpark(&mut self) {
        if std::mem::take(&mut self.is_parked) {
            self.outbox.unpark();
        }
        if let Some(incoming) = &mut self.incoming
            && let Some(parked) = incoming.parked.take()
        {
            incoming.waited += parked.elapsed();
        }
    }

    /// Whether the end that somebody else declared is one at once: who is closed by us has asked
    /// before, and is answered first, in some time.
    fn must_stop(&mut self) -> bool {
        let is_urgent =
            |it: &crate::outbox::Ending| it.end.is_sudden() || it.until <= Instant::now();
        let must_stop = self.outbox.ending().as_ref().is_some_and(is_urgent);
        if must_stop {
            self.stop();
        }
        must_stop
    }

    fn stop(&mut self) {
        self.end = self.outbox.ending().map(|it| it.end);
    }

    fn lose(&mut self) {
        self.end.get_or_insert(End::Lost);
    }

    fn is_gone(&self) -> bool {
        self.end.as_ref().is_some_and(End::is_sudden)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.shared.unfinished.release(&mut self.share);
        // Whoever still has a sender keeps nothing else.
        self.outbox.clear();
    }
}
