//! A relay of one's own, and those who connect to it.

use std::{io::Write, net::TcpStream, path::PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{Daemon, Heard, Netcat, WebSocket, binary};

/// A relay whose doors are free ports of loopback.
pub(super) struct House {
    pub(super) daemon: Daemon,
    /// Where AceBase clients connect.
    pub(super) door: u16,
    socket: PathBuf,
    _home: TempDir,
}

impl House {
    /// Starts one.
    pub(super) fn start(args: &[&str]) -> Self {
        let home = TempDir::with_prefix_in("relay-", "/tmp").unwrap();
        let socket = home.path().join("socket");
        let all = [&["--listen", "127.0.0.1:0"], args].concat();
        let environment = [("DAE_SOCKET", socket.to_str().unwrap())];
        let daemon = Daemon::start(&binary("relay"), &all, &environment);
        let whois = daemon.connect().ask("whois", &json!([]));
        let door = u16::try_from(whois["ws"].as_u64().unwrap()).unwrap();
        Self { daemon, door, socket, _home: home }
    }

    /// A guest who may do everything.
    pub(super) fn guest(&self) -> Netcat {
        Netcat::unix(&self.socket)
    }

    /// A peer, after its welcome.
    pub(super) fn join(&self, db: &str, id: &str) -> WebSocket {
        self.join_with(db, id, "")
    }

    /// A peer that knows a token.
    pub(super) fn join_with(&self, db: &str, id: &str, token: &str) -> WebSocket {
        let mut peer = WebSocket::at(self.door, &target(db, id, token), HOST).unwrap();
        let Heard::Text(welcome) = peer.hear() else { panic!("no welcome") };
        assert!(welcome.starts_with("welcome:{\"maxPayload\":"), "{welcome}");
        peer
    }

    /// A peer that has room for next to nothing of what it is sent.
    pub(super) fn join_narrow(&self, db: &str, id: &str) -> WebSocket {
        let mut peer = WebSocket::narrow_at(self.door, &target(db, id, ""));
        assert!(matches!(peer.hear(), Heard::Text(_)));
        peer
    }

    /// The status with which a client is refused, and all of the answer.
    pub(super) fn refusal(&self, target: &str, headers: &str) -> (u16, String) {
        WebSocket::at(self.door, target, headers).expect_err("a refusal")
    }

    /// Sends a request, and returns all that comes back until the relay closes.
    pub(super) fn ask(&self, request: &str) -> String {
        self.ask_bytes(request.as_bytes())
    }

    /// The same for a body that is no text.
    pub(super) fn ask_bytes(&self, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.door)).unwrap();
        // It may be refused before it is read.
        drop(stream.write_all(request));
        Netcat::of(stream).read_to_end().unwrap()
    }

    /// What the relay has counted.
    pub(super) fn stats(&self) -> Value {
        self.guest().ask("stats", &json!([]))
    }
}

/// What stands in every request that is let in.
pub(super) const HOST: &str = "host: localhost\r\n";

/// Where a client asks to be a peer.
pub(super) fn target(db: &str, id: &str, token: &str) -> String {
    format!("/{db}/connect?v=1.0.0&id={id}&t={token}")
}

/// What a peer is told next; panics if it is not a text.
pub(super) fn hear(peer: &mut WebSocket) -> String {
    match peer.hear() {
        Heard::Text(text) => text,
        other => panic!("{other:?} where a text was expected"),
    }
}
