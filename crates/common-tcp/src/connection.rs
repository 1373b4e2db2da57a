use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    io, mem,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use crate::{Decoder, Limits, Packet, Socket, Unreadable};

/// A socket with what was read and not yet decoded, and what was encoded and not yet written.
///
/// It holds next to no memory while nothing is under way: bytes are read through one buffer that
/// all connections of a thread share.
#[derive(Debug)]
pub struct Connection {
    socket: Socket,
    decoder: Decoder,
    unsent: Vec<u8>,
    sent: usize,
    written: u64,
}

/// What a thread reads into, whichever connection it is for.
const SHARED_BYTES: usize = 64 << 10;

/// What an idle connection keeps of its buffer for output.
const KEPT_BYTES: usize = 512;

thread_local! {
    static SHARED: RefCell<Box<[u8]>> = RefCell::new(vec![0; SHARED_BYTES].into_boxed_slice());

    /// Room for output, for the next connection that needs much.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

impl Connection {
    /// The serving end of a socket.
    #[must_use]
    pub fn of_server(socket: Socket, limits: &Limits) -> Self {
        Self::new(socket, Decoder::new(limits))
    }

    /// The calling end of a socket.
    #[must_use]
    pub fn of_client(socket: Socket, limits: &Limits) -> Self {
        Self::new(socket, Decoder::of_client(limits))
    }

    fn new(socket: Socket, decoder: Decoder) -> Self {
        Self { socket, decoder, unsent: Vec::new(), sent: 0, written: 0 }
    }

    /// The next packet of what has been read already.
    #[expect(clippy::should_implement_trait, reason = "a packet borrows from the connection")]
    pub fn next(&mut self) -> Option<Result<Packet<'_>, Unreadable>> {
        self.decoder.next()
    }

    /// The decoder of what is read.
    pub fn decoder(&mut self) -> &mut Decoder {
        &mut self.decoder
    }

    /// The decoder and the buffer of what is to be written, for who answers while it reads.
    pub fn halves(&mut self) -> (&mut Decoder, &mut Vec<u8>) {
        (&mut self.decoder, &mut self.unsent)
    }

    /// Makes room for much that will be written at once: all connections of a thread have it in
    /// turn, each until all of it is written.
    pub fn take_room(&mut self) {
        if self.unsent.is_empty() {
            let spare = SPARE.take();
            if spare.capacity() > self.unsent.capacity() {
                self.unsent = spare;
            }
        }
    }

    fn give_room_back(&mut self) {
        self.unsent.clear();
        self.sent = 0;
        if self.unsent.capacity() > KEPT_BYTES {
            let mut spare = mem::take(&mut self.unsent);
            spare.shrink_to(SHARED_BYTES);
            SPARE.set(spare);
        }
    }

    /// How many bytes wait to be written.
    #[must_use]
    pub fn unsent_bytes(&self) -> usize {
        self.unsent.len() - self.sent
    }

    /// Says how many bytes are kept here of what was read, for somebody who does not take them.
    pub fn keep(&self, bytes: usize) {
        self.socket.keep(bytes);
    }

    /// How many bytes the other end says that it keeps.
    #[must_use]
    pub fn kept_bytes(&self) -> usize {
        self.socket.kept_bytes()
    }

    /// Throws away what waits to be written: nobody is there to read it.
    pub fn forget_unsent(&mut self) {
        (self.unsent, self.sent) = (Vec::new(), 0);
    }

    /// How many bytes the kernel has taken so far.
    #[must_use]
    pub fn written_bytes(&self) -> u64 {
        self.written
    }

    /// The next packet, after reading as much as it takes; `None` at the end of the stream. Cancel
    /// safe: a dropped call loses nothing.
    ///
    /// # Errors
    /// What the socket says.
    pub async fn read(&mut self) -> io::Result<Option<Result<Packet<'_>, Unreadable>>> {
        while !self.decoder.has_next() {
            if poll_fn(|cx| self.poll_read(cx, usize::MAX)).await? == 0 {
                break;
            }
        }
        Ok(self.decoder.next())
    }

    /// Reads once into the decoder, `most` bytes at most; 0 at the end of the stream, which the
    /// decoder is told.
    ///
    /// # Errors
    /// What the socket says.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, most: usize) -> Poll<io::Result<usize>> {
        SHARED.with_borrow_mut(|shared| {
            let most = most.min(shared.len());
            let mut buffer = ReadBuf::new(&mut shared[..most]);
            ready!(Pin::new(&mut self.socket).poll_read(cx, &mut buffer))?;
            let read = buffer.filled();
            match read.len() {
                0 => self.decoder.end(),
                _ => self.decoder.feed(read),
            }
            Poll::Ready(Ok(read.len()))
        })
    }

    /// Reads and throws away; 0 at the end of the stream.
    ///
    /// # Errors
    /// What the socket says.
    pub fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        SHARED.with_borrow_mut(|shared| {
            let mut buffer = ReadBuf::new(shared);
            ready!(Pin::new(&mut self.socket).poll_read(cx, &mut buffer))?;
            Poll::Ready(Ok(buffer.filled().len()))
        })
    }

    /// Writes what waits.
    ///
    /// # Errors
    /// What the socket says.
    pub fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.unsent.len() {
            let unsent = &self.unsent[self.sent..];
            match Pin::new(&mut self.socket).poll_write(cx, unsent)? {
                Poll::Ready(written) => {
                    self.sent += written;
                    self.written += written as u64;
                }
                Poll::Pending => {
                    self.compact();
                    return Poll::Pending;
                }
            }
        }
        self.give_room_back();
        Poll::Ready(Ok(()))
    }

    /// Gives back the room of what is sent once it is the larger part: a peer that reads slowly may
    /// never let all be sent.
    fn compact(&mut self) {
        if self.sent > self.unsent.len() / 2 {
            self.unsent.drain(..self.sent);
            self.sent = 0;
            self.unsent.shrink_to(self.unsent.len() * 2);
        }
    }

    /// Waits until nothing can reach the peer any more, for who has nothing to write.
    pub fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.socket.poll_gone(cx)
    }

    /// Writes what waits. Cancel safe: what is left of it is written by the next call.
    ///
    /// # Errors
    /// What the socket says.
    pub async fn write(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_write(cx)).await
    }

    /// Says that nothing more will be written; the other direction stays open.
    ///
    /// # Errors
    /// What the socket says.
    pub async fn finish(&mut self) -> io::Result<()> {
        self.socket.shutdown().await
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::UnixStream,
    };

    use super::*;

    fn pair() -> (Connection, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Connection::of_server(Socket::Unix(ours), &Limits::default()), theirs)
    }

    #[tokio::test]
    async fn a_peer_that_never_takes_all_costs_no_more_than_what_it_leaves() {
        let (mut connection, mut peer) = pair();
        let mut taken = vec![0; 100_000];
        // What the kernel does not take stays here.
        connection.halves().1.extend(vec![b'x'; 1_000_000]);
        for _ in 0..1000 {
            connection.halves().1.extend(vec![b'x'; 100_000]);
            // Both are cancel safe enough here: what is written is written, and what is read is not
            // looked at.
            tokio::select! {
                _ = connection.write() => panic!("the peer leaves something"),
                read = peer.read_exact(&mut taken) => drop(read.unwrap()),
            }
        }
        assert!(connection.unsent_bytes() > 0);
        let held = connection.unsent.capacity();
        assert!(held < 8_000_000, "{held} bytes are held for {}", connection.unsent_bytes());
    }

    #[tokio::test]
    async fn an_idle_connection_holds_no_buffers() {
        let (mut connection, mut peer) = pair();
        peer.write_all(format!("echo [\"{}\"]\n", "x".repeat(50_000)).as_bytes()).await.unwrap();
        assert!(connection.read().await.unwrap().unwrap().is_ok());
        assert!(connection.next().is_none());
        connection.halves().1.extend(vec![b'x'; 50_000]);
        connection.write().await.unwrap();
        assert!(connection.unsent.capacity() <= KEPT_BYTES);
    }
}
