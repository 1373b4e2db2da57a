//! The keeper: parent of all children, reader of their output, writer of their logs.
//!
//! It is a process of its own so that none of this ends with the manager: exit codes, output and
//! the children themselves survive it. For that it stays small and dull: one loop, no runtime, and
//! no thread but one that forks for it. It obeys and reports (see [`protocol`]), and knows no
//! policy: what is restarted, when, and whether, is not its business. It must not know the
//! registry, the network or the command line.

mod adopt;
pub mod archive;
mod archivist;
mod cgroups;
mod child;
mod clock;
mod exec;
mod forker;
pub(crate) mod handed;
mod link;
mod log;
mod pipes;
pub mod protocol;
mod requests;
mod reserve;
mod runtime;
mod shared_log;
mod sockets;
mod sources;
mod spawn;
mod stray;
mod sweep;
mod syscall;
mod tree;
mod turn;
mod unopened;

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use nix::sys::signal::SigSet;
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit};

use self::cgroups::Cgroups;
#[cfg(fuzzing)]
pub(crate) use self::exec::parse_failure;
pub use self::log::{FLAG_DROPPED, RECORD_BYTES};
use self::turn::Keeper;

/// The hidden subcommand that gets here: `dae keeper --runtime DIR [--cgroup off]`.
pub const SUBCOMMAND: &str = "keeper";

/// With these behind, the keeper does without cgroups even where it could use them.
pub const WITHOUT_CGROUPS: [&str; 2] = ["--cgroup", "off"];

/// Why a keeper did not start, or did not go on.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// The command line is not that of a keeper.
    #[error("a keeper is started as `dae keeper --runtime DIR [--cgroup off]`")]
    Usage,
    /// Another keeper has this directory.
    #[error("a keeper already runs in `{}`", runtime.display())]
    Running {
        /// The directory.
        runtime: PathBuf,
    },
    /// The directory, the lock or the socket cannot be made.
    #[error("cannot use `{}`", path.display())]
    Runtime {
        /// Which of them.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The kernel refused what a keeper cannot do without.
    #[error("cannot set up the keeper")]
    Kernel(#[from] io::Error),
}

impl From<Errno> for KeeperError {
    fn from(errno: Errno) -> Self {
        Self::Kernel(errno.into())
    }
}

/// The socket in a runtime directory. No daemon's name begins with a dot.
pub fn socket(runtime: &Path) -> PathBuf {
    runtime.join(".keeper.sock")
}

/// Runs the hidden subcommand with what follows its name.
///
/// # Errors
/// Those of [`run`], and [`KeeperError::Usage`].
pub fn main(arguments: impl Iterator<Item = OsString>) -> Result<(), KeeperError> {
    let arguments: Vec<OsString> = arguments.collect();
    match &arguments[..] {
        [flag, runtime] if flag == "--runtime" => run(Path::new(runtime), true),
        [flag, runtime, rest @ ..] if flag == "--runtime" && rest == WITHOUT_CGROUPS => {
            run(Path::new(runtime), false)
        }
        _ => Err(KeeperError::Usage),
    }
}

/// Keeps children until it is told to end, or has been without children and manager for a minute.
///
/// It takes over the process: closes all descriptors above stderr, leaves the session, blocks
/// signals. Standard output and error stay what the starter made them. Each child has a cgroup if
/// that is wanted and possible.
///
/// # Errors
/// [`KeeperError`]
pub fn run(runtime: &Path, with_cgroups: bool) -> Result<(), KeeperError> {
    let nofile = settle()?;
    // Held to the end of this function; the kernel releases it however that comes.
    let _lock = runtime::lock(runtime)?;
    let cgroups = with_cgroups.then(|| Cgroups::open(runtime)).flatten();
    let mut keeper = Keeper::listen(runtime, nofile, cgroups)?;
    while keeper.turn()? {}
    runtime::remove_socket(runtime);
    Ok(())
}

/// Arranges the process; returns the soft limit of open files that children are to have.
fn settle() -> Result<u64, KeeperError> {
    syscall::close_inherited()?;
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    // Fails for the leader of a group, which then has its own already.
    let _ = rustix::process::setsid();
    rustix::process::umask(Mode::from_raw_mode(0o077));
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    // The end of a terminal, of a session or of the manager must not end what the keeper holds;
    // the manager says `end` when nothing is left. Blocking spares a handler for each.
    SigSet::all().thread_set_mask().map_err(io::Error::from)?;
    let limit = rustix::process::getrlimit(Resource::Nofile);
    rustix::process::setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?;
    Ok(limit.current.unwrap_or(u64::MAX))
}
