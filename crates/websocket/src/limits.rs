use std::time::Duration;

use crate::{CloseCode, DecoderLimits};

/// The least that hyper reads a head with.
const HEAD_BYTES: usize = 8 << 10;

/// Every bound of a server.
#[derive(Clone, Debug)]
pub struct Limits {
    /// How long a client may take from its connection to the end of a request's head; also how long
    /// a connection may idle between two requests.
    pub handshake: Duration,
    /// The longest head of a request, in bytes; at least 8 KiB. Longer ones are answered with 431.
    pub head_bytes: usize,
    /// Connections in all. Never more than [`Limits::files_percent`] of the files that this process
    /// may open; how many there are then, [`Control`](crate::Control) says.
    pub connections: usize,
    /// How many of the files that this process may open may be connections, in percent: the rest is
    /// for whatever else it does.
    pub files_percent: u8,
    /// Connections from one address, or from one IPv6 network of 64 bits. Loopback is not counted:
    /// behind it may be everybody.
    pub connections_per_address: usize,
    /// Bytes of messages that have begun to come and are not whole, of all WebSockets together.
    /// Beyond it the peer that has been at one for longest is closed with 1013.
    pub unfinished_bytes: usize,
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

/// Which limit makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitsError {
    /// A head of fewer than 8 KiB can't be had.
    #[error("head_bytes is {0}, and must be 8192 at least")]
    Head(usize),

    /// With this limit nothing could ever happen.
    #[error("{0} must not be zero")]
    Zero(&'static str),

    /// It is a part of all files.
    #[error("files_percent is {0}, and must be between 1 and 100")]
    Percent(u8),
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
    /// When a peer whose queue is not full is given up as one that is; looked at before a message
    /// is added. `None` for never.
    pub stale: Option<Stale>,
}

/// A peer that takes too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stale {
    /// So long the oldest of what waits has waited,
    pub age: Duration,
    /// and more than so many bytes wait.
    pub bytes: usize,
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

impl Limits {
    /// Whether a server can do something within them.
    pub(crate) fn check(&self) -> Result<(), LimitsError> {
        if self.head_bytes < HEAD_BYTES {
            return Err(LimitsError::Head(self.head_bytes));
        }
        if !(1..=100).contains(&self.files_percent) {
            return Err(LimitsError::Percent(self.files_percent));
        }
        let ping = self.ping.unwrap_or(Ping { interval: Duration::MAX, most_lost: 1 });
        let zero = [
            ("handshake", self.handshake.is_zero()),
            ("connections", self.connections == 0),
            ("connections_per_address", self.connections_per_address == 0),
            ("socket.incoming.fragments", self.socket.incoming.fragments == 0),
            ("socket.queue_bytes", self.socket.queue_bytes == 0),
            ("socket.queue_messages", self.socket.queue_messages == 0),
            ("socket.pause_bytes", self.socket.pause_bytes == 0),
            ("ping.interval", ping.interval.is_zero()),
            ("ping.most_lost", ping.most_lost == 0),
            ("pace.bytes_per_second", self.pace.bytes_per_second == 0),
        ];
        match zero.into_iter().find(|(_, is_zero)| *is_zero) {
            Some((name, _)) => Err(LimitsError::Zero(name)),
            None => Ok(()),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(5),
            head_bytes: 16 << 10,
            connections: 10_000,
            files_percent: 50,
            connections_per_address: 64,
            unfinished_bytes: 64 << 20,
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
            stale: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_that_make_no_sense_are_refused() {
        assert_eq!(Limits::default().check(), Ok(()));
        assert_eq!(Limits { ping: None, ..Limits::default() }.check(), Ok(()));
        let never = Ping { interval: Duration::ZERO, most_lost: 2 };
        for (limits, error) in [
            (Limits { head_bytes: 100, ..Limits::default() }, LimitsError::Head(100)),
            (Limits { files_percent: 0, ..Limits::default() }, LimitsError::Percent(0)),
            (Limits { files_percent: 101, ..Limits::default() }, LimitsError::Percent(101)),
            (Limits { connections: 0, ..Limits::default() }, LimitsError::Zero("connections")),
            (Limits { ping: Some(never), ..Limits::default() }, LimitsError::Zero("ping.interval")),
        ] {
            assert_eq!(limits.check(), Err(error));
        }
    }

    #[test]
    fn what_is_longer_may_take_longer() {
        let pace = Pace { patience: Duration::from_secs(10), bytes_per_second: 1000 };
        assert_eq!(pace.time_for(0), Duration::from_secs(10));
        assert_eq!(pace.time_for(2500), Duration::from_millis(12_500));
    }
}
