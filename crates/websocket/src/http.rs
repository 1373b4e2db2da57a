use std::{
    convert::Infallible,
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use hyper::{
    Response, StatusCode,
    body::{Body, Frame, Incoming, SizeHint},
    header::{self, HeaderName, HeaderValue},
    server::conn::http1::Builder,
    service::service_fn,
};
use tokio::time::timeout;

use crate::{
    Answer, Limits, Link, Request, Socket, TurnedAway,
    answer::{Accept, Kind, Plain, Serve, Terms},
    closing::{LINGER, end_stream},
    guard::guarded,
    hyper_io::{Clock, HyperIo},
    inbound::Inbound,
    io::Io,
    places::Place,
    shared::Shared,
    upgrade::{NoUpgrade, first_subprotocol, only},
};

/// Answers requests.
pub(crate) type Handler = dyn Fn(Request) -> Answering + Send + Sync;

/// An answer that is under way.
pub(crate) type Answering = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// Serves a connection from its first byte to its last, as HTTP and perhaps as a WebSocket.
pub(crate) fn run_connection(
    inbound: Inbound,
    place: Place,
    shared: Arc<Shared>,
    handler: Arc<Handler>,
) -> impl Future<Output = ()> + Send {
    // Boxed, so that a WebSocket does not keep the room that HTTP takes.
    let http = Box::pin(run_http(inbound, place, shared, handler));
    async move {
        if let Some((serve, socket)) = http.await {
            serve(socket).await;
        }
    }
}

/// Serves a connection while it is HTTP; the WebSocket that it may have become.
async fn run_http(
    inbound: Inbound,
    place: Place,
    shared: Arc<Shared>,
    handler: Arc<Handler>,
) -> Option<(Serve, Socket)> {
    let link = inbound.link;
    // Many may come at once.
    shared.lane.come().await;
    let (mut io, read, accepted) = talk(inbound, Arc::clone(&shared), handler).await?;
    if let Some((serve, terms)) = accepted {
        return Some((serve, Socket::new(io, &read, link, terms, shared, place)));
    }
    drop(timeout(LINGER, end_stream(&mut io, &shared)).await);
    None
}

/// Tells a client why it can't come in.
pub(crate) async fn turn_away(inbound: Inbound, why: &str, shared: Arc<Shared>, _place: Place) {
    let text = format!(
        "HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\n\
         content-type: text/plain; charset=utf-8\r\ncontent-length: {}\r\n\r\n{why}",
        why.len()
    );
    let Some(mut io) = inbound.door.open(inbound.link, &shared).await else { return };
    let told = async {
        let mut left = text.as_bytes();
        while !left.is_empty() {
            let written = poll_fn(|cx| io.poll_write(cx, &[std::io::IoSlice::new(left)])).await?;
            if written == 0 {
                return Ok(());
            }
            left = &left[written..];
        }
        poll_fn(|cx| io.poll_flush(cx)).await?;
        end_stream(&mut io, &shared).await
    };
    drop(timeout(LINGER, told).await);
}

/// What is left of a connection once HTTP is over on it: the stream, what of it was read and not
/// used, and who serves the WebSocket that it may have become.
type Left = (Io, Bytes, Option<(Serve, Terms)>);

/// What the requests of one connection share.
struct Talk {
    link: Link,
    shared: Arc<Shared>,
    handler: Arc<Handler>,
    has_asked: AtomicBool,
    accepted: Mutex<Option<Accept>>,
}

async fn talk(inbound: Inbound, shared: Arc<Shared>, handler: Arc<Handler>) -> Option<Left> {
    let Inbound { door, read, link } = inbound;
    let limits = shared.limits();
    let io = HyperIo::new(door.open(link, &shared).await?, read, limits.pace);
    let has_left = io.has_left();
    let talk = Arc::new(Talk::new(link, shared, handler));
    let service = service_fn(|request| {
        let talk = Arc::clone(&talk);
        Box::pin(async move { Ok::<_, Infallible>(talk.respond(request).await) })
    });
    let mut connection = builder(&limits).serve_connection(io, service);
    let poll = |cx: &mut Context<'_>, is_ending: bool| {
        if is_ending {
            Pin::new(&mut connection).graceful_shutdown();
        }
        match connection.poll_without_shutdown(cx) {
            // Hyper is done when it has written all; the client may not have taken it yet.
            Poll::Ready(Ok(())) if !has_left.is_so() => Poll::Pending,
            polled => polled,
        }
    };
    let outcome = talk.last(poll).await?;
    let parts = connection.into_parts();
    let serve = talk.accepted(&limits).filter(|_| outcome.is_ok());
    Some((parts.io.into_inner()?, parts.read_buf, serve))
}

fn builder(limits: &Limits) -> Builder {
    let mut builder = Builder::new();
    builder
        .timer(Clock)
        .header_read_timeout(limits.handshake)
        .max_buf_size(limits.head_bytes)
        .half_close(true);
    builder
}

impl Talk {
    fn new(link: Link, shared: Arc<Shared>, handler: Arc<Handler>) -> Self {
        let (has_asked, accepted) = (AtomicBool::new(false), Mutex::default());
        Self { link, shared, handler, has_asked, accepted }
    }

    async fn respond(&self, request: hyper::Request<Incoming>) -> Response<Text> {
        self.has_asked.store(true, Relaxed);
        let response = match is_admitted(&request, &self.shared, self.link.is_secure) {
            true => {
                let request = Request::new(request, self.link, &self.shared);
                decide(request, &*self.handler, &self.accepted).await
            }
            false => {
                let header = |name| request.headers().get(name).map(HeaderValue::as_bytes);
                let why = TurnedAway::stranger(header(header::HOST), header(header::ORIGIN));
                self.shared.turned_away.tell(self.link, &why);
                refuse(403, "forbidden")
            }
        };
        self.shared.traffic.answered(response.status().as_u16());
        response
    }

    /// Polls the connection until it is over, and tells it when the server ends; `None` if nobody
    /// need be waited for then, as nothing was asked.
    async fn last<T>(&self, mut poll: impl FnMut(&mut Context<'_>, bool) -> Poll<T>) -> Option<T> {
        let mut ending = self.shared.ending.subscribe();
        let is_ending = async {
            // An error would mean that the server is gone.
            drop(ending.wait_for(|ending| *ending).await);
        };
        // Both may be dropped: what the connection has done stays done. What has come is read
        // first.
        tokio::select! {
            biased;
            outcome = poll_fn(|cx| poll(cx, false)) => return Some(outcome),
            () = is_ending => {}
        }
        if !self.has_asked.load(Relaxed) {
            return None;
        }
        Some(poll_fn(|cx| poll(cx, true)).await)
    }

    /// Who serves the WebSocket that was accepted, and what holds for it.
    fn accepted(&self, limits: &Limits) -> Option<(Serve, Terms)> {
        let accepted = self.accepted.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        let terms = Terms {
            limits: accepted.limits.unwrap_or(limits.socket),
            ping: accepted.ping.unwrap_or(limits.ping),
        };
        Some((accepted.serve, terms))
    }
}

/// Whether the host that is asked is us, and the page that asks one that may.
fn is_admitted(request: &hyper::Request<Incoming>, shared: &Shared, is_secure: bool) -> bool {
    let headers = request.headers();
    let Some(host) = only(headers, header::HOST) else { return false };
    let origin = match headers.contains_key(header::ORIGIN) {
        true => match only(headers, header::ORIGIN) {
            Some(origin) => Some(origin),
            None => return false,
        },
        false => None,
    };
    // A request line may name a host as well, and then that is meant (RFC 9112, 3.2.2).
    let is_same = request.uri().authority().is_none_or(|it| it.as_str() == host);
    is_same && shared.access.admits(host, origin, is_secure)
}

async fn decide(
    request: Request,
    handler: &Handler,
    accepted: &Mutex<Option<Accept>>,
) -> Response<Text> {
    let upgrade = request.accept();
    let subprotocol = first_subprotocol(&request.head.headers).map(str::to_owned);
    let Ok(answer) = guarded(|| handler(request)).await else {
        return refuse(500, "internal error");
    };
    match (answer.0, upgrade) {
        (Kind::Plain(plain), _) => plainly(plain),
        (Kind::Accept(accept), Ok(key)) => {
            let subprotocol = subprotocol.filter(|_| accept.takes_subprotocol);
            *accepted.lock().unwrap_or_else(PoisonError::into_inner) = Some(accept);
            switch(&key, subprotocol)
        }
        (Kind::Accept(_), Err(NoUpgrade::Malformed)) => refuse(400, "malformed handshake"),
        (Kind::Accept(_), Err(NoUpgrade::Required)) => {
            let mut response = refuse(426, "this is a WebSocket");
            let headers = response.headers_mut();
            headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade, close"));
            headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
            response
        }
    }
}

fn switch(key: &str, subprotocol: Option<String>) -> Response<Text> {
    let mut response = Response::new(Text(None));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    if let Ok(key) = HeaderValue::from_str(key) {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, key);
    }
    if let Some(Ok(name)) = subprotocol.map(|it| HeaderValue::from_str(&it)) {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, name);
    }
    response
}

fn refuse(status: u16, text: &'static str) -> Response<Text> {
    match Answer::text(status, text).closing().0 {
        Kind::Plain(plain) => plainly(plain),
        Kind::Accept(_) => unreachable!("a text is plain"),
    }
}

fn plainly(plain: Plain) -> Response<Text> {
    let mut response = Response::new(Text(Some(plain.body)));
    *response.status_mut() = status_of(plain.status);
    let headers = response.headers_mut();
    for (name, value) in plain.headers {
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_lowercase(name.as_bytes()), HeaderValue::from_str(&value))
        {
            headers.append(name, value);
        }
    }
    response
}

/// Only from 200 on a status ends a request.
fn status_of(status: u16) -> StatusCode {
    let status = StatusCode::from_u16(status).ok();
    let last = status.filter(|status| !status.is_informational());
    last.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// A body that is there as a whole.
struct Text(Option<Bytes>);

impl Body for Text {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.as_ref().map_or(0, Bytes::len) as u64)
    }
}
