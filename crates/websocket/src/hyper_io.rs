use std::{
    io,
    io::IoSlice,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes};
use hyper::rt::{Read, ReadBufCursor, Timer, Write};
use tokio::time::{Sleep, sleep, sleep_until};

use crate::io::Io;

/// A stream as hyper wants it.
pub(crate) struct HyperIo {
    io: Io,
    /// What comes before all that is read.
    read: Bytes,
    /// Runs while the client takes nothing.
    stuck: Option<Pin<Box<Sleep>>>,
}

/// Time as hyper wants it.
pub(crate) struct Clock;

/// A wait as hyper wants it.
struct Nap(Pin<Box<Sleep>>);

/// How long a client may leave an answer unread.
const STUCK: Duration = Duration::from_secs(10);

impl HyperIo {
    pub(crate) fn new(io: Io, read: Bytes) -> Self {
        Self { io, read, stuck: None }
    }

    /// The stream; `None` if some of what was read before is left, which is never so once hyper has
    /// read a request.
    pub(crate) fn into_inner(self) -> Option<Io> {
        self.read.is_empty().then_some(self.io)
    }

    fn poll_unless_stuck<T>(
        &mut self,
        cx: &mut Context<'_>,
        poll: impl FnOnce(&mut Io, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let polled = poll(&mut self.io, cx);
        if polled.is_ready() {
            self.stuck = None;
            return polled;
        }
        ready!(self.stuck.get_or_insert_with(|| Box::pin(sleep(STUCK))).as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl Read for HyperIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let most = cursor.remaining();
        if !self.read.is_empty() {
            let now = most.min(self.read.len());
            cursor.put_slice(&self.read[..now]);
            self.read.advance(now);
            return Poll::Ready(Ok(()));
        }
        ready!(self.io.poll_read(cx, most, |bytes| cursor.put_slice(bytes)))?;
        Poll::Ready(Ok(()))
    }
}

impl Write for HyperIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_unless_stuck(cx, |io, cx| io.poll_write(cx, &[IoSlice::new(bytes)]))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_unless_stuck(cx, |io, cx| io.poll_write(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io.poll_shutdown(cx)
    }
}

impl Timer for Clock {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn hyper::rt::Sleep>> {
        Box::pin(Nap(Box::pin(sleep(duration))))
    }

    #[expect(clippy::disallowed_types, reason = "hyper's own words")]
    fn sleep_until(&self, deadline: std::time::Instant) -> Pin<Box<dyn hyper::rt::Sleep>> {
        Box::pin(Nap(Box::pin(sleep_until(deadline.into()))))
    }

    #[expect(clippy::disallowed_types, reason = "hyper's own words")]
    fn now(&self) -> std::time::Instant {
        tokio::time::Instant::now().into_std()
    }
}

impl hyper::rt::Sleep for Nap {}

impl Future for Nap {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(cx)
    }
}
