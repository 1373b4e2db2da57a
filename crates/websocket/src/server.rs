use std::{io, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc::{self, Receiver, UnboundedReceiver},
    task::JoinSet,
};

use crate::{
    Access, Answer, Counters, Limits, LimitsError, Link, Request, Rules, TurnedAway,
    acceptor::Acceptor,
    http::{Answering, Handler},
    inbound::{Door, Inbound, Wrap, Wrapping},
    io::{Kind, Stream},
    listeners::{Listeners, hurry, link_of},
    shared::Shared,
    turn::{Caller, Lane},
    wire::Wire,
};

/// HTTP and WebSocket on any number of addresses, with one set of bounds for all.
#[derive(Debug)]
pub struct Server {
    listeners: Listeners,
    shared: Arc<Shared>,
    closing: UnboundedReceiver<Box<Wire>>,
    caller: Caller,
    entrance: Entrance,
    entering: Receiver<Inbound>,
}

/// Lets in who has connected elsewhere, through TLS for instance, or on a port that serves another
/// protocol too. Clones lead into the same server.
#[derive(Clone, Debug)]
pub struct Entrance(mpsc::Sender<Inbound>);

/// What can be seen and changed while a server runs. Clones are for the same.
#[derive(Clone, Debug)]
pub struct Control(Arc<Shared>);

/// So many may stand in the entrance.
const ENTERING: usize = 64;

impl Server {
    /// A server that does not listen anywhere yet.
    ///
    /// # Errors
    /// If a limit makes no sense.
    pub fn new(limits: Limits, rules: Rules) -> Result<Self, LimitsError> {
        limits.check()?;
        let (closing_in, closing) = mpsc::unbounded_channel();
        let (entrance, entering) = mpsc::channel(ENTERING);
        let (lane, caller) = Lane::new();
        let shared = Arc::new(Shared::new(limits, rules, lane, closing_in));
        let entrance = Entrance(entrance);
        Ok(Self { listeners: Listeners::default(), shared, closing, caller, entrance, entering })
    }

    /// Listens on `address`, or on a free port of it if that is 0; where it listens then.
    ///
    /// # Errors
    /// What the kernel says.
    pub async fn listen(&mut self, address: SocketAddr) -> io::Result<SocketAddr> {
        self.listeners.add(TcpListener::bind(address).await?, None)
    }

    /// Listens on a socket that somebody else has opened; where that is.
    ///
    /// # Errors
    /// What the kernel says, for instance that it is none.
    pub fn inherit(&mut self, listener: std::net::TcpListener) -> io::Result<SocketAddr> {
        self.listeners.add(opened(listener)?, None)
    }

    /// As [`Server::inherit`], with `secure` between the connection and HTTP: the handshake of TLS.
    /// It has a place of the server and the time of [`Limits::handshake`]; what comes out of it
    /// counts as encrypted.
    ///
    /// # Errors
    /// What the kernel says, for instance that it is none.
    pub fn listen_with<S: Stream, F>(
        &mut self,
        listener: std::net::TcpListener,
        secure: impl Fn(TcpStream) -> F + Send + Sync + 'static,
    ) -> io::Result<SocketAddr>
    where
        F: Future<Output = io::Result<S>> + Send + 'static,
    {
        let wrap: Arc<Wrap> = Arc::new(move |stream| {
            let securing = secure(stream);
            Box::pin(async { Ok(Box::new(securing.await?) as Box<dyn Stream>) }) as Wrapping
        });
        self.listeners.add(opened(listener)?, Some(wrap))
    }

    /// Who may come in; may be changed while the server runs.
    #[must_use]
    pub fn access(&self) -> Arc<Access> {
        Arc::clone(&self.shared.access)
    }

    /// The way in for who has connected elsewhere.
    #[must_use]
    pub fn entrance(&self) -> Entrance {
        self.entrance.clone()
    }

    /// Has `listener` told of everybody who is turned away before a handler hears of it. That can
    /// be as often as somebody likes.
    pub fn on_turned_away(&mut self, listener: impl Fn(Link, &TurnedAway) + Send + Sync + 'static) {
        self.shared.turned_away.set(listener);
    }

    /// What can be seen and changed while the server runs.
    #[must_use]
    pub fn control(&self) -> Control {
        Control(Arc::clone(&self.shared))
    }

    /// Serves until `requested` is done; then accepts nobody, closes every WebSocket after what it
    /// was sent, each at a moment of its own within [`Limits::drain`], and returns when the last is
    /// gone, twice [`Limits::closing`] and a second after that time at most.
    pub async fn serve<F>(
        self,
        handler: impl Fn(Request) -> F + Send + Sync + 'static,
        requested: impl Future<Output = ()>,
    ) where
        F: Future<Output = Answer> + Send + 'static,
    {
        let handler: Arc<Handler> =
            Arc::new(move |request| Box::pin(handler(request)) as Answering);
        let Self { listeners, shared, closing, caller, entrance, entering } = self;
        drop(entrance);
        // A task of its own: it goes on while somebody is let in, and ends with this call.
        let mut calling = JoinSet::new();
        calling.spawn(caller.run());
        Acceptor::new(shared, handler, closing, entering).run(listeners, requested).await;
    }
}

impl Entrance {
    /// Lets in a connection of which `read` was read already; false if the server has ended.
    pub async fn admit(&self, stream: impl Stream, read: &[u8], link: Link) -> bool {
        self.enter(Kind::Other(Box::new(stream)), read, link).await
    }

    /// As [`Entrance::admit`], for TCP.
    pub async fn admit_tcp(&self, stream: TcpStream, read: &[u8]) -> bool {
        let link = link_of(&stream);
        hurry(&stream);
        self.enter(Kind::Tcp(stream), read, link).await
    }

    async fn enter(&self, kind: Kind, read: &[u8], link: Link) -> bool {
        let (door, read) = (Door::Open(kind), Bytes::copy_from_slice(read));
        self.0.send(Inbound { door, read, link }).await.is_ok()
    }
}

impl Control {
    /// Sets other limits: how many may connect, at once; all others for those who come from now on.
    ///
    /// # Errors
    /// If a limit makes no sense; then nothing has changed.
    pub fn set_limits(&self, limits: Limits) -> Result<(), LimitsError> {
        limits.check()?;
        self.0.set_limits(limits);
        Ok(())
    }

    /// How many connections there is room for: [`Limits::connections`], or fewer if this process
    /// may not open as many files.
    #[must_use]
    pub fn most_connections(&self) -> usize {
        self.0.places.most()
    }

    /// What the server has done so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.0.traffic.counters(self.0.places.taken())
    }

    /// How many bytes wait for all peers together, with what each message takes beside its own.
    /// What many share counts for each of them.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.0.queued.bytes()
    }

    /// Waits until there are at most so many. Cancel safe.
    pub async fn queued_at_most(&self, bytes: usize) {
        self.0.queued.at_most(bytes).await;
    }
}

fn opened(listener: std::net::TcpListener) -> io::Result<TcpListener> {
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}
