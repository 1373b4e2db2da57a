//! What a connection costs that is open and silent.

use std::{io, net::TcpStream, thread::sleep, time::Duration};

use super::{
    load::{LoadError, connect},
    server::{Server, patient},
};

/// How long silence lasts before memory is looked at again: Redis gives back the buffers of clients
/// that were silent for five seconds.
pub(crate) const SILENCE: Duration = Duration::from_secs(10);

/// By how many bytes each connection made a server grow. What the kernel holds for a socket is not
/// in it, and is the same for all servers.
pub(crate) struct Growth {
    pub(crate) at_once: f64,
    pub(crate) after_silence: f64,
}

/// Opens `count` connections, lets each ask once, and holds them.
pub(crate) fn hold(server: &Server, count: usize) -> Result<Growth, LoadError> {
    let asked = server.contender.protocol().get();
    let before = server.resident()?;
    let growth = || -> Result<f64, LoadError> {
        Ok(server.resident()?.saturating_sub(before) as f64 / count as f64)
    };
    let mut held = Vec::with_capacity(count);
    for number in 0..count {
        let mut stream = connect(server.address)
            .map_err(io::Error::from)
            .and_then(|socket| patient(TcpStream::from(socket)))
            .and_then(|mut stream| server.greet(&mut stream).map(|()| stream))
            .map_err(|source| LoadError::Connect { number, source })?;
        server.ask(&mut stream, &asked)?;
        held.push(stream);
    }
    let at_once = growth()?;
    sleep(SILENCE);
    Ok(Growth { at_once, after_silence: growth()? })
}
