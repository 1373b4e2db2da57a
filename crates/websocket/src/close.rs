use std::fmt;

use crate::Fault;

/// A code that a closing handshake may carry (RFC 6455, 7.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CloseCode(u16);

/// A number that may not be sent as a code: some are for use inside a program only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no code that a WebSocket may be closed with")]
pub struct NotACloseCode(pub u16);

/// The codes that this crate sends by itself (RFC 6455, 7.4.1).
pub mod code {
    use super::CloseCode;

    /// All is done.
    pub const NORMAL: CloseCode = CloseCode(1000);
    /// The server ends.
    pub const GOING_AWAY: CloseCode = CloseCode(1001);
    /// A frame that RFC 6455 forbids.
    pub const PROTOCOL: CloseCode = CloseCode(1002);
    /// A kind of message that is not taken.
    pub const UNSUPPORTED: CloseCode = CloseCode(1003);
    /// A text that is not UTF-8.
    pub const NOT_UTF8: CloseCode = CloseCode(1007);
    /// The peer does what the server does not allow.
    pub const POLICY: CloseCode = CloseCode(1008);
    /// A message, or the number of its fragments, above the limit.
    pub const TOO_BIG: CloseCode = CloseCode(1009);
    /// Whoever serves the connection has failed.
    pub const INTERNAL: CloseCode = CloseCode(1011);
    /// The server is started anew.
    pub const RESTART: CloseCode = CloseCode(1012);
    /// The peer does not read what it is sent, or all peers together send too much at once.
    pub const TRY_AGAIN: CloseCode = CloseCode(1013);
}

/// Why no more messages come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The peer closed, with a code and a reason if it gave one.
    ByPeer(Option<(CloseCode, String)>),
    /// We closed, or the server ends.
    ByUs(CloseCode),
    /// The peer sent what it must not.
    Broken(Fault),
    /// The peer began a message and did not go on with it as fast as it must.
    Stalled,
    /// All peers together had begun more than they may, and this one was at its message for
    /// longest.
    Crowded,
    /// The peer left more unread than it may, or for too long.
    Slow,
    /// Nothing came from the peer, not even the answer to a ping.
    Silent,
    /// The connection was gone before it was closed.
    Lost,
}

impl CloseCode {
    /// The number.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl TryFrom<u16> for CloseCode {
    type Error = NotACloseCode;

    fn try_from(code: u16) -> Result<Self, NotACloseCode> {
        match code {
            1000..=1003 | 1007..=1014 | 3000..=4999 => Ok(Self(code)),
            _ => Err(NotACloseCode(code)),
        }
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl End {
    /// The code to close with; `None` if there is nobody to tell, or none to repeat.
    pub(crate) fn code(&self) -> Option<CloseCode> {
        match self {
            Self::ByPeer(close) => close.as_ref().map(|(code, _)| *code),
            Self::ByUs(code) => Some(*code),
            Self::Broken(fault) => Some(fault.code()),
            Self::Stalled => Some(code::POLICY),
            Self::Slow | Self::Crowded => Some(code::TRY_AGAIN),
            Self::Silent | Self::Lost => None,
        }
    }

    /// Whether what waits is not sent any more.
    pub(crate) fn is_sudden(&self) -> bool {
        matches!(self, Self::Slow | Self::Silent | Self::Lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_one_that_may_be_sent() {
        for (code, is_one) in [
            (999, false),
            (1000, true),
            (1004, false),
            (1005, false),
            (1006, false),
            (1014, true),
            (1015, false),
            (2999, false),
            (3000, true),
            (4999, true),
            (5000, false),
        ] {
            assert_eq!(CloseCode::try_from(code).map(CloseCode::get).ok(), is_one.then_some(code));
        }
    }
}
