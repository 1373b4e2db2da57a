//! The doors beside Common TCP: that of AceBase clients, and that for metrics.

use std::{fs, io, net::SocketAddr, sync::Arc};

use daemon::{Bound, Environment, Shutdown, listen_on};
use websocket::{Access, Control, LimitsError, Rules, Server};

use super::{
    Own, Relay, StartError,
    flags::Terms,
    listen::Place,
    tls::{Tls, TlsError},
};

/// Doors that are open, and through which nobody comes yet.
#[derive(Debug)]
pub(crate) struct Doors {
    server: Server,
    admin: Server,
    port: u16,
    admin_port: u16,
    tls: Option<Tls>,
    /// Whether other machines reach it.
    is_public: bool,
    settled: Settled,
}

/// What holds from the start to the end, whatever the flags say later.
#[derive(Clone, Debug)]
pub(super) struct Settled {
    listen: Vec<Place>,
    admin: SocketAddr,
}

impl Settled {
    pub(super) fn of(own: &Own) -> Self {
        Self { listen: own.listen.clone(), admin: own.admin }
    }

    /// The flags that are others than these.
    pub(super) fn others(&self, own: &Own) -> Vec<&'static str> {
        let changed = [("listen", self.listen != own.listen), ("admin", self.admin != own.admin)];
        changed.into_iter().filter(|it| it.1).map(|it| it.0).collect()
    }
}

/// How sockets are called that are held for this door.
const LABEL: &str = "ws";

/// Why there is no door.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DoorError {
    #[error("cannot listen on {place}")]
    Listen { place: String, source: io::Error },

    #[error("`listen` names no address")]
    Nowhere,

    #[error("a door cannot have these limits")]
    Limits(#[from] LimitsError),

    #[error(transparent)]
    Tls(#[from] TlsError),

    #[error("{0} is open to other machines: that needs a token (`--token-file`)")]
    NoToken(SocketAddr),

    #[error(
        "{0} is open to other machines, and without TLS everybody between reads all: `--tls-cert` and `--tls-key`, or `--insecure`"
    )]
    NoTls(SocketAddr),
}

/// Listens where the flags say.
pub(crate) async fn open(own: &Own, terms: &Terms, held: &Environment) -> Result<Doors, DoorError> {
    let has_token = !terms.tokens.is_empty();
    let mut server = Server::new(own.door(), own.rules(has_token))?;
    let tls = Tls::load(own)?;
    let (mut port, mut is_public) = (None, false);
    for (address, listener) in listeners(own, held)? {
        if !address.ip().is_loopback() {
            is_public = true;
            judge(address, has_token, tls.is_some() || own.insecure)?;
        }
        let failed = |source| DoorError::Listen { place: address.to_string(), source };
        let address = match tls.clone() {
            None => server.inherit(listener),
            Some(tls) => server.listen_with(listener, move |stream| tls.accept(stream)),
        };
        let address = address.map_err(failed)?;
        tracing::info!(%address, tls = tls.is_some(), token = has_token, "AceBase clients connect here");
        port = port.or(Some(address.port()));
    }
    let mut admin = Server::new(websocket::Limits::default(), Rules::default())?;
    let failed = |source| DoorError::Listen { place: own.admin.to_string(), source };
    if !own.admin.ip().is_loopback() {
        tracing::warn!(address = %own.admin, "metrics are open to other machines");
    }
    let admin_port = admin.listen(own.admin).await.map_err(failed)?.port();
    let port = port.unwrap_or_default();
    Ok(Doors { server, admin, port, admin_port, tls, is_public, settled: Settled::of(own) })
}

impl Doors {
    pub(super) fn control(&self) -> Control {
        self.server.control()
    }

    pub(super) fn access(&self) -> Arc<Access> {
        self.server.access()
    }

    pub(super) fn is_public(&self) -> bool {
        self.is_public
    }

    pub(super) fn settled(&self) -> Settled {
        self.settled.clone()
    }

    pub(super) fn tls(&self) -> Option<Tls> {
        self.tls.clone()
    }

    /// Serves at all doors until a signal or `drain`; peers are closed after what they were sent.
    pub(crate) async fn serve(mut self, bound: Bound<Relay>, own: &Own) -> Result<(), StartError> {
        let relay = Relay::clone(&bound.state());
        bound.introduce("ws", self.port);
        bound.introduce("admin", self.admin_port);
        if let Some(path) = &own.port_file {
            let failed = |source| StartError::PortFile { path: path.clone(), source };
            fs::write(path, format!("{}\n", self.port)).map_err(failed)?;
        }
        tracing::info!(port = bound.port(), "listening");
        let ended = relay.0.ending.subscribe();
        let requested = |mut ended: tokio::sync::watch::Receiver<bool>| async move {
            drop(ended.wait_for(|it| *it).await);
        };
        let end = async {
            // Both are cancel safe.
            tokio::select! {
                () = Shutdown::signal() => {}
                () = relay.0.drained.notified() => {}
            }
            tracing::info!(
                peers = relay.hub().peers(),
                "ending, once peers have read what they were sent"
            );
            relay.hub().drain();
            relay.0.ending.send_replace(true);
        };
        for server in [&mut self.server, &mut self.admin] {
            // The relay holds what the server is controlled by, so that must not hold the relay.
            let relay = Arc::downgrade(&relay.0);
            server.on_turned_away(move |link, why| {
                if let Some(relay) = relay.upgrade().map(Relay) {
                    relay.note_turned_away(None, link.peer, why);
                }
            });
        }
        let (peers, metrics) = (relay.clone(), relay.clone());
        let door = self.server.serve(move |it| peers.clone().answer(it), requested(ended.clone()));
        let admin =
            self.admin.serve(move |it| metrics.clone().administer(it), requested(ended.clone()));
        tokio::join!(end, bound.serve(requested(ended)), door, admin);
        Ok(())
    }
}

/// The sockets that somebody holds for us; without any, one at each place, but for a loopback that
/// this machine does not have.
fn listeners(
    own: &Own,
    held: &Environment,
) -> Result<Vec<(SocketAddr, std::net::TcpListener)>, DoorError> {
    let mut listeners = Vec::new();
    while let Some(listener) = held.take_socket(LABEL) {
        let failed = |source| DoorError::Listen { place: LABEL.to_owned(), source };
        listeners.push((listener.local_addr().map_err(failed)?, listener));
    }
    if !listeners.is_empty() {
        return Ok(listeners);
    }
    for place in &own.listen {
        let failed = |source| DoorError::Listen { place: place.to_string(), source };
        for address in place.addresses().map_err(failed)? {
            match listen_on(address) {
                Ok(listener) => listeners.push((address, listener)),
                Err(error) if is_absent(address, &error) => {
                    tracing::warn!(%address, %error, "not listening there");
                }
                Err(error) => return Err(failed(error)),
            }
        }
    }
    match (listeners.is_empty(), own.listen.first()) {
        (true, Some(place)) => Err(nowhere(place)),
        (true, None) => Err(DoorError::Nowhere),
        _ => Ok(listeners),
    }
}

fn is_absent(address: SocketAddr, error: &io::Error) -> bool {
    let has_none = [io::ErrorKind::AddrNotAvailable, io::ErrorKind::Unsupported];
    address.is_ipv6() && address.ip().is_loopback() && has_none.contains(&error.kind())
}

fn nowhere(place: &Place) -> DoorError {
    let source = io::Error::from(io::ErrorKind::AddrNotAvailable);
    DoorError::Listen { place: place.to_string(), source }
}

fn judge(address: SocketAddr, has_token: bool, is_private: bool) -> Result<(), DoorError> {
    match (has_token, is_private) {
        (false, _) => Err(DoorError::NoToken(address)),
        (true, false) => Err(DoorError::NoTls(address)),
        (true, true) => Ok(()),
    }
}
