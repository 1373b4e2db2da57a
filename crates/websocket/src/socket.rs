use std::{
    fmt,
    future::poll_fn,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
};

use crate::{
    End, Fault, Found, Sender, SocketLimits,
    code::INTERNAL,
    decoder::Decoder,
    house::House,
    io::Io,
    outbox::Outbox,
    places::Place,
    turn::{Turn, Wait},
};

/// A WebSocket, for the one task that reads it; others send through its [`Sender`].
///
/// Whoever drops it closes it: what was sent still leaves, then comes the closing handshake, and
/// nobody has to wait for that. Nothing is read, written or answered, pings too, but while it is
/// polled: for longer work there is [`Socket::during`].
pub struct Socket(Option<Box<Wire>>);

/// A message of the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// Text.
    Text(&'a str),
    /// Bytes.
    Binary(&'a [u8]),
}

/// All that a WebSocket consists of.
pub(crate) struct Wire {
    pub(crate) io: Io,
    pub(crate) decoder: Decoder,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) house: Arc<House>,
    pub(crate) end: Option<End>,
    peer: Option<SocketAddr>,
    pause_bytes: usize,
    /// Begins with the first that is done after a wait.
    turn: Option<Turn>,
    /// The wait for another turn.
    waiting: Option<Wait>,
    is_parked: bool,
    _place: Place,
}

/// What was taken out of what has been read.
enum Step {
    Found(Found),
    /// Nothing that a handler sees, but perhaps the end.
    Control,
}

impl Socket {
    pub(crate) fn new(
        io: Io,
        read: &[u8],
        peer: Option<SocketAddr>,
        limits: SocketLimits,
        house: Arc<House>,
        place: Place,
    ) -> Self {
        let outbox = Arc::new(Outbox::new(limits, house.pulse.now()));
        house.pulse.enter(&outbox);
        if *house.ending.borrow() {
            // The others have been closed already.
            outbox.end(End::ByUs(house.limits.end_code), "");
        }
        let mut decoder = Decoder::new(limits.incoming);
        decoder.feed(read);
        Self(Some(Box::new(Wire {
            io,
            decoder,
            outbox,
            house,
            end: None,
            peer,
            pause_bytes: limits.pause_bytes.max(1),
            turn: None,
            waiting: None,
            is_parked: false,
            _place: place,
        })))
    }

    /// The next message; `None` when the connection is over, and [`Socket::end`] says why. Cancel
    /// safe: a dropped call loses nothing.
    ///
    /// What was sent leaves when there is no further message to return, all of it in one write.
    pub async fn read(&mut self) -> Option<Message<'_>> {
        let found = poll_fn(|cx| self.wire().poll_found(cx)).await;
        self.wire().message(found?)
    }

    /// As [`Socket::read`].
    pub fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Option<Message<'_>>> {
        let wire = self.wire();
        match ready!(wire.poll_found(cx)) {
            Some(found) => Poll::Ready(wire.message(found)),
            None => Poll::Ready(None),
        }
    }

    /// Waits for `work`, and sends meanwhile what is there to be sent. Nothing is read.
    pub async fn during<F: Future>(&mut self, work: F) -> F::Output {
        let mut work = pin!(work);
        poll_fn(|cx| {
            let done = work.as_mut().poll(cx);
            if done.is_pending() {
                // Others have their turn meanwhile.
                self.wire().turn = None;
                self.wire().only_write(cx);
            }
            done
        })
        .await
    }

    /// Waits until all is written that was sent, or the connection is over.
    pub async fn flush(&mut self) {
        poll_fn(|cx| {
            let wire = self.wire();
            if ready!(wire.outbox.poll_write(&mut wire.io, cx)).is_err() {
                wire.lose();
            }
            Poll::Ready(())
        })
        .await;
    }

    /// Sends to this peer, from anywhere.
    #[must_use]
    pub fn sender(&self) -> Sender {
        Sender(Arc::clone(&self.here().outbox))
    }

    /// Why [`Socket::read`] returned `None`.
    #[must_use]
    pub fn end(&self) -> Option<&End> {
        self.here().end.as_ref()
    }

    /// Where the peer is, if it came over the network.
    #[must_use]
    pub fn peer(&self) -> Option<SocketAddr> {
        self.here().peer
    }

    /// Sets other bounds from now on, for instance once the peer has logged in.
    pub fn set_limits(&mut self, limits: SocketLimits) {
        let wire = self.wire();
        wire.decoder.set_limits(limits.incoming);
        wire.pause_bytes = limits.pause_bytes.max(1);
        wire.outbox.set_limits(limits);
    }

    fn wire(&mut self) -> &mut Wire {
        self.0.as_mut().expect("only a drop takes it")
    }

    fn here(&self) -> &Wire {
        self.0.as_ref().expect("only a drop takes it")
    }
}

impl Wire {
    /// Reads, answers pings and writes until there is a message or nothing to do.
    fn poll_found(&mut self, cx: &mut Context<'_>) -> Poll<Option<Found>> {
        if std::mem::take(&mut self.is_parked) {
            self.outbox.unpark();
        }
        loop {
            if self.end.is_some() || self.outbox.has_ended() && self.must_stop() {
                return Poll::Ready(None);
            }
            if self.waiting.is_some() || self.turn().is_over() {
                ready!(self.poll_turn(cx));
                continue;
            }
            let may_take = self.outbox.queued_bytes() < self.pause_bytes;
            if may_take && let Some(step) = self.take_step() {
                match step {
                    Step::Found(found) => return Poll::Ready(Some(found)),
                    Step::Control => continue,
                }
            }
            let before = self.outbox.queued_bytes();
            let has_written_all = self.write(cx);
            if self.end.is_some() {
                continue;
            }
            if !may_take && self.outbox.queued_bytes() < before {
                // Who takes what it is sent is there, though nothing is read from it now.
                self.outbox.hear(self.house.pulse.now());
                continue;
            }
            if self.outbox.has_ended() {
                self.stop();
                continue;
            }
            if may_take && self.read(cx) {
                continue;
            }
            if self.outbox.park(cx, has_written_all, true) {
                self.is_parked = true;
                return Poll::Pending;
            }
        }
    }

    /// Takes the next of what has been read already.
    fn take_step(&mut self) -> Option<Step> {
        match self.decoder.next()? {
            Ok(found @ (Found::Text | Found::Binary)) => return Some(Step::Found(found)),
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

    /// The message that was found; a text that is none is the end.
    fn message(&mut self, found: Found) -> Option<Message<'_>> {
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

    /// Reads once; false if there is nothing yet.
    fn read(&mut self, cx: &mut Context<'_>) -> bool {
        let most = self.turn().most_read();
        let Self { io, decoder, .. } = self;
        match io.poll_read(cx, most, |bytes| decoder.feed(bytes)) {
            Poll::Pending => {
                self.turn = None;
                return false;
            }
            Poll::Ready(Ok(1..)) => self.outbox.hear(self.house.pulse.now()),
            Poll::Ready(Ok(0) | Err(_)) => self.lose(),
        }
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

    /// Writes, and is woken when there is more.
    fn only_write(&mut self, cx: &mut Context<'_>) {
        self.is_parked = true;
        while self.end.is_none() {
            let has_written_all = self.write(cx);
            if self.outbox.has_ended() || self.outbox.park(cx, has_written_all, false) {
                break;
            }
        }
    }

    fn turn(&mut self) -> Turn {
        *self.turn.get_or_insert_with(Turn::sprint)
    }

    /// Lets others have their turn; what was answered so far leaves before.
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.waiting.is_none() {
            self.write(cx);
        }
        let lane = &self.house.lane;
        ready!(Pin::new(self.waiting.get_or_insert_with(|| lane.enter())).poll(cx));
        self.waiting = None;
        self.turn = Some(Turn::full());
        Poll::Ready(())
    }

    /// Whether the end that somebody else declared is one at once: who is closed by us has asked
    /// before, and is answered first.
    fn must_stop(&mut self) -> bool {
        let is_urgent = matches!(self.outbox.ended(), Some((End::Slow | End::Silent, _)));
        if is_urgent {
            self.stop();
        }
        is_urgent
    }

    fn stop(&mut self) {
        self.end = self.outbox.ended().map(|(end, _)| end);
    }

    fn lose(&mut self) {
        self.end.get_or_insert(End::Lost);
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let Some(mut wire) = self.0.take() else { return };
        let by_us = if std::thread::panicking() { INTERNAL } else { crate::code::NORMAL };
        let end = wire.end.get_or_insert(End::ByUs(by_us)).clone();
        // Whoever still has a sender must know; what was said before stands.
        wire.outbox.end(end, "");
        Arc::clone(&wire.house).part(wire);
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wire = self.here();
        f.debug_struct("Socket").field("io", &wire.io).field("end", &wire.end).finish()
    }
}
