use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{Mutex, PoisonError},
    task::{Context, Poll},
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
}

impl Memory {
    /// Two ends that take `bytes` in each direction before who writes has to wait. The first is
    /// for who serves: beyond its other end is `peer`, wherever that came from.
    #[must_use]
    pub fn pair(bytes: usize, peer: Option<SocketAddr>) -> (Self, Self) {
        let (serving, calling) = duplex(bytes);
        let (of_serving, seen_by_calling) = mpsc::channel(1);
        let (of_calling, seen_by_serving) = mpsc::channel(1);
        (
            Self::new(serving, peer, of_serving, seen_by_serving),
            Self::new(calling, None, of_calling, seen_by_calling),
        )
    }

    fn new(
        stream: DuplexStream,
        peer: Option<SocketAddr>,
        own: mpsc::Sender<Infallible>,
        other: mpsc::Receiver<Infallible>,
    ) -> Self {
        Self { stream, peer, other: Mutex::new(other), _own: own }
    }

    /// Where the peer came from, if somebody knows.
    #[must_use]
    pub fn peer(&self) -> Option<SocketAddr> {
        self.peer
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
        Pin::new(&mut self.stream).poll_read(cx, buffer)
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
