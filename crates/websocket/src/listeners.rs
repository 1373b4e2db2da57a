use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use rustix::io::Errno;
use tokio::{
    net::{TcpListener, TcpStream},
    time::{Sleep, sleep},
};

use crate::{
    Link,
    inbound::{Door, Inbound, Wrap},
    io::Kind,
};

/// Where a server listens.
#[derive(Default)]
pub(crate) struct Listeners {
    all: Vec<(TcpListener, Option<Arc<Wrap>>)>,
    next: usize,
    /// Runs after the kernel had no room for a connection.
    pause: Option<Pin<Box<Sleep>>>,
}

/// How long nobody is accepted after the kernel had no room for one, usually for want of
/// descriptors.
const PAUSE: Duration = Duration::from_millis(100);

impl Listeners {
    pub(crate) fn add(
        &mut self,
        listener: TcpListener,
        wrap: Option<Arc<Wrap>>,
    ) -> io::Result<SocketAddr> {
        let address = listener.local_addr()?;
        self.all.push((listener, wrap));
        Ok(address)
    }

    /// The next who connects.
    pub(crate) fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Inbound> {
        loop {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            match ready!(self.poll_any(cx)) {
                Ok(inbound) => return Poll::Ready(inbound),
                Err(error) if is_of_one_connection(&error) => {
                    // The next may fail as well: others have their turn first.
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    self.pause = Some(Box::pin(sleep(PAUSE)));
                }
            }
        }
    }

    /// Accepts from any, in turns.
    fn poll_any(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Inbound>> {
        for _ in 0..self.all.len() {
            self.next = (self.next + 1) % self.all.len();
            let (listener, wrap) = &self.all[self.next];
            if let Poll::Ready(accepted) = listener.poll_accept(cx) {
                let inbound = |(stream, peer)| inbound(stream, peer, wrap.as_ref());
                return Poll::Ready(accepted.map(inbound));
            }
        }
        Poll::Pending
    }
}

/// How `stream` came in, if nothing is around it.
pub(crate) fn link_of(stream: &TcpStream) -> Link {
    let (peer, local) = (stream.peer_addr().ok(), stream.local_addr().ok());
    Link { peer, local, is_secure: false }
}

/// Small messages leave at once.
pub(crate) fn hurry(stream: &TcpStream) {
    // It fails if the peer is gone, which will show.
    drop(stream.set_nodelay(true));
}

fn inbound(stream: TcpStream, peer: SocketAddr, wrap: Option<&Arc<Wrap>>) -> Inbound {
    hurry(&stream);
    let link = Link { peer: Some(peer), is_secure: wrap.is_some(), ..link_of(&stream) };
    let door = match wrap {
        None => Door::Open(Kind::Tcp(stream)),
        Some(wrap) => Door::Wrapped(stream, Arc::clone(wrap)),
    };
    Inbound { door, read: Bytes::new(), link }
}

/// Whether only the one who was to be accepted has failed: Linux tells of its network, of a peer
/// that has gone and of a firewall in this place (accept(2)).
fn is_of_one_connection(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(Errno::from_raw_os_error);
    code.is_some_and(|code| {
        [
            Errno::CONNABORTED,
            Errno::CONNRESET,
            Errno::PERM,
            Errno::PROTO,
            Errno::NETDOWN,
            Errno::NETUNREACH,
            Errno::NOPROTOOPT,
            Errno::HOSTDOWN,
            Errno::HOSTUNREACH,
            Errno::NONET,
            Errno::OPNOTSUPP,
            Errno::TIMEDOUT,
            Errno::INTR,
        ]
        .contains(&code)
    })
}

impl std::fmt::Debug for Listeners {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.all.iter().map(|(listener, _)| listener)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_concerns_all_makes_a_server_pause() {
        for (code, is_of_one) in [
            (Errno::CONNABORTED, true),
            (Errno::PERM, true),
            (Errno::MFILE, false),
            (Errno::NFILE, false),
            (Errno::NOBUFS, false),
            (Errno::NOMEM, false),
        ] {
            assert_eq!(is_of_one_connection(&code.into()), is_of_one, "{code:?}");
        }
    }
}
