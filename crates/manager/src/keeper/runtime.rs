//! The runtime directory: who has it, and the socket in it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;

use rustix::fs::{FlockOperation, Mode, fchmod};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};

use super::{KeeperError, SOCKET};

/// Held while a keeper lives. The lock decides, never the file: a socket that a dead keeper left
/// behind may be replaced by whoever has it.
const LOCK: &str = ".keeper.lock";

/// How many may wait at the door: one manager at a time has business here.
const BACKLOG: i32 = 128;

/// Takes the directory, until the file is dropped.
pub(super) fn lock(runtime: &Path) -> Result<File, KeeperError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| KeeperError::Runtime { path, source }
    };
    let running = runtime.join("running");
    DirBuilder::new().recursive(true).mode(0o700).create(&running).map_err(failed(&running))?;
    let path = runtime.join(LOCK);
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    let file = options.open(&path).map_err(failed(&path))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(Errno::WOULDBLOCK) => Err(KeeperError::Running { runtime: runtime.to_owned() }),
        Err(errno) => Err(failed(&path)(errno.into())),
    }
}

/// Listens, for who has the lock.
pub(super) fn bind(runtime: &Path) -> Result<UnixListener, KeeperError> {
    let path = runtime.join(SOCKET);
    let bind = || {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        // Before there is a file, so that it never is anybody else's to open.
        fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
        rustix::net::bind(&socket, &SocketAddrUnix::new(&path)?)?;
        rustix::net::listen(&socket, BACKLOG)?;
        Ok(UnixListener::from(socket))
    };
    bind().map_err(|source| KeeperError::Runtime { path: path.clone(), source })
}

/// Takes the socket away. The next keeper would replace it anyway, so a failure is no harm.
pub(super) fn remove_socket(runtime: &Path) {
    drop(fs::remove_file(runtime.join(SOCKET)));
}
