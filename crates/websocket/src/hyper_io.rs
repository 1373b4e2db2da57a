use std::{
    io,
    io::IoSlice,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes};
use hyper::rt::{Read, ReadBufCursor, Timer, Write};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use crate::{Pace, io::Io};

/// A stream as hyper wants it.
pub(crate) struct HyperIo {
    io: Io,
    /// What comes before all that is read.
    read: Bytes,
    pace: Pace,
    /// What the client has not taken at once.
    slow: Option<Slow>,
    has_left: Arc<HasLeft>,
}

/// Whether all has left that hyper has written: it may end a connection before that.
#[derive(Debug)]
pub(crate) struct HasLeft(AtomicBool);

/// Since when a client takes an answer, and how much it has.
struct Slow {
    since: Instant,
    bytes: usize,
    deadline: Pin<Box<Sleep>>,
}

/// Time as hyper wants it.
pub(crate) struct Clock;

/// A wait as hyper wants it.
struct Nap(Pin<Box<Sleep>>);

impl HyperIo {
    pub(crate) fn new(io: Io, read: Bytes, pace: Pace) -> Self {
        let has_left = Arc::new(HasLeft(AtomicBool::new(true)));
        Self { io, read, pace, slow: None, has_left }
    }

    pub(crate) fn has_left(&self) -> Arc<HasLeft> {
        Arc::clone(&self.has_left)
    }

    /// The stream; `None` if some of what was read before is left, which is never so once hyper has
    /// read a request.
    pub(crate) fn into_inner(self) -> Option<Io> {
        self.read.is_empty().then_some(self.io)
    }

    /// Writes or flushes; an error if the client takes its time for too long.
    fn poll_in_time<T>(
        &mut self,
        cx: &mut Context<'_>,
        poll: impl FnOnce(&mut Io, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let polled = poll(&mut self.io, cx);
        self.has_left.0.store(polled.is_ready(), Relaxed);
        if polled.is_ready() {
            return polled;
        }
        let pace = self.pace;
        let slow = self.slow.get_or_insert_with(|| Slow::new(pace));
        let deadline = slow.since + pace.time_for(slow.bytes);
        if slow.deadline.deadline() != deadline {
            slow.deadline.as_mut().reset(deadline);
        }
        ready!(slow.deadline.as_mut().poll(cx));
        self.has_left.0.store(true, Relaxed);
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    fn poll_write_slices(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(self.poll_in_time(cx, |io, cx| io.poll_write(cx, slices)))?;
        if let Some(slow) = &mut self.slow {
            slow.bytes += written;
        }
        Poll::Ready(Ok(written))
    }
}

impl HasLeft {
    pub(crate) fn is_so(&self) -> bool {
        self.0.load(Relaxed)
    }
}

impl Slow {
    fn new(pace: Pace) -> Self {
        let since = Instant::now();
        Self { since, bytes: 0, deadline: Box::pin(sleep_until(since + pace.patience)) }
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
        self.poll_write_slices(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_slices(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Hyper flushes when it has written all.
        ready!(self.poll_in_time(cx, Io::poll_flush))?;
        self.slow = None;
        Poll::Ready(Ok(()))
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
