use std::{
    env, fs,
    net::TcpListener,
    os::fd::{FromRawFd, IntoRawFd, OwnedFd, RawFd},
    process,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use socket2::{Domain, SockRef, Type};

/// Listening sockets that were handed to this process at its start, as sd_listen_fds(3) has it:
/// `LISTEN_PID`, `LISTEN_FDS`, `LISTEN_FDNAMES`.
///
/// All clones share them, and each is taken once. None is handed on: they are closed on exec, and
/// the variables name this process alone.
#[derive(Clone, Debug, Default)]
pub struct Inherited(Arc<Mutex<Vec<(String, TcpListener)>>>);

/// The first descriptor that is handed over.
const FIRST: RawFd = 3;

/// What a socket without a label is called where others have one.
const UNLABELLED: &str = "unknown";

impl Inherited {
    /// Those of this process, whoever asks first.
    pub(crate) fn of_process() -> Self {
        static ALL: OnceLock<Inherited> = OnceLock::new();
        ALL.get_or_init(|| Self(Arc::new(Mutex::new(receive())))).clone()
    }

    /// The next one of that label.
    pub(crate) fn take(&self, label: &str) -> Option<TcpListener> {
        self.take_if(|it| it == label)
    }

    /// The one without a label.
    pub(crate) fn take_unlabelled(&self) -> Option<TcpListener> {
        self.take_if(|it| it.is_empty() || it == UNLABELLED)
    }

    fn take_if(&self, is_it: impl Fn(&str) -> bool) -> Option<TcpListener> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = all.iter().position(|(label, _)| is_it(label))?;
        Some(all.remove(at).1)
    }
}

fn receive() -> Vec<(String, TcpListener)> {
    let text = |key| env::var(key).unwrap_or_default();
    if text("LISTEN_PID").parse() != Ok(process::id()) {
        return vec![];
    }
    let names = text("LISTEN_FDNAMES");
    let mut labels = names.split(':');
    let end = text("LISTEN_FDS").parse().map_or(FIRST, |count| FIRST.saturating_add(count));
    let labelled = (FIRST..end).map_while(|fd| {
        let is_open = fs::symlink_metadata(format!("/proc/self/fd/{fd}")).is_ok();
        is_open.then(|| (labels.next().unwrap_or_default(), fd))
    });
    labelled.filter_map(|(label, fd)| Some((label.to_owned(), listener(fd)?))).collect()
}

/// A TCP socket that listens, ready for an event loop; anything else stays as it is.
fn listener(fd: RawFd) -> Option<TcpListener> {
    let owned = own(fd)?;
    let socket = SockRef::from(&owned);
    let is_tcp = socket.r#type().is_ok_and(|it| it == Type::STREAM)
        && socket.domain().is_ok_and(|it| matches!(it, Domain::IPV4 | Domain::IPV6));
    if !is_tcp || !socket.is_listener().unwrap_or(false) {
        _ = owned.into_raw_fd();
        return None;
    }
    socket.set_cloexec(true).and_then(|()| socket.set_nonblocking(true)).ok()?;
    Some(owned.into())
}

/// A socket that was handed over; `None` if the number is something else's.
#[expect(unsafe_code, reason = "a number in the environment is all that tells of a descriptor")]
fn own(fd: RawFd) -> Option<OwnedFd> {
    let target = fs::read_link(format!("/proc/self/fd/{fd}")).ok()?;
    // SAFETY: it is open, as the line above shows. Nobody else owns it: whoever started this very
    // process gave it away by its number, and `of_process` comes here once.
    target.to_str()?.starts_with("socket:").then(|| unsafe { OwnedFd::from_raw_fd(fd) })
}
