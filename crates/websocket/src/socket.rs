use std::{
    fmt,
    future::poll_fn,
    pin::pin,
    sync::Arc,
    task::{Context, Poll},
};

use crate::{
    End, Frame, Link, Sender, SocketLimits, answer::Terms, code, io::Io, places::Place,
    shared::Shared, wire::Wire,
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

impl Socket {
    pub(crate) fn new(
        io: Io,
        read: &[u8],
        link: Link,
        terms: Terms,
        shared: Arc<Shared>,
        place: Place,
    ) -> Self {
        Self(Some(Box::new(Wire::new(io, read, link, terms, shared, place))))
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
        match wire.poll_found(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(found) => Poll::Ready(found.and_then(|found| wire.message(found))),
        }
    }

    /// Waits for `work`, and sends meanwhile what is there to be sent. Nothing is read.
    pub async fn during<F: Future>(&mut self, work: F) -> F::Output {
        let mut work = pin!(work);
        poll_fn(|cx| {
            let done = work.as_mut().poll(cx);
            if done.is_pending() {
                self.wire().only_write(cx);
            }
            done
        })
        .await
    }

    /// Waits until all is written that was sent before, or the connection is over; that it is if
    /// the peer takes nothing for as long as [`Pace::patience`](crate::Pace::patience).
    pub async fn flush(&mut self) {
        let mut flushing = self.wire().flushing();
        poll_fn(|cx| self.wire().poll_flushed(&mut flushing, cx)).await;
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

    /// How the peer came in.
    #[must_use]
    pub fn link(&self) -> Link {
        self.here().link
    }

    /// Sets other bounds from now on, for instance once the peer has logged in.
    pub fn set_limits(&mut self, limits: SocketLimits) {
        self.wire().set_limits(limits);
    }

    fn wire(&mut self) -> &mut Wire {
        self.0.as_mut().expect("only a drop takes it")
    }

    fn here(&self) -> &Wire {
        self.0.as_ref().expect("only a drop takes it")
    }
}

impl Message<'_> {
    /// The same, to be sent.
    #[must_use]
    pub fn to_frame(self) -> Frame {
        match self {
            Self::Text(text) => Frame::text(text),
            Self::Binary(bytes) => Frame::binary(bytes),
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let Some(mut wire) = self.0.take() else { return };
        let by_us = if std::thread::panicking() { code::INTERNAL } else { code::NORMAL };
        let end = wire.end.get_or_insert(End::ByUs(by_us)).clone();
        // Whoever still has a sender must know; what was said before stands.
        wire.outbox.end_for_all(end);
        let shared = Arc::clone(&wire.shared);
        shared.heartbeat.leave(&wire.outbox);
        shared.close(wire);
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wire = self.here();
        f.debug_struct("Socket").field("io", &wire.io).field("end", &wire.end).finish()
    }
}
