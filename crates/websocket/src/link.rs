use std::net::SocketAddr;

/// How a connection came in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Where the other end is, if it came over the network.
    pub peer: Option<SocketAddr>,
    /// Where it came in.
    pub local: Option<SocketAddr>,
    /// Whether it is encrypted, so that pages reach it by `https` and `wss`.
    pub is_secure: bool,
}
