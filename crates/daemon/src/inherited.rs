use std::{
    collections::BTreeSet,
    env, fs,
    net::TcpListener,
    os::fd::{FromRawFd, IntoRawFd, OwnedFd, RawFd},
    process,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use socket2::{Domain, SockRef, Type};

/// Listening sockets that were handed to this process at its start, as sd_listen_fds(3) has it:
/// `LISTEN_PID`, `LISTEN_FDS`, `LISTEN_FDNAMES`.
///
/// All clones share them, and each is taken once. None is handed on: they are closed on exec, and
/// the variables name this process alone.
#[derive(Clone, Debug, Default)]
pub struct Inherited(Arc<Mutex<Sockets>>);

#[derive(Debug, Default)]
struct Sockets {
    /// Those that nobody has taken yet, with their labels.
    left: Vec<(String, TcpListener)>,
    /// The labels that were asked for.
    known: BTreeSet<String>,
}

/// The first descriptor that is handed over.
const FIRST: RawFd = 3;

/// What a socket without a label is called where others have one.
const UNLABELLED: &str = "unknown";

impl Inherited {
    /// Those of this process, whoever asks first.
    pub(crate) fn of_process() -> Self {
        static ALL: OnceLock<Inherited> = OnceLock::new();
        ALL.get_or_init(|| {
            let sockets = Sockets { left: receive(), known: BTreeSet::new() };
            Self(Arc::new(Mutex::new(sockets)))
        })
        .clone()
    }

    /// The next one of that label.
    pub(crate) fn take(&self, label: &str) -> Option<TcpListener> {
        self.sockets().known.insert(label.to_owned());
        self.take_if(|it| it == label)
    }

    /// The one without a label.
    pub(crate) fn take_unlabelled(&self) -> Option<TcpListener> {
        self.take_if(is_none)
    }

    fn take_if(&self, is_it: impl Fn(&str) -> bool) -> Option<TcpListener> {
        let left = &mut self.sockets().left;
        let at = left.iter().position(|(label, _)| is_it(label))?;
        Some(left.remove(at).1)
    }

    /// Warns of those that nobody has taken: who connects there waits for an answer in vain.
    pub(crate) fn warn_of_left(&self) {
        let sockets = self.sockets();
        let known = sockets.known.iter().map(String::as_str).chain(["Common TCP"]);
        let known = known.collect::<Vec<_>>().join(", ");
        for (label, listener) in &sockets.left {
            let port = listener.local_addr().map_or(0, |it| it.port());
            let label = if is_none(label) { "Common TCP" } else { label };
            let why = "nobody takes this socket, so who connects waits in vain";
            tracing::warn!(label, port, known, "{why}");
        }
    }

    fn sockets(&self) -> MutexGuard<'_, Sockets> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_none(label: &str) -> bool {
    label.is_empty() || label == UNLABELLED
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
