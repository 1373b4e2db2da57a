use std::{
    fs::{self, File},
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    os::{
        fd::AsFd,
        unix::fs::{MetadataExt, PermissionsExt},
    },
    path::{Path, PathBuf},
};

use common_tcp::Socket;
use socket2::{Domain, Socket as Socket2, Type};
use tokio::net::{TcpListener, UnixListener, UnixSocket};

/// Where a daemon accepts guests: TCP ports, all the same number, and perhaps a Unix socket.
#[derive(Debug)]
pub(crate) struct Listener {
    tcp: Vec<TcpListener>,
    unix: Option<(UnixListener, SocketFile)>,
}

/// A socket's file, removed with this if it is still ours.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    /// Device and inode.
    identity: Option<(u64, u64)>,
}

/// Why a daemon can't listen.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The port is taken, or the address is not of this machine.
    #[error("cannot listen on {address}")]
    Tcp {
        /// Where.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// The socket's file can't be made.
    #[error("cannot listen on `{}`", path.display())]
    Unix {
        /// Where.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The socket that was handed over can't be used.
    #[error("cannot listen on the socket that was handed over")]
    Inherited(#[source] io::Error),
    /// Everybody who reaches this machine could use commands that need authorisation.
    #[error("{address} is open to other machines, and this daemon has neither token nor accounts")]
    Open {
        /// Where.
        address: IpAddr,
    },
    /// The flags make no sense.
    #[error("{0}")]
    Flags(String),
}

impl Listener {
    /// Listens on `port` of `bind`, or on a free one if it is 0; with `both_loopbacks` on `::1` as
    /// well, where the machine has it.
    pub(crate) async fn bind(
        bind: IpAddr,
        port: u16,
        both_loopbacks: bool,
        unix: Option<&Path>,
    ) -> Result<Self, BindError> {
        let tcp = match both_loopbacks {
            true => bind_both(bind, port).await?,
            false => vec![bind_tcp((bind, port).into()).await?],
        };
        let unix = unix.map(bind_unix).transpose()?;
        Ok(Self { tcp, unix })
    }

    /// Listens on a socket that somebody else has bound.
    pub(crate) fn inherit(
        inherited: std::net::TcpListener,
        unix: Option<&Path>,
    ) -> Result<Self, BindError> {
        let tcp = vec![TcpListener::from_std(inherited).map_err(BindError::Inherited)?];
        let unix = unix.map(bind_unix).transpose()?;
        Ok(Self { tcp, unix })
    }

    pub(crate) fn port(&self) -> u16 {
        self.tcp.first().and_then(|it| it.local_addr().ok()).map_or(0, |address| address.port())
    }

    /// The next guest who comes over TCP. Cancel safe.
    pub(crate) async fn accept_tcp(&self) -> io::Result<Socket> {
        let second = async {
            match self.tcp.get(1) {
                Some(listener) => listener.accept().await,
                None => std::future::pending().await,
            }
        };
        // Accepting is cancel safe, so no guest is lost to the other arm.
        tokio::select! {
            accepted = self.tcp[0].accept() => Socket::tcp(accepted?.0),
            accepted = second => Socket::tcp(accepted?.0),
        }
    }

    /// The next one who comes over the Unix socket. Cancel safe.
    pub(crate) async fn accept_unix(&self) -> io::Result<Socket> {
        match &self.unix {
            Some((listener, _)) => Ok(Socket::Unix(listener.accept().await?.0)),
            None => std::future::pending().await,
        }
    }
}

impl SocketFile {
    fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), identity: identity(path) }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Another daemon that found nobody listening may have put its own there.
        if self.identity.is_some() && identity(&self.path) == self.identity {
            drop(fs::remove_file(&self.path));
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|it| (it.dev(), it.ino()))
}

/// Listens on `address`, where several thousand may wait until somebody is there to let them in:
/// for a door whose guests all come back at once, or that is held while its daemon restarts. It
/// blocks until told otherwise, as whoever it is handed to may expect. `[::]` is IPv6 alone.
///
/// # Errors
/// What the kernel says.
pub fn listen_on(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket2::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // Else it would have the port of IPv4 too.
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(MANY)?;
    Ok(socket.into())
}

/// How many may wait there; the kernel's own bound is as high.
const MANY: i32 = 4096;

async fn bind_tcp(address: SocketAddr) -> Result<TcpListener, BindError> {
    TcpListener::bind(address).await.map_err(|source| BindError::Tcp { address, source })
}

/// A free port of the one loopback may be taken on the other: then another one is tried.
async fn bind_both(bind: IpAddr, port: u16) -> Result<Vec<TcpListener>, BindError> {
    for _ in 0..16 {
        let first = bind_tcp((bind, port).into()).await?;
        let address = (Ipv6Addr::LOCALHOST, first.local_addr().map_or(port, |it| it.port())).into();
        match bind_tcp(address).await {
            Ok(second) => return Ok(vec![first, second]),
            Err(BindError::Tcp { source, .. }) if source.kind() == io::ErrorKind::AddrInUse => {
                if port != 0 {
                    return Err(BindError::Tcp { address, source });
                }
            }
            // Without IPv6 one loopback is all there is.
            Err(_) => return Ok(vec![first]),
        }
    }
    Ok(vec![bind_tcp((bind, port).into()).await?])
}

/// Listens on a socket's file that only its owner may use; one that nobody listens on is replaced.
fn bind_unix(path: &Path) -> Result<(UnixListener, SocketFile), BindError> {
    let failed = |source| BindError::Unix { path: path.to_owned(), source };
    if std::os::unix::net::UnixStream::connect(path).is_err() && path.exists() {
        fs::remove_file(path).map_err(failed)?;
    }
    let listener = bind_closed(path).map_err(failed)?;
    Ok((listener, SocketFile::new(path)))
}

/// How many may wait to be let in.
const BACKLOG: u32 = 1024;

/// The socket gets its mode before it gets its file, so that the file never is anybody else's to
/// open.
fn bind_closed(path: &Path) -> io::Result<UnixListener> {
    let socket = UnixSocket::new_stream()?;
    let file = File::from(socket.as_fd().try_clone_to_owned()?);
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    socket.bind(path)?;
    socket.listen(BACKLOG)
}
