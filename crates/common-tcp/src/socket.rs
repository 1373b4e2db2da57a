use std::{
    io,
    net::IpAddr,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::{TcpStream, UnixStream},
};

use crate::{Address, Memory};

/// A connected socket, TCP or Unix, or what takes the place of one within a process.
#[derive(Debug)]
pub enum Socket {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over a Unix socket.
    Unix(UnixStream),
    /// Over nothing: both ends are here.
    Memory(Memory),
}

/// How long a peer may be silent before the kernel asks whether it is still there.
///
/// The kernel of a peer that has closed forgets its end after a minute, and answers by a reset from
/// then on. A question just before that would be in vain, and the next comes as long after it.
const KEEP_ALIVE: Duration = Duration::from_secs(70);

/// How often the kernel asks after that.
const ASK_AGAIN: Duration = Duration::from_secs(10);

/// `MSG_NOSIGNAL`, which is the same number on all machines that Linux runs on; elsewhere it is an
/// option of the socket, which tokio has set.
const NO_SIGNAL: i32 = if cfg!(target_os = "linux") { 0x4000 } else { 0 };

impl Socket {
    /// Connects to `address`.
    ///
    /// # Errors
    /// What the kernel says; nothing here waits longer than the kernel does.
    pub async fn connect(address: &Address) -> io::Result<Self> {
        match address {
            Address::Tcp(address) => Self::tcp(TcpStream::connect(address).await?),
            Address::Unix(path) => Ok(Self::Unix(UnixStream::connect(path).await?)),
        }
    }

    /// Takes over a TCP stream: no delay, keep-alive.
    ///
    /// # Errors
    /// What the kernel says to the two options, for instance because the peer is gone already.
    pub fn tcp(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        let keep_alive = TcpKeepalive::new().with_time(KEEP_ALIVE).with_interval(ASK_AGAIN);
        SockRef::from(&stream).set_tcp_keepalive(&keep_alive)?;
        Ok(Self::Tcp(stream))
    }

    /// The user at the other end of a Unix socket, as the kernel saw it connect.
    #[must_use]
    pub fn peer_uid(&self) -> Option<u32> {
        match self {
            Self::Tcp(_) | Self::Memory(_) => None,
            Self::Unix(stream) => stream.peer_cred().ok().map(|credentials| credentials.uid()),
        }
    }

    /// The address at the other end; a Unix socket has none.
    #[must_use]
    pub fn peer_address(&self) -> Option<IpAddr> {
        let address = match self {
            Self::Tcp(stream) => stream.peer_addr().ok(),
            Self::Unix(_) => None,
            Self::Memory(memory) => memory.peer(),
        };
        address.map(|it| it.ip().to_canonical())
    }

    /// Says how many bytes are kept here of what was read, for somebody who does not take them:
    /// within a process the other end counts them as unread.
    pub fn keep(&self, bytes: usize) {
        if let Self::Memory(memory) = self {
            memory.keep(bytes);
        }
    }

    /// How many bytes the other end says that it keeps.
    #[must_use]
    pub fn kept_bytes(&self) -> usize {
        match self {
            Self::Tcp(_) | Self::Unix(_) => 0,
            Self::Memory(memory) => memory.kept_bytes(),
        }
    }

    /// Waits until nothing can reach the peer any more: it has reset the connection, or its kernel
    /// no longer knows of it. That it has ended one direction is no sign of that.
    ///
    /// Takes the place of the task that waits to write, so it is for who has nothing to write. What
    /// has come and was not read stays.
    pub fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()> {
        if let Self::Memory(memory) = self {
            return memory.poll_gone(cx);
        }
        // Room is no news: it is forgotten unseen, and only what is new wakes again.
        if self.poll_write_ready(cx).is_ready() {
            self.forget_room();
        }
        // That the connection is over can't be forgotten.
        while self.poll_write_ready(cx).is_ready() {
            // To send nothing fails where to send something would.
            match self.send(&[]) {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Poll::Ready(()),
                _ => self.forget_room(),
            }
        }
        Poll::Pending
    }

    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => stream.poll_write_ready(cx),
            Self::Unix(stream) => stream.poll_write_ready(cx),
            Self::Memory(_) => Poll::Ready(Ok(())),
        }
    }

    /// Has the next wait for room begin anew.
    fn forget_room(&self) {
        let look = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
        // It says what it was told.
        drop(match self {
            Self::Tcp(stream) => stream.try_io(Interest::WRITABLE, look),
            Self::Unix(stream) => stream.try_io(Interest::WRITABLE, look),
            Self::Memory(_) => look(),
        });
    }

    /// Writes what the kernel takes, whatever is known of its room.
    fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => SockRef::from(stream).send_with_flags(bytes, NO_SIGNAL),
            Self::Unix(stream) => SockRef::from(stream).send_with_flags(bytes, NO_SIGNAL),
            Self::Memory(_) => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Memory(memory) => Pin::new(memory).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        // There is room almost always, and `poll_gone` forgets of it.
        match self.send(bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            sent => return Poll::Ready(sent),
        }
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Memory(memory) => Pin::new(memory).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Memory(memory) => Pin::new(memory).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::poll_fn,
        net::Ipv4Addr,
        sync::{
            Arc,
            atomic::{AtomicBool, Ordering::SeqCst},
        },
        task::Wake,
    };

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    async fn tcp_pair() -> (Socket, TcpStream) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let theirs = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (Socket::tcp(listener.accept().await.unwrap().0).unwrap(), theirs)
    }

    async fn is_gone(socket: &Socket) -> bool {
        poll_fn(|cx| Poll::Ready(socket.poll_gone(cx).is_ready())).await
    }

    #[tokio::test]
    async fn a_peer_is_gone_by_reset_or_by_the_end_of_its_unix_socket_and_not_by_half_of_it() {
        let (ours, mut theirs) = tcp_pair().await;
        theirs.write_all(b"unread").await.unwrap();
        theirs.shutdown().await.unwrap();
        assert!(!is_gone(&ours).await);
        SockRef::from(&theirs).set_linger(Some(Duration::ZERO)).unwrap();
        drop(theirs);
        poll_fn(|cx| ours.poll_gone(cx)).await;

        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let ours = Socket::Unix(ours);
        theirs.shutdown().await.unwrap();
        assert!(!is_gone(&ours).await);
        drop(theirs);
        poll_fn(|cx| ours.poll_gone(cx)).await;
    }

    #[tokio::test]
    async fn within_a_process_a_peer_is_gone_when_it_is_dropped() {
        let (ours, mut theirs) = Memory::pair(16, None);
        let ours = Socket::Memory(ours);
        theirs.shutdown().await.unwrap();
        assert!(!is_gone(&ours).await);
        drop(theirs);
        poll_fn(|cx| ours.poll_gone(cx)).await;
        assert!(is_gone(&ours).await);
    }

    #[tokio::test]
    async fn what_the_calling_end_keeps_is_known_and_news_to_the_serving_end() {
        let peer = "192.0.2.7:1".parse().unwrap();
        let (serving, calling) = Memory::pair(16, Some(peer));
        let (mut serving, calling) = (Socket::Memory(serving), Socket::Memory(calling));
        assert_eq!(serving.peer_address(), Some(peer.ip()));
        assert_eq!(calling.peer_address(), None);
        for bytes in [100_000, 0] {
            let news = Arc::<News>::default();
            let waker = Arc::clone(&news).into();
            let (mut byte, mut cx) = ([0], Context::from_waker(&waker));
            let read = Pin::new(&mut serving).poll_read(&mut cx, &mut ReadBuf::new(&mut byte));
            assert!(read.is_pending() && !news.0.load(SeqCst));
            calling.keep(bytes + 1);
            calling.keep(bytes);
            assert!(news.0.load(SeqCst));
            assert_eq!(serving.kept_bytes(), bytes);
        }
    }

    #[derive(Default)]
    struct News(AtomicBool);

    impl Wake for News {
        fn wake(self: Arc<Self>) {
            self.0.store(true, SeqCst);
        }
    }

    #[tokio::test]
    async fn who_was_watched_is_written_to_all_the_same() {
        let (mut ours, mut theirs) = tcp_pair().await;
        assert!(!is_gone(&ours).await);
        assert!(!is_gone(&ours).await);
        // More than the kernel takes at once, so that room must be waited for too.
        let sent = vec![b'x'; 20 << 20];
        let mut received = Vec::new();
        let write = async {
            ours.write_all(&sent).await.unwrap();
            ours.shutdown().await.unwrap();
        };
        let ((), read) = tokio::join!(write, theirs.read_to_end(&mut received));
        assert_eq!(read.unwrap(), sent.len());
    }
}
