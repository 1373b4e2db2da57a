use std::{
    future::poll_fn,
    io,
    net::SocketAddr,
    pin::pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{
        mpsc::{self, Receiver, UnboundedReceiver},
        watch,
    },
    task::{JoinSet, yield_now},
    time::{sleep, timeout},
};

use crate::{
    Access, Answer, Limits, Link, Request, Rules,
    house::House,
    http::{Answering, Handler, Visitor, turn_away, visit},
    io::{Io, Stream},
    parting::part,
    places::Places,
    pulse::Pulse,
    turn::{Caller, Lane},
    wire::Wire,
};

/// HTTP and WebSocket on any number of addresses, with one set of bounds for all.
#[derive(Debug)]
pub struct Server {
    listeners: Vec<TcpListener>,
    house: Arc<House>,
    parting: UnboundedReceiver<Box<Wire>>,
    caller: Caller,
    entrance: Entrance,
    entering: Receiver<Entering>,
}

/// Lets in who has connected elsewhere, through TLS for instance, or on a port that serves another
/// protocol too. Clones lead into the same server.
#[derive(Clone, Debug)]
pub struct Entrance(mpsc::Sender<Entering>);

/// Somebody on the way in.
struct Entering(Visitor);

/// How long sockets and answers are given at the end, beside [`Limits::drain`].
const GRACE: Duration = Duration::from_secs(6);

/// So many are let in before those who are here have their turn.
const GROUP: u32 = 16;

/// How long nobody is accepted after the kernel had no room for one, usually for want of
/// descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// So many may stand in the entrance.
const ENTERING: usize = 64;

impl Server {
    /// A server that does not listen anywhere yet.
    #[must_use]
    pub fn new(limits: Limits, rules: Rules) -> Self {
        let (parting_in, parting) = mpsc::unbounded_channel();
        let (entrance, entering) = mpsc::channel(ENTERING);
        let (lane, caller) = Lane::new();
        let house = Arc::new(House {
            access: Arc::new(Access::new(rules)),
            places: Arc::new(Places::new(&limits)),
            pulse: Pulse::new(),
            lane,
            ending: watch::Sender::new(false),
            parting: parting_in,
            limits,
        });
        let entrance = Entrance(entrance);
        Self { listeners: Vec::new(), house, parting, caller, entrance, entering }
    }

    /// Listens on `address`, or on a free port of it if that is 0; where it listens then.
    ///
    /// # Errors
    /// What the kernel says.
    pub async fn listen(&mut self, address: SocketAddr) -> io::Result<SocketAddr> {
        self.add(TcpListener::bind(address).await?)
    }

    /// Listens on a socket that somebody else has opened; where that is.
    ///
    /// # Errors
    /// What the kernel says, for instance that it is none.
    pub fn inherit(&mut self, listener: std::net::TcpListener) -> io::Result<SocketAddr> {
        listener.set_nonblocking(true)?;
        self.add(TcpListener::from_std(listener)?)
    }

    /// Who may come in; may be changed while the server runs.
    #[must_use]
    pub fn access(&self) -> Arc<Access> {
        Arc::clone(&self.house.access)
    }

    /// The way in for who has connected elsewhere.
    #[must_use]
    pub fn entrance(&self) -> Entrance {
        self.entrance.clone()
    }

    /// Serves until `requested` is done; then accepts nobody, closes every WebSocket after what it
    /// was sent, each at a moment of its own within [`Limits::drain`], and returns when the last is
    /// gone, six seconds after that time at most.
    pub async fn serve<F>(
        self,
        handler: impl Fn(Request) -> F + Send + Sync + 'static,
        requested: impl Future<Output = ()>,
    ) where
        F: Future<Output = Answer> + Send + 'static,
    {
        let handler: Arc<Handler> =
            Arc::new(move |request| Box::pin(handler(request)) as Answering);
        let Self { listeners, house, parting, caller, entrance, entering } = self;
        drop(entrance);
        // A task of its own: it goes on while somebody is let in, and ends with this call.
        let mut calling = JoinSet::new();
        calling.spawn(caller.run());
        let reception = Reception { house, handler, parting, tasks: JoinSet::new() };
        reception.run(listeners, entering, requested).await;
    }

    fn add(&mut self, listener: TcpListener) -> io::Result<SocketAddr> {
        let address = listener.local_addr()?;
        self.listeners.push(listener);
        Ok(address)
    }
}

impl Entrance {
    /// Lets in a connection of which `read` was read already; false if the server has ended.
    pub async fn admit(&self, stream: impl Stream, read: &[u8], link: Link) -> bool {
        self.enter(Io::Other(Box::new(stream)), read, link).await
    }

    /// As [`Entrance::admit`], for TCP.
    pub async fn admit_tcp(&self, stream: TcpStream, read: &[u8]) -> bool {
        let link = link_of(&stream);
        // It fails if the peer is gone, which will show.
        drop(stream.set_nodelay(true));
        self.enter(Io::Tcp(stream), read, link).await
    }

    async fn enter(&self, io: Io, read: &[u8], link: Link) -> bool {
        let visitor = Visitor { io, read: Bytes::copy_from_slice(read), link };
        self.0.send(Entering(visitor)).await.is_ok()
    }
}

/// Lets people in, and sees to it that everything comes to an end.
struct Reception {
    house: Arc<House>,
    handler: Arc<Handler>,
    parting: UnboundedReceiver<Box<Wire>>,
    tasks: JoinSet<()>,
}

impl Reception {
    async fn run(
        mut self,
        listeners: Vec<TcpListener>,
        mut entering: Receiver<Entering>,
        requested: impl Future<Output = ()>,
    ) {
        let house = Arc::clone(&self.house);
        let (mut pulse, mut requested) = (pin!(house.pulse.run()), pin!(requested));
        let (mut come, mut next) = (0_u32, 0);
        loop {
            // What is kept is polled again; all else is cancel safe.
            tokio::select! {
                accepted = poll_fn(|cx| poll_accept(&listeners, &mut next, cx)) => {
                    match accepted {
                        Ok(visitor) => self.receive(visitor),
                        Err(error) => reject(&error).await,
                    }
                    come = come.wrapping_add(1);
                    if come.is_multiple_of(GROUP) {
                        yield_now().await;
                    }
                }
                Some(Entering(visitor)) = entering.recv() => self.receive(visitor),
                Some(wire) = self.parting.recv() => self.part(wire),
                Some(_) = self.tasks.join_next() => {}
                () = &mut pulse => {}
                () = &mut requested => break,
            }
        }
        drop((listeners, entering));
        self.end().await;
    }

    fn receive(&mut self, visitor: Visitor) {
        let house = Arc::clone(&self.house);
        match house.places.take(visitor.link.peer.map(|it| it.ip())) {
            Some(place) => {
                self.tasks.spawn(visit(visitor, place, house, Arc::clone(&self.handler)));
            }
            None => {
                if let Some(place) = house.places.take_for_turning_away() {
                    self.tasks.spawn(turn_away(visitor.io, house, place));
                }
            }
        }
    }

    fn part(&mut self, wire: Box<Wire>) {
        self.tasks.spawn(part(wire));
    }

    async fn end(mut self) {
        let house = Arc::clone(&self.house);
        house.ending.send_replace(true);
        let limits = &house.limits;
        let mut closing = pin!(house.pulse.close_all(limits.end_code, limits.drain));
        let mut has_closed = false;
        let gone = async {
            while !has_closed || !self.tasks.is_empty() || !self.parting.is_empty() {
                // What is kept is polled again; all else is cancel safe.
                tokio::select! {
                    () = &mut closing, if !has_closed => has_closed = true,
                    Some(wire) = self.parting.recv() => self.part(wire),
                    Some(_) = self.tasks.join_next() => {}
                }
            }
        };
        if timeout(limits.drain + GRACE, gone).await.is_err() {
            tracing::warn!("some connections were still busy at the end");
            self.tasks.shutdown().await;
        }
    }
}

/// Accepts from any of `listeners`, in turns.
fn poll_accept(
    listeners: &[TcpListener],
    next: &mut usize,
    cx: &mut Context<'_>,
) -> Poll<io::Result<Visitor>> {
    for _ in 0..listeners.len() {
        *next = (*next + 1) % listeners.len();
        if let Poll::Ready(accepted) = listeners[*next].poll_accept(cx) {
            return Poll::Ready(accepted.map(|(stream, peer)| {
                // It fails if the peer is gone, which will show.
                drop(stream.set_nodelay(true));
                let link = Link { peer: Some(peer), ..link_of(&stream) };
                Visitor { io: Io::Tcp(stream), read: Bytes::new(), link }
            }));
        }
    }
    Poll::Pending
}

fn link_of(stream: &TcpStream) -> Link {
    let (peer, local) = (stream.peer_addr().ok(), stream.local_addr().ok());
    Link { peer, local, is_secure: false }
}

async fn reject(error: &io::Error) {
    tracing::warn!(%error, "cannot accept a connection");
    sleep(PAUSE).await;
}

impl std::fmt::Debug for Entering {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Entering").field(&self.0.link.peer).finish()
    }
}
