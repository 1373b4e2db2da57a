use crate::Failure;

/// Why no packet could be made of what was read.
///
/// Offsets count from the first byte of the packet's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// The name breaks the grammar, or the tag does. The rest of the line is discarded.
    #[error("a name is a letter and up to 63 of letters, digits and `_-.:/`")]
    BadName {
        /// Offset of the first byte that can't be in a name.
        at: usize,
    },
    /// The arguments are no JSON, are nested too deep, or lack a bracket. The rest of the line is
    /// discarded.
    #[error("the arguments are no JSON: {what}")]
    BadJson {
        /// Offset where reading failed.
        at: usize,
        /// What is wrong there.
        what: String,
    },
    /// What follows the name is no array. The rest of the line is discarded.
    #[error("arguments are one JSON array, as in `name [1,\"two\"]`")]
    BadArgs {
        /// Offset of what was found instead.
        at: usize,
    },
    /// The arguments are not UTF-8. The frame is intact, so nothing is discarded.
    #[error("the packet is not UTF-8")]
    BadEncoding {
        /// Offset of the first byte that is not UTF-8.
        at: usize,
    },
    /// More stands on the line after a complete packet. It is discarded.
    #[error("only a line feed may follow the closing `]`")]
    TrailingBytes {
        /// Offset of the first such byte.
        at: usize,
    },
    /// The packet is longer than the limit. The connection can't be used further.
    #[error("a packet has at most {limit} bytes")]
    TooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// It looks like HTTP. The connection must be closed with nothing further read, so that no web
    /// page can post commands to a loopback port.
    #[error("this is Common TCP, not HTTP; try `options`")]
    Http,
    /// It looks like TLS. The connection can't be used further.
    #[error("this port has no TLS")]
    Tls,
}

impl Unreadable {
    /// Whether the connection can't go on after it.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        matches!(self, Self::TooLarge { .. } | Self::Http | Self::Tls)
    }

    /// What the peer is told: the code of the protocol, and where in the packet it went wrong.
    #[must_use]
    pub fn to_failure(&self) -> Failure {
        let with_at = |code, at| Failure::new(code, self.to_string()).with("at", at);
        match *self {
            Self::BadName { at } => with_at("bad-name", at),
            Self::BadJson { at, .. } => with_at("bad-json", at),
            Self::BadArgs { at } => with_at("bad-args", at),
            Self::BadEncoding { at } => with_at("bad-encoding", at),
            Self::TrailingBytes { at } => with_at("trailing-bytes", at),
            Self::TooLarge { limit } => {
                Failure::new("too-large", self.to_string()).with("limit", limit)
            }
            Self::Http | Self::Tls => Failure::new("not-supported", self.to_string()),
        }
    }
}
