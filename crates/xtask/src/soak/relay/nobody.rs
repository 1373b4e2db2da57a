//! Messages for an id that nobody has.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
};

use crate::bench::{
    relay::way::{Hears, Way, frame},
    server::Server,
};

const AT_ONCE: usize = 1_000;

/// Sends `count`, and waits until the relay has taken all; how many bytes somebody heard of them.
pub(super) fn send(server: &Server, count: usize) -> io::Result<usize> {
    let mut other = Way::Ours.connect(server.address, "other", Hears::All)?;
    let mut sender = Way::Ours.connect(server.address, "sender", Hears::All)?;
    other.read_exact(&mut [0; 2 + "connect:sender".len()])?;
    let messages = Way::Ours.to_one("nobody", &"x".repeat(200)).repeat(AT_ONCE);
    for _ in 0..count / AT_ONCE {
        sender.write_all(&messages)?;
    }
    // What follows is taken after what came before.
    sender.write_all(&frame("ping"))?;
    sender.read_exact(&mut [0; 2 + "pong".len()])?;
    heard(&mut other)
}

fn heard(other: &mut TcpStream) -> io::Result<usize> {
    other.set_nonblocking(true)?;
    match other.read(&mut [0; 1024]) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        read => read,
    }
}
