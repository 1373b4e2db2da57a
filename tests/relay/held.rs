//! A relay whose socket the manager holds.

use nix::sys::signal::Signal;

use super::house::{HOST, hear, target};
use crate::{
    harness::{Dae, Heard, WebSocket, binary, tell},
    sockets::free_port,
};

#[test]
fn clients_are_never_refused_while_a_relay_dies_and_is_started_anew() {
    let (dae, port) = (Dae::start(), free_port());
    let relay = binary("relay");
    let socket = format!("ws={port}");
    dae.succeed(["install", "Relay", relay.to_str().unwrap(), "--socket", &socket]);
    for signal in [Signal::SIGKILL, Signal::SIGTERM, Signal::SIGKILL] {
        // A refused connection would panic.
        let mut peer = WebSocket::at(port, &target("mydb", "client", ""), HOST).unwrap();
        assert!(matches!(peer.hear(), Heard::Text(text) if text.starts_with("welcome:")));
        peer.say("to:client;x");
        assert_eq!(hear(&mut peer), "x");
        let pid = dae.listed("Relay").unwrap()["pid"].as_u64().unwrap();
        tell(u32::try_from(pid).unwrap(), signal);
        while !matches!(peer.hear(), Heard::Close(1012) | Heard::End) {}
    }
}
