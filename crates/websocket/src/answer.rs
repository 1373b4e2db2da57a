use std::{fmt, pin::Pin};

use bytes::Bytes;

use crate::{Ping, Socket, SocketLimits};

/// What a request is answered.
#[derive(Debug)]
pub struct Answer(pub(crate) Kind);

pub(crate) enum Kind {
    Plain(Plain),
    Accept(Accept),
}

/// A plain answer.
#[derive(Debug)]
pub(crate) struct Plain {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Bytes,
}

/// The answer that a WebSocket begins with.
pub(crate) struct Accept {
    pub(crate) serve: Serve,
    pub(crate) limits: Option<SocketLimits>,
    pub(crate) ping: Option<Option<Ping>>,
    pub(crate) takes_subprotocol: bool,
}

/// What holds for one WebSocket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) limits: SocketLimits,
    pub(crate) ping: Option<Ping>,
}

/// Serves one WebSocket.
pub(crate) type Serve = Box<dyn FnOnce(Socket) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

impl Answer {
    /// A status and a text. A status below 200, which is no answer, becomes 500.
    #[must_use]
    pub fn text(status: u16, text: impl Into<String>) -> Self {
        Self::bytes(status, "text/plain; charset=utf-8", text.into())
    }

    /// A status and any content. A status below 200, which is no answer, becomes 500.
    #[must_use]
    pub fn bytes(status: u16, content_type: &str, body: impl Into<Bytes>) -> Self {
        let headers = vec![("content-type", content_type.to_owned())];
        Self(Kind::Plain(Plain { status, headers, body: body.into() }))
    }

    /// Accepts the WebSocket, which `serve` then has; its future is a task of the server. A request
    /// that asks for none is answered with 426.
    #[must_use]
    pub fn accept<F>(serve: impl FnOnce(Socket) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let serve: Serve = Box::new(|socket| Box::pin(serve(socket)));
        Self(Kind::Accept(Accept { serve, limits: None, ping: None, takes_subprotocol: false }))
    }

    /// The same with one more header; a name or a value that can't be one is left out. Names are in
    /// lower case.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        if let Kind::Plain(plain) = &mut self.0 {
            plain.headers.push((name, value.into()));
        }
        self
    }

    /// The same, and the connection closes with it.
    #[must_use]
    pub fn closing(self) -> Self {
        self.with_header("connection", "close")
    }

    /// The same with other bounds for this WebSocket than those of the server.
    #[must_use]
    pub fn with_limits(mut self, limits: SocketLimits) -> Self {
        if let Kind::Accept(accept) = &mut self.0 {
            accept.limits = Some(limits);
        }
        self
    }

    /// The same, asking a silent peer at other times than the server does.
    #[must_use]
    pub fn with_ping(mut self, ping: Option<Ping>) -> Self {
        if let Kind::Accept(accept) = &mut self.0 {
            accept.ping = Some(ping);
        }
        self
    }

    /// The same with the first of the subprotocols that the client offers, if it offers any.
    #[must_use]
    pub fn with_first_subprotocol(mut self) -> Self {
        if let Kind::Accept(accept) = &mut self.0 {
            accept.takes_subprotocol = true;
        }
        self
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(plain) => plain.fmt(f),
            Self::Accept(_) => f.write_str("Accept"),
        }
    }
}
