use std::time::Duration;

use crate::{CloseCode, DecoderLimits};

/// Every bound of a server.
#[derive(Clone, Debug)]
pub struct Limits {
    /// How long a client may take from its connection to the end of a request's head; also how long
    /// a connection may idle between two requests.
    pub handshake: Duration,
    /// The longest head of a request, in bytes; at least 8 KiB. Longer ones are answered with 431.
    pub head_bytes: usize,
    /// Connections in all. Never more than half of the files that this process may open.
    pub connections: usize,
    /// Connections from one address, or from one IPv6 network of 64 bits. Loopback is not counted:
    /// behind it may be everybody.
    pub connections_per_address: usize,
    /// The bounds of each WebSocket, unless its handler says otherwise.
    pub socket: SocketLimits,
    /// When to ask a silent peer whether it is still there; `None` for never.
    pub ping: Option<Ping>,
    /// Over how much time the end of a server is spread, so that clients don't all come back at
    /// once.
    pub drain: Duration,
    /// The code that sockets are closed with at the end of the server.
    pub end_code: CloseCode,
    /// How long a peer is given, once it is to be closed, to take what it was sent, and as long
    /// again to close too.
    pub closing: Duration,
    /// How slow a peer may be, in what it sends and in what it takes.
    pub pace: Pace,
}

/// How fast something must come, or go, once it has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// So long it may take in any case, however short it is.
    pub patience: Duration,
    /// And so many bytes it must be in each further second, on average.
    pub bytes_per_second: u32,
}

/// The bounds of one WebSocket.
#[derive(Clone, Copy, Debug)]
pub struct SocketLimits {
    /// What may come in.
    pub incoming: DecoderLimits,
    /// How many bytes of messages may wait for the peer to read. It is looked at before one is
    /// added, so one that is larger passes when nothing waits.
    pub queue_bytes: usize,
    /// How many messages may wait.
    pub queue_messages: usize,
    /// What happens when more is sent.
    pub overflow: Overflow,
    /// With so many bytes waiting, nothing more is read from the peer: it shall read first.
    pub pause_bytes: usize,
}

/// What happens to a message for a peer whose queue is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    /// The peer loses its queue and is closed with 1013: it can come back and begin anew, and never
    /// misses something without knowing.
    #[default]
    Close,
    /// That message is not sent.
    DropNewest,
    /// The oldest that waits is not sent.
    DropOldest,
}

/// Asking silent peers.
#[derive(Clone, Copy, Debug)]
pub struct Ping {
    /// After so much time without a byte from the peer it is asked, and then again and again.
    pub interval: Duration,
    /// So many questions may stay without an answer; then the peer is gone.
    pub most_lost: u8,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(5),
            head_bytes: 16 << 10,
            connections: 10_000,
            connections_per_address: 64,
            socket: SocketLimits::default(),
            ping: Some(Ping { interval: Duration::from_secs(20), most_lost: 2 }),
            drain: Duration::ZERO,
            end_code: crate::code::GOING_AWAY,
            closing: Duration::from_secs(5),
            pace: Pace::default(),
        }
    }
}

impl Pace {
    /// How long so many bytes may take.
    pub(crate) fn time_for(self, bytes: usize) -> Duration {
        self.patience
            + Duration::from_secs(1).mul_f64(bytes as f64 / f64::from(self.bytes_per_second.max(1)))
    }
}

impl Default for Pace {
    fn default() -> Self {
        Self { patience: Duration::from_secs(10), bytes_per_second: 1 << 10 }
    }
}

impl Default for SocketLimits {
    fn default() -> Self {
        Self {
            incoming: DecoderLimits::default(),
            queue_bytes: 1 << 20,
            queue_messages: 4096,
            overflow: Overflow::default(),
            pause_bytes: 256 << 10,
        }
    }
}
