use std::{fmt, io, pin::Pin, sync::Arc};

use bytes::Bytes;
use tokio::{net::TcpStream, time::timeout};

use crate::{
    Link, TurnedAway,
    io::{Io, Kind, Stream},
    shared::Shared,
};

/// Somebody who has connected.
pub(crate) struct Inbound {
    pub(crate) door: Door,
    /// What was read already.
    pub(crate) read: Bytes,
    pub(crate) link: Link,
}

/// What stands between us and the first byte of HTTP.
pub(crate) enum Door {
    Open(Kind),
    /// A handshake of another protocol, TLS for instance.
    Wrapped(TcpStream, Arc<Wrap>),
}

/// Makes a stream of a connection.
pub(crate) type Wrap = dyn Fn(TcpStream) -> Wrapping + Send + Sync;

/// A stream that is being made.
pub(crate) type Wrapping = Pin<Box<dyn Future<Output = io::Result<Box<dyn Stream>>> + Send>>;

impl Door {
    /// The stream; `None` if there is none in the time of a handshake.
    pub(crate) async fn open(self, link: Link, shared: &Shared) -> Option<Io> {
        let kind = match self {
            Self::Open(kind) => kind,
            Self::Wrapped(stream, wrap) => {
                // Boxed, so that a WebSocket does not keep the room that this takes.
                let opened = timeout(shared.limits().handshake, wrap(stream)).await;
                let opened = match opened {
                    Ok(opened) => opened.map_err(TurnedAway::Handshake),
                    Err(_) => Err(TurnedAway::Late),
                };
                let failed = |why: &TurnedAway| {
                    // Whoever only looks whether somebody listens leaves by himself.
                    if !why.has_left() {
                        shared.turned_away.tell(link, why);
                    }
                };
                Kind::Other(opened.inspect_err(failed).ok()?)
            }
        };
        Some(Io::new(kind, Arc::clone(&shared.traffic)))
    }
}

impl fmt::Debug for Inbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbound").field("link", &self.link).finish_non_exhaustive()
    }
}
