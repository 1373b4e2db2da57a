use crate::Fault;

/// The codes of a closing handshake that this crate sends by itself (RFC 6455, 7.4.1).
pub mod code {
    /// All is done.
    pub const NORMAL: u16 = 1000;
    /// The server ends.
    pub const GOING_AWAY: u16 = 1001;
    /// A frame that RFC 6455 forbids.
    pub const PROTOCOL: u16 = 1002;
    /// A text that is not UTF-8.
    pub const NOT_UTF8: u16 = 1007;
    /// A message, or the number of its fragments, above the limit.
    pub const TOO_BIG: u16 = 1009;
    /// Whoever serves the connection has failed.
    pub const INTERNAL: u16 = 1011;
    /// The server is started anew.
    pub const RESTART: u16 = 1012;
    /// The peer does not read what it is sent.
    pub const TRY_AGAIN: u16 = 1013;
}

/// Why no more messages come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The peer closed, with a code and a reason if it gave one.
    ByPeer(Option<(u16, String)>),
    /// We closed, or the server ends.
    ByUs(u16),
    /// The peer sent what it must not.
    Broken(Fault),
    /// The peer left more unread than it may.
    Slow,
    /// Nothing came from the peer, not even the answer to a ping.
    Silent,
    /// The connection was gone before it was closed.
    Lost,
}

impl End {
    /// The code to close with; `None` if there is nobody to tell, or none to repeat.
    pub(crate) fn code(&self) -> Option<u16> {
        match self {
            Self::ByPeer(close) => close.as_ref().map(|(code, _)| *code),
            Self::ByUs(code) => Some(*code),
            Self::Broken(fault) => Some(fault.code()),
            Self::Slow => Some(code::TRY_AGAIN),
            Self::Silent | Self::Lost => None,
        }
    }
}

/// Whether a peer may send `code`: some are for use inside a program only.
pub(crate) fn is_allowed(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}
