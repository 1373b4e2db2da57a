//! One connection of an attacker, and where it leads.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

/// Where an attacker goes: `tcp:127.0.0.1:4000`, `unix:/path`, `keeper:/path`, or `burn:0.5`.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    /// A port of a daemon.
    Tcp(SocketAddr),
    /// A daemon's Unix socket: who connects may do everything.
    Unix(PathBuf),
    /// The keeper's.
    Keeper(PathBuf),
    /// Nobody: so much of a processor.
    Burn(f64),
}

/// A connection; every wait on it is short.
pub(crate) enum Line {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// How long an attacker waits for a peer that does not read, or does not answer.
const PATIENCE: Duration = Duration::from_millis(200);

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let unknown = || format!("`{text}` is no target");
        let (kind, place) = text.split_once(':').ok_or_else(unknown)?;
        Ok(match kind {
            "tcp" => Self::Tcp(place.parse().map_err(|_| unknown())?),
            "unix" => Self::Unix(place.into()),
            "keeper" => Self::Keeper(place.into()),
            "burn" => Self::Burn(place.parse().map_err(|_| unknown())?),
            _ => return Err(unknown()),
        })
    }
}

impl Target {
    /// Whether who connects may do everything: then only what does no harm is asked for in earnest.
    pub(crate) fn is_trusting(&self) -> bool {
        !matches!(self, Self::Tcp(_))
    }

    pub(crate) fn connect(&self) -> io::Result<Line> {
        let line = match self {
            Self::Tcp(address) => Line::Tcp(TcpStream::connect_timeout(address, PATIENCE)?),
            Self::Unix(path) | Self::Keeper(path) => Line::Unix(UnixStream::connect(path)?),
            Self::Burn(_) => return Err(io::ErrorKind::Unsupported.into()),
        };
        let patience = Some(PATIENCE);
        match &line {
            Line::Tcp(it) => it.set_read_timeout(patience).and(it.set_write_timeout(patience)),
            Line::Unix(it) => it.set_read_timeout(patience).and(it.set_write_timeout(patience)),
        }?;
        Ok(line)
    }
}

impl Line {
    /// Says that nothing more comes.
    pub(crate) fn half_close(&self) -> io::Result<()> {
        match self {
            Self::Tcp(it) => it.shutdown(Shutdown::Write),
            Self::Unix(it) => it.shutdown(Shutdown::Write),
        }
    }

    /// Ends it by RST, where there is such a thing.
    pub(crate) fn reset(self) {
        if let Self::Tcp(it) = &self {
            rustix::net::sockopt::set_socket_linger(it, Some(Duration::ZERO)).ok();
        }
    }
}

impl Read for Line {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(it) => it.read(buffer),
            Self::Unix(it) => it.read(buffer),
        }
    }
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(it) => it.write(bytes),
            Self::Unix(it) => it.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
