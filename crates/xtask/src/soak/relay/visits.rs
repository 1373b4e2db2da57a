//! Peers that come and go, and one who hears of each.

use std::{
    io::{self, Read},
    net::TcpStream,
};

use crate::bench::{
    relay::way::{Hears, Way},
    server::Server,
};

/// So many are there at once.
const AT_ONCE: usize = 100;

/// What the witness is told of one visit: two frames.
const TOLD: usize = 2 + "connect:".len() + ID + 2 + "disconnect:".len() + ID;
const ID: usize = "visit00000000".len();

/// Lets `count` come and go; how many bytes of what the witness had to be told are missing.
pub(super) fn visit(server: &Server, count: usize) -> io::Result<usize> {
    let connect = |id: &str| Way::Ours.connect(server.address, id, Hears::All);
    let mut witness = connect("witness")?;
    let mut missing = 0;
    for first in (0..count).step_by(AT_ONCE) {
        let these = first..count.min(first + AT_ONCE);
        missing += these.len() * TOLD;
        let visitors: Vec<_> =
            these.map(|it| connect(&format!("visit{it:08}"))).collect::<Result<_, _>>()?;
        drop(visitors);
        missing = missing.saturating_sub(hear(&mut witness, missing)?);
    }
    Ok(missing)
}

/// Reads so many bytes, or fewer if no more come.
fn hear(witness: &mut TcpStream, wanted: usize) -> io::Result<usize> {
    let mut buffer = vec![0; wanted];
    let mut heard = 0;
    while heard < wanted {
        match witness.read(&mut buffer[heard..]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => heard += read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(heard)
}
