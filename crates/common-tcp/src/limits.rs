use std::time::Duration;

/// The bounds of a connection, all of them announced by `hello`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one packet, from its name to its `]` or line feed. Beyond it the connection closes.
    pub packet_bytes: usize,
    /// How deep arrays and objects may be nested, the arguments' own array included; at most 128.
    pub depth: u32,
    /// Requests of one connection that may run at once; beyond it nothing more is read.
    pub pipeline: usize,
    /// Bytes of one result. A larger one is answered `too-large`, and the connection lives on.
    pub result_bytes: usize,
    /// Bytes that wait to be sent on one connection; beyond it nothing more is read, and the guest
    /// goes if it takes none of them for `packet_timeout`.
    pub unsent_bytes: usize,
    /// Packets that wait in one stream; beyond it the stream is ended as `lagged`.
    pub stream_packets: usize,
    /// Bytes that wait in all streams of one connection; beyond it the one that has more is ended
    /// as `lagged`.
    pub stream_bytes: usize,
    /// Bytes that wait on all connections of a daemon together, as unfinished packets and as
    /// replies that are not read; beyond it the guest that has got no further for longest is sent
    /// away.
    pub waiting_bytes: usize,
    /// Connections of one daemon, and never more than half of the files that it may open; a further
    /// one is answered `busy` and closed.
    pub connections: usize,
    /// Unreadable lines in a row; at this many the connection closes.
    pub bad_lines: u32,
    /// How long an unfinished packet may wait for its next byte. Between packets nothing is
    /// limited.
    pub packet_timeout: Duration,
}

impl Limits {
    /// No decoder goes deeper, whatever [`depth`](Self::depth) says.
    pub const DEEPEST: u32 = u128::BITS;

    /// What our own clients accept: a reply may be longer than any request.
    #[must_use]
    pub fn of_client() -> Self {
        Self { packet_bytes: 64 << 20, depth: Self::DEEPEST, ..Self::default() }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            packet_bytes: 1 << 20,
            depth: 64,
            pipeline: 64,
            result_bytes: 16 << 20,
            unsent_bytes: 4 << 20,
            stream_packets: 1024,
            stream_bytes: 4 << 20,
            waiting_bytes: 64 << 20,
            connections: 1024,
            bad_lines: 16,
            packet_timeout: Duration::from_secs(30),
        }
    }
}
