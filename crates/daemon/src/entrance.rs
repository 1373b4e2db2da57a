use std::net::SocketAddr;

use common_tcp::{Connection, Limits, Memory, Socket};
use tokio::sync::mpsc;

/// Lets in who has come by another door, such as WebSocket, over a connection within this process:
/// for limits, authorisation and streams a guest like any other. Clones lead into the same daemon.
#[derive(Clone, Debug)]
pub struct Entrance(mpsc::Sender<Socket>);

/// Those on the way in.
pub(crate) type Entering = mpsc::Receiver<Socket>;

/// So many may stand in the entrance; who comes then waits.
const ENTERING: usize = 64;

/// What is on its way between the two ends, in each direction: enough for a burst of requests, and
/// little beside what a connection costs.
const BUFFER_BYTES: usize = 16 << 10;

impl Entrance {
    pub(crate) fn new() -> (Self, Entering) {
        let (entrance, entering) = mpsc::channel(ENTERING);
        (Self(entrance), entering)
    }

    /// Lets in a guest that came from `peer`, and gives the calling end of its connection; `None`
    /// if the daemon ends. Where there is no room, `busy` is read there.
    pub async fn admit(&self, peer: Option<SocketAddr>) -> Option<Connection> {
        let (serving, calling) = Memory::pair(BUFFER_BYTES, peer);
        self.0.send(Socket::Memory(serving)).await.ok()?;
        Some(Connection::of_client(Socket::Memory(calling), &Limits::of_client()))
    }

    /// Whether the daemon ends, or has ended: nobody is let in any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}
