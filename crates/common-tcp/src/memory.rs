use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex},
    sync::mpsc,
};

/// One end of a connection within this process, for guests who came by another door.
#[derive(Debug)]
pub struct Memory {
    stream: DuplexStream,
    peer: Option<SocketAddr>,
    /// Nothing is ever sent: it ends when the other end is dropped.
    other: Mutex<mpsc::Receiver<Infallible>>,
    _own: mpsc::Sender<Infallible>,
    kept: Arc<Kept>,
    serves: bool,
}

/// What the calling end keeps of what it has read, because its own peer does not take it.
#[derive(Debug, Default)]
struct Kept(Mutex<KeptBytes>);

#[derive(Debug, Default)]
struct KeptBytes {
    bytes: usize,
    /// How many there were when who serves was woken last.
    told: usize,
    waker: Option<Waker>,
}

/// Who serves is woken when so much more or less is kept.
const STEP: usize = 16 << 10;

impl Memory {
    /// Two ends that take `bytes` in each direction before who writes has to wait. The first is
    /// for who serves: beyond its other end is `peer`, wherever that came from.
    #[must_use]
    pub fn pair(bytes: usize, peer: Option<SocketAddr>) -> (Self, Self) {
        let (serving, calling) = duplex(bytes);
        let (of_serving, seen_by_calling) = mpsc::channel(1);
        let (of_calling, seen_by_serving) = mpsc::channel(1);
        let kept = Arc::<Kept>::default();
        let end = |stream, peer, own, other, serves| Self {
            stream,
            peer,
            other: Mutex::new(other),
            _own: own,
            kept: Arc::clone(&kept),
            serves,
        };
        (
            end(serving, peer, of_serving, seen_by_serving, true),
            end(calling, None, of_calling, seen_by_calling, false),
        )
    }

    /// Where the peer came from, if somebody knows.
    #[must_use]
    pub fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// Says how many bytes the calling end keeps of what it has read: who serves counts them as
    /// unread.
    pub(crate) fn keep(&self, bytes: usize) {
        let mut kept = self.kept();
        kept.bytes = bytes;
        let is_news = kept.told.abs_diff(bytes) >= STEP || bytes == 0 && kept.told > 0;
        if !is_news {
            return;
        }
        kept.told = bytes;
        let waker = kept.waker.take();
        drop(kept);
        waker.into_iter().for_each(Waker::wake);
    }

    /// How many that are.
    pub(crate) fn kept_bytes(&self) -> usize {
        self.kept().bytes
    }

    fn kept(&self) -> MutexGuard<'_, KeptBytes> {
        self.kept.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the other end is dropped; that it has ended its own direction is no sign of
    /// that.
    pub(crate) fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut other = self.other.lock().unwrap_or_else(PoisonError::into_inner);
        other.poll_recv(cx).map(|_| ())
    }
}

impl AsyncRead for Memory {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if self.serves && polled.is_pending() {
            self.kept().waker = Some(cx.waker().clone());
        }
        polled
    }
}

impl AsyncWrite for Memory {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
