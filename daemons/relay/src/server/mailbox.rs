//! Where peers take what they are sent: a WebSocket, or a guest of Common TCP.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use daemon::Stream;
use relay::{Dismissal, Parcel};
use websocket::{CloseCode, Frame, Sender, Sent, code};

use super::meter::Meter;

/// A peer's mailbox, or that of who only listens.
#[derive(Clone, Debug)]
pub(crate) enum Mailbox {
    /// Of an AceBase client.
    Socket {
        /// Sends to it.
        sender: Sender,
        /// Where it is.
        address: Option<SocketAddr>,
        /// How fast it sends.
        meter: Arc<Meter>,
    },
    /// Of a guest.
    Guest(Arc<Receiver>),
}

/// What a guest takes, if it takes anything now.
#[derive(Debug)]
pub(crate) struct Receiver {
    state: Mutex<State>,
    /// How fast the guest sends.
    meter: Arc<Meter>,
}

#[derive(Debug, Default)]
struct State {
    stream: Option<Stream>,
    wants_presence: bool,
    /// How much came while it took nothing.
    missed: u64,
    /// Why it is no peer any more.
    dismissal: Option<Dismissal>,
}

/// The id has somebody else now; a client comes back whatever the code.
pub(crate) fn replaced() -> CloseCode {
    CloseCode::try_from(4409).unwrap_or(code::POLICY)
}

/// Somebody wanted it so.
pub(crate) fn kicked() -> CloseCode {
    CloseCode::try_from(4403).unwrap_or(code::POLICY)
}

impl Mailbox {
    /// The word for its kind.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Socket { .. } => "ws",
            Self::Guest(_) => "ctcp",
        }
    }

    /// How fast the peer sends, by whichever way.
    pub(super) fn meter(&self) -> &Arc<Meter> {
        match self {
            Self::Socket { meter, .. } => meter,
            Self::Guest(receiver) => &receiver.meter,
        }
    }

    /// How many bytes wait for the peer.
    pub(super) fn waiting_bytes(&self) -> usize {
        match self {
            Self::Socket { sender, .. } => sender.queued_bytes(),
            Self::Guest(receiver) => receiver.waiting_bytes(),
        }
    }

    /// Where the peer is, if it came over the network to our own door.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Socket { address, .. } => *address,
            Self::Guest(_) => None,
        }
    }
}

impl relay::Mailbox for Mailbox {
    fn put(&self, parcel: &Parcel<'_>) -> bool {
        match self {
            Self::Socket { sender, .. } => sender.send(parcel.frame()) == Sent::Queued,
            Self::Guest(receiver) => receiver.put(parcel),
        }
    }

    fn takes_bundles(&self) -> bool {
        matches!(self, Self::Socket { .. })
    }

    fn put_bundle(&self, bundle: &Frame) -> bool {
        match self {
            Self::Socket { sender, .. } => sender.send(bundle.clone()) == Sent::Queued,
            Self::Guest(_) => false,
        }
    }

    fn dismiss(&self, why: Dismissal) {
        match (self, why) {
            (Self::Socket { sender, .. }, Dismissal::Replaced) => {
                sender.abandon(replaced(), "another one has this id now");
            }
            (Self::Socket { sender, .. }, Dismissal::Kicked) => {
                sender.abandon(kicked(), "sent away");
            }
            (Self::Socket { sender, .. }, Dismissal::Slow) => {
                sender.abandon(code::TRY_AGAIN, "what was sent is not read");
            }
            (Self::Guest(receiver), why) => receiver.dismiss(why),
        }
    }

    fn queued_bytes(&self) -> usize {
        match self {
            Self::Socket { sender, .. } => sender.queued_bytes(),
            // Its connection has bounds of its own.
            Self::Guest(_) => 0,
        }
    }
}

impl Receiver {
    /// Of a guest that takes nothing yet.
    pub(super) fn new(meter: &Arc<Meter>) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), meter: Arc::clone(meter) })
    }

    /// Gives the guest what comes from now on, and what was put into this before.
    pub(super) fn listen(&self, stream: Stream, wants_presence: bool) {
        let mut state = self.lock();
        (state.stream, state.wants_presence) = (Some(stream), wants_presence);
        let missed = std::mem::take(&mut state.missed);
        drop(state);
        if missed > 0 {
            self.tell_gap(Some(missed));
        }
    }

    /// Whether the guest takes what comes.
    pub(super) fn is_listening(&self) -> bool {
        self.lock().stream.as_ref().is_some_and(|it| !it.has_ended())
    }

    /// How many bytes wait for the guest.
    fn waiting_bytes(&self) -> usize {
        self.lock().stream.as_ref().map_or(0, Stream::queued_bytes)
    }

    /// Why the guest is no peer any more, if somebody wanted that.
    pub(super) fn dismissal(&self) -> Option<Dismissal> {
        self.lock().dismissal
    }

    /// Tells how many messages are not known any more; `None` if nobody can know.
    pub(super) fn tell_gap(&self, missed: Option<u64>) {
        if let Some(stream) = &self.lock().stream {
            // Who does not listen any more misses nothing.
            let _ = stream.emit("gap", &serde_json::json!({ "missed": missed }));
        }
    }

    /// Ends the stream, if there is one.
    pub(super) fn end(&self, reason: &str) {
        let stream = self.lock().stream.take();
        if let Some(stream) = stream {
            stream.end(reason);
        }
    }

    fn put(&self, parcel: &Parcel<'_>) -> bool {
        let mut state = self.lock();
        if parcel.content.is_presence() && !state.wants_presence {
            return true;
        }
        let Some((topic, payload)) = parcel.event() else { return true };
        let stream = state.stream.as_ref();
        let is_taken = stream.is_some_and(|it| it.emit_raw(topic, payload).is_ok());
        if !is_taken {
            state.stream = None;
            state.missed += u64::from(!parcel.content.is_presence());
        }
        is_taken
    }

    fn dismiss(&self, why: Dismissal) {
        self.lock().dismissal = Some(why);
        self.end(match why {
            Dismissal::Replaced => "replaced",
            Dismissal::Kicked => "kicked",
            Dismissal::Slow => "lagged",
        });
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
