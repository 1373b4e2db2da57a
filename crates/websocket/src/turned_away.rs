use std::{
    fmt, io,
    sync::{Arc, OnceLock},
};

use crate::Link;

/// Why somebody was turned away of whom no handler has heard.
#[derive(Debug, thiserror::Error)]
pub enum TurnedAway {
    /// What must come before HTTP went wrong: the handshake of TLS, for instance.
    #[error("no handshake")]
    Handshake(#[source] io::Error),

    /// That did not end in the time of [`Limits::handshake`](crate::Limits::handshake).
    #[error("no handshake within the time for one")]
    Late,

    /// [`Rules`](crate::Rules) do not let it in.
    #[error("host {host:?} with origin {origin:?} may not come in")]
    Stranger {
        /// What it calls us, as far as that is told.
        host: String,
        /// What page it is, as far as that is told.
        origin: String,
    },
}

impl TurnedAway {
    /// Whether it left before anybody could turn it away.
    pub(crate) fn has_left(&self) -> bool {
        matches!(self, Self::Handshake(error) if error.kind() == io::ErrorKind::UnexpectedEof)
    }
}

/// Who is told of them.
type Listener = dyn Fn(Link, &TurnedAway) + Send + Sync;

/// Tells whoever wants to know.
#[derive(Clone, Default)]
pub(crate) struct Teller(Arc<OnceLock<Box<Listener>>>);

/// So many characters of a header are told: whoever is turned away can write any.
const TOLD: usize = 100;

impl Teller {
    /// The first who wants to know is told.
    pub(crate) fn set(&self, listener: impl Fn(Link, &TurnedAway) + Send + Sync + 'static) {
        drop(self.0.set(Box::new(listener)));
    }

    pub(crate) fn tell(&self, link: Link, why: &TurnedAway) {
        if let Some(listener) = self.0.get() {
            listener(link, why);
        }
    }
}

impl TurnedAway {
    pub(crate) fn stranger(host: Option<&[u8]>, origin: Option<&[u8]>) -> Self {
        let [host, origin] = [host, origin].map(|it| beginning(it.unwrap_or_default()));
        Self::Stranger { host, origin }
    }
}

fn beginning(header: &[u8]) -> String {
    String::from_utf8_lossy(header).chars().take(TOLD).collect()
}

impl fmt::Debug for Teller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Teller").finish_non_exhaustive()
    }
}
