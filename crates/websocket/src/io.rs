use std::{
    cell::RefCell,
    fmt, io,
    io::IoSlice,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use crate::traffic::Traffic;

/// What a connection runs over, TLS for instance.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for T {}

/// A connected stream, and who counts what passes.
pub(crate) struct Io {
    kind: Kind,
    traffic: Arc<Traffic>,
}

/// What it is: most are TCP, and cost no allocation and no call through a table.
pub(crate) enum Kind {
    Tcp(TcpStream),
    Other(Box<dyn Stream>),
}

/// What a thread reads into, whichever connection it is for: an idle one needs no buffer.
const SHARED_BYTES: usize = 64 << 10;

thread_local! {
    static SHARED: RefCell<Box<[u8]>> = RefCell::new(vec![0; SHARED_BYTES].into_boxed_slice());
}

impl Io {
    pub(crate) fn new(kind: Kind, traffic: Arc<Traffic>) -> Self {
        Self { kind, traffic }
    }

    /// Reads at most `most` bytes and gives them to `take`; 0 at the end of the stream.
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        most: usize,
        take: impl FnOnce(&[u8]),
    ) -> Poll<io::Result<usize>> {
        SHARED.with_borrow_mut(|shared| {
            let most = most.min(shared.len());
            let mut buffer = ReadBuf::new(&mut shared[..most]);
            ready!(match &mut self.kind {
                Kind::Tcp(stream) => Pin::new(stream).poll_read(cx, &mut buffer),
                Kind::Other(stream) => Pin::new(stream).poll_read(cx, &mut buffer),
            })?;
            let read = buffer.filled();
            self.traffic.read(read.len());
            take(read);
            Poll::Ready(Ok(read.len()))
        })
    }

    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(match &mut self.kind {
            Kind::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Kind::Other(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        });
        if let Ok(written) = written {
            self.traffic.written(written);
        }
        Poll::Ready(written)
    }

    /// Counts how long that has waited which was written first.
    pub(crate) fn note_wait(&self, time: Duration) {
        self.traffic.waited(time);
    }

    /// Passes on what the stream itself has kept.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.kind {
            Kind::Tcp(_) => Poll::Ready(Ok(())),
            Kind::Other(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    /// Ends our direction.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.kind {
            Kind::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Kind::Other(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

impl fmt::Debug for Io {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Tcp(stream) => stream.fmt(f),
            Kind::Other(_) => f.write_str("Other"),
        }
    }
}
