//! A server, and a client that sends any bytes.

use std::{future::Future, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex},
    net::TcpStream,
    sync::{
        mpsc::{UnboundedReceiver, unbounded_channel},
        oneshot,
    },
    task::JoinHandle,
    time::timeout,
};
use websocket::{
    Access, Answer, CloseCode, Control, DecoderLimits, End, Entrance, Limits, Link, Request, Rules,
    Sender, Server, Socket, SocketLimits, Stream,
};

/// How long anything may take that must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) const MASK: [u8; 4] = [1, 2, 3, 4];

/// A server that runs until it is told to end.
pub(crate) struct Lab {
    pub(crate) address: SocketAddr,
    pub(crate) access: Arc<Access>,
    pub(crate) entrance: Entrance,
    pub(crate) control: Control,
    end: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// A client that sends what it likes.
pub(crate) struct Raw<S = TcpStream> {
    pub(crate) stream: S,
}

impl Lab {
    pub(crate) async fn start<F>(
        limits: Limits,
        rules: Rules,
        handler: impl Fn(Request) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        Self::of(Server::new(limits, rules).unwrap(), handler).await
    }

    /// The same with what `server` is besides.
    pub(crate) async fn of<F>(
        mut server: Server,
        handler: impl Fn(Request) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        let address = server.listen(([127, 0, 0, 1], 0).into()).await.unwrap();
        let (access, entrance, control) = (server.access(), server.entrance(), server.control());
        let (end, requested) = oneshot::channel();
        let task = tokio::spawn(server.serve(handler, async move { drop(requested.await) }));
        Self { address, access, entrance, control, end, task }
    }

    /// A server that says back what it hears, and whoever wants to know why each socket ended.
    pub(crate) async fn echo(limits: Limits) -> (Self, UnboundedReceiver<End>) {
        let (ends, ended) = unbounded_channel();
        let handler = move |_: Request| {
            let ends = ends.clone();
            async move {
                Answer::accept(async move |mut socket: Socket| {
                    echo(&mut socket).await;
                    drop(ends.send(socket.end().unwrap().clone()));
                })
            }
        };
        (Self::start(limits, Rules::default(), handler).await, ended)
    }

    /// A server whose every socket is served by `serve`.
    pub(crate) async fn serving<F>(
        limits: Limits,
        serve: impl Fn(Socket) -> F + Clone + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let handler = move |_: Request| {
            let serve = serve.clone();
            async move { Answer::accept(serve) }
        };
        Self::start(limits, Rules::default(), handler).await
    }

    /// A server that hands out the senders of its sockets, reads, and asks nobody by itself.
    pub(crate) async fn senders() -> (Self, UnboundedReceiver<Sender>) {
        let (senders, sender) = unbounded_channel();
        let lab =
            Self::serving(Limits { ping: None, ..Limits::default() }, move |mut socket: Socket| {
                let senders = senders.clone();
                async move {
                    senders.send(socket.sender()).unwrap();
                    while socket.read().await.is_some() {}
                }
            })
            .await;
        (lab, sender)
    }

    pub(crate) async fn connect(&self) -> Raw {
        let stream = TcpStream::connect(self.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Raw { stream }
    }

    /// A client that is past the handshake.
    pub(crate) async fn open(&self) -> Raw {
        let mut raw = self.connect().await;
        raw.shake_hands().await;
        raw
    }

    /// The same over `server_side` and what leads to it.
    pub(crate) async fn open_over(
        &self,
        server_side: impl Stream,
        stream: DuplexStream,
    ) -> Raw<DuplexStream> {
        assert!(self.entrance.admit(server_side, b"", Link::default()).await);
        let mut raw = Raw { stream };
        raw.shake_hands().await;
        raw
    }

    /// Lets in a client over memory, who is said to come in by `link`.
    pub(crate) async fn admit(&self, link: Link) -> Raw<DuplexStream> {
        let (server, stream) = duplex(1 << 10);
        assert!(self.entrance.admit(server, b"", link).await);
        Raw { stream }
    }

    /// Sends `bytes` and reads until the server ends the connection.
    pub(crate) async fn ask(&self, bytes: impl AsRef<[u8]>) -> String {
        let mut raw = self.connect().await;
        raw.send(bytes.as_ref()).await;
        raw.read_to_end().await
    }

    /// Asks the server to end; it ends when what is returned does.
    pub(crate) fn end(self) -> impl Future<Output = ()> {
        self.end.send(()).unwrap();
        async { patiently(self.task).await.unwrap() }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Raw<S> {
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        patiently(self.stream.write_all(bytes)).await.unwrap();
    }

    pub(crate) async fn shake_hands(&mut self) {
        self.send(handshake("/", "").as_bytes()).await;
        let head = self.read_head().await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    }

    pub(crate) async fn read_head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(patiently(self.stream.read_u8()).await.unwrap());
        }
        String::from_utf8(head).unwrap()
    }

    /// The first byte and the payload of the next frame; `None` at the end of the stream.
    pub(crate) async fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let first = patiently(self.stream.read_u8()).await.ok()?;
        let length = match patiently(self.stream.read_u8()).await.unwrap() {
            126 => patiently(self.stream.read_u16()).await.unwrap().into(),
            127 => patiently(self.stream.read_u64()).await.unwrap() as usize,
            short => usize::from(short),
        };
        let mut payload = vec![0; length];
        patiently(self.stream.read_exact(&mut payload)).await.unwrap();
        Some((first, payload))
    }

    pub(crate) async fn read_to_end(&mut self) -> String {
        let mut read = Vec::new();
        patiently(self.stream.read_to_end(&mut read)).await.unwrap();
        String::from_utf8_lossy(&read).into_owned()
    }

    /// Whether the server closes with `code` next, and then ends the connection.
    pub(crate) async fn is_closed_with(&mut self, code: CloseCode) {
        let (first, payload) = self.frame().await.expect("a close before the end");
        assert_eq!((first, &payload[..2]), (0x88, &code.get().to_be_bytes()[..]));
    }
}

pub(crate) async fn echo(socket: &mut Socket) {
    let sender = socket.sender();
    while let Some(message) = socket.read().await {
        sender.reply(message.to_frame());
    }
}

pub(crate) fn handshake(target: &str, headers: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
    )
}

/// A frame as a client sends it, its first byte as it is.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut wire = vec![first];
    match payload.len() {
        length @ 0..=125 => wire.push(0x80 | length as u8),
        length @ 126..=0xFFFF => {
            wire.push(0x80 | 126);
            wire.extend((length as u16).to_be_bytes());
        }
        length => {
            wire.push(0x80 | 127);
            wire.extend((length as u64).to_be_bytes());
        }
    }
    wire.extend(MASK);
    wire.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    wire
}

/// Limits with messages of at most so many bytes.
pub(crate) fn messages_of(message_bytes: usize) -> Limits {
    let incoming = DecoderLimits { message_bytes, fragments: 8 };
    Limits { socket: SocketLimits { incoming, ..SocketLimits::default() }, ..Limits::default() }
}

/// Waits until `holds`.
pub(crate) async fn eventually(holds: impl Fn() -> bool) {
    patiently(async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

pub(crate) async fn patiently<F: Future>(future: F) -> F::Output {
    timeout(PATIENCE, future).await.expect("it happens before patience ends")
}
