//! The one that subscribes and never reads.

use std::{
    io::{self, BufRead, BufReader, Write},
    net::{SocketAddrV4, TcpStream},
};

use rustix::net::{AddressFamily, SocketAddrAny, SocketType, sockopt};
use serde_json::json;

use super::super::state::line;
use crate::bench::server::patient;

pub(super) struct Deaf(TcpStream);

/// As little as the kernel keeps for it.
const ROOM: usize = 4096;

impl Deaf {
    /// Subscribes to what is large, and is told that it has.
    pub(super) fn subscribe(address: SocketAddrV4, token: &str) -> io::Result<Self> {
        let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
        sockopt::set_socket_recv_buffer_size(&socket, ROOM)?;
        rustix::net::connect(&socket, &SocketAddrAny::from(address))?;
        let mut stream = patient(TcpStream::from(socket))?;
        let lines = [line("auth", &json!([token])), line("subscribe", &json!([["big"]]))];
        stream.write_all(lines.concat().as_bytes())?;
        Ok(Self(stream))
    }

    /// Reads after all; the last that it was told, if that is an end.
    pub(super) fn listen(self) -> Option<String> {
        let mut lines = BufReader::new(self.0);
        let mut line = String::new();
        // Closed is as good an end as any.
        while lines.read_line(&mut line).is_ok_and(|it| it > 0) {
            if line.starts_with("end ") {
                return Some(line.trim_end().to_owned());
            }
            line.clear();
        }
        None
    }
}
