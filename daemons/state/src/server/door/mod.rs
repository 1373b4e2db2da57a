//! The second door: the same commands over WebSocket, for browsers and whatever else has no plain
//! sockets.
//!
//! Each WebSocket is one more guest of the daemon, over a connection within the process: what
//! Common TCP bounds, checks and orders holds here because it is the same code. Here are only the
//! listener (`Host`, `Origin`, TLS or none) and the translation, one object a message.

mod flags;
mod relay;
mod wire;

use std::{io, net::SocketAddr};

use daemon::{Bound, Entrance, Limits, Seldom};
use tokio::sync::oneshot;
use websocket::{Answer, DecoderLimits, LimitsError, Request, Server, Socket, SocketLimits, code};

pub(crate) use self::flags::DoorFlags;
use self::relay::Relay;

/// A door that listens and lets nobody in yet.
#[derive(Debug)]
pub(crate) struct Door(Server);

/// Why there is no door.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DoorError {
    #[error("cannot listen on {address}")]
    Listen { address: SocketAddr, source: io::Error },

    #[error("WebSocket cannot have these limits")]
    Limits(#[from] LimitsError),

    #[error(
        "`--listen {0}` is open to other machines, and without TLS everybody between hears \
         passwords: listen on loopback behind a proxy that has TLS, or add `--insecure`"
    )]
    Open(SocketAddr),
}

/// What stands around the arguments in a message: the names of members, and the id.
const AROUND_BYTES: usize = 1 << 10;

/// Refuses a door that would be open by mistake, before anything listens.
pub(crate) fn check(flags: &DoorFlags) -> Result<(), DoorError> {
    let is_open = |it: &SocketAddr| !it.ip().is_loopback() && !flags.insecure;
    flags.listen.filter(is_open).map_or(Ok(()), |it| Err(DoorError::Open(it)))
}

/// The door, where it is asked for.
pub(crate) async fn open(flags: &DoorFlags, limits: &Limits) -> Result<Option<Door>, DoorError> {
    let Some(address) = flags.listen else { return Ok(None) };
    let mut server = Server::new(bounds(limits), flags.rules())?;
    let listened = server.listen(address).await;
    let address = listened.map_err(|source| DoorError::Listen { address, source })?;
    tell_of_those_turned_away(&mut server);
    tracing::info!(%address, "WebSocket listening");
    Ok(Some(Door(server)))
}

/// A page of somebody else's may try for ever.
fn tell_of_those_turned_away(server: &mut Server) {
    let seldom = Seldom::of_those_turned_away();
    server.on_turned_away(move |link, why| {
        if let Some(unsaid) = seldom.note() {
            let (peer, refusal) = (link.peer.map(tracing::field::display), daemon::causes(why));
            tracing::info!(peer, refusal, unsaid, "turned away");
        }
    });
}

/// Serves at both doors until `end`; who came by the second is closed after what he
/// asked is answered.
pub(crate) async fn serve<S: Send + Sync + 'static>(
    bound: Bound<S>,
    door: Option<Door>,
    end: impl Future<Output = ()>,
) {
    let Some(Door(server)) = door else { return bound.serve(end).await };
    let entrance = bound.entrance();
    let (guests, gone) = oneshot::channel::<()>();
    let first = async {
        bound.serve(end).await;
        drop(guests);
    };
    let second =
        server.serve(move |request| answer(request, entrance.clone()), async { drop(gone.await) });
    tokio::join!(first, second);
}

/// The bounds of a packet, for messages.
fn bounds(limits: &Limits) -> websocket::Limits {
    let usual = websocket::Limits::default();
    let message_bytes = limits.packet_bytes.saturating_add(AROUND_BYTES);
    let incoming = DecoderLimits { message_bytes, ..usual.socket.incoming };
    websocket::Limits {
        connections: limits.connections,
        socket: SocketLimits { incoming, ..usual.socket },
        ..usual
    }
}

async fn answer(request: Request, entrance: Entrance) -> Answer {
    match request.path() {
        "/" => {
            let peer = request.peer();
            Answer::accept(move |socket| visit(socket, entrance, peer))
        }
        _ => Answer::text(404, "there is only `/`, for WebSocket\n"),
    }
}

async fn visit(socket: Socket, entrance: Entrance, peer: Option<SocketAddr>) {
    match entrance.admit(peer).await {
        Some(inside) => Relay::new(socket, inside, entrance).run().await,
        None => socket.sender().close(code::GOING_AWAY, ""),
    }
}
