//! The runtime directory: who has it, and the socket in it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;

use rustix::fs::{FlockOperation, Mode, fchmod};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};

use super::{KeeperError, socket};
use crate::identity::Identity;

/// Held while a keeper lives. The lock decides, never the file: a socket that a dead keeper left
/// behind may be replaced by whoever has it.
const LOCK: &str = ".keeper.lock";

/// Which directory the identities beside it were written in, by device and inode.
const PLACE: &str = ".place";

/// How many may wait at the door: one manager at a time has business here.
const BACKLOG: i32 = 128;

/// Takes the directory, until the file is dropped.
pub(super) fn lock(runtime: &Path) -> Result<File, KeeperError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| KeeperError::Runtime { path, source }
    };
    let running = Identity::directory(runtime);
    DirBuilder::new().recursive(true).mode(0o700).create(&running).map_err(failed(&running))?;
    let path = runtime.join(LOCK);
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    let file = options.open(&path).map_err(failed(&path))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {
            settle(&running).map_err(failed(&running))?;
            Ok(file)
        }
        Err(Errno::WOULDBLOCK) => Err(KeeperError::Running { runtime: runtime.to_owned() }),
        Err(errno) => Err(failed(&path)(errno.into())),
    }
}

/// Sees to it that the identities in a directory are of processes that a keeper in this very
/// directory has started. In a copy of it (`cp -a`) they are another home's, and nobody else's
/// business.
fn settle(running: &Path) -> io::Result<()> {
    let meta = fs::metadata(running)?;
    let own = format!("{}:{}\n", meta.dev(), meta.ino());
    let path = running.join(PLACE);
    match fs::read_to_string(&path) {
        Ok(place) if place == own => return Ok(()),
        Ok(_) => remove_identities(running)?,
        // As it is before the first start, and after that of an older version.
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let new = running.join(format!("{PLACE}.new"));
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    options.open(&new)?.write_all(own.as_bytes())?;
    fs::rename(new, path)
}

fn remove_identities(running: &Path) -> io::Result<()> {
    for entry in fs::read_dir(running)? {
        let path = entry?.path();
        if path.extension().is_some_and(|it| it == "json") {
            eprintln!("dae: `{}` was copied from another home and is dropped", path.display());
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Listens, for who has the lock.
pub(super) fn bind(runtime: &Path) -> Result<UnixListener, KeeperError> {
    let path = socket(runtime);
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
    drop(fs::remove_file(socket(runtime)));
}
