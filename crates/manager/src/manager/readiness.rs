use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{net::UnixDatagram, sync::mpsc, time::sleep};

use super::{Event, told};
use crate::{
    child,
    definition::Ready,
    name::Name,
    paths::Paths,
    proc,
    scan::{self, Limits, Listening, Probe},
};

/// The search for a child's readiness, in the way of its definition. Ends when it has been found,
/// or is aborted when the child is no longer starting.
pub(super) struct Search {
    pub(super) name: Name,
    pub(super) pid: u32,
    pub(super) ready: Ready,
    pub(super) secret: String,
    /// Where it listens for others than its guests: nobody is asked for it there.
    pub(super) others: Vec<SocketAddr>,
    /// Where a child with `ready = "notify"` is heard.
    pub(super) notify: Option<UnixDatagram>,
    pub(super) mailbox: mpsc::Sender<Event>,
}

/// When a starting child is looked at after it was spawned, in ms: the kernel tells nobody that a
/// socket listens. Most children of ours tell it themselves before.
const LOOKS: [u64; 5] = [2, 5, 10, 20, 50];

/// Between further looks.
const PERIOD: Duration = Duration::from_millis(100);

/// Where a child with `ready = "notify"` sends `READY=1`.
pub(super) fn notify_path(paths: &Paths, name: &Name) -> PathBuf {
    paths.running().join(format!("{name}.notify"))
}

/// Listens where a child that is about to be spawned will tell that it is ready. What an earlier
/// spawn has left there is removed.
pub(super) fn listen(path: &Path) -> io::Result<UnixDatagram> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    UnixDatagram::bind(path)
}

impl Search {
    pub(super) async fn run(self) {
        match self.ready {
            Ready::Notify => self.hear().await,
            _ => self.look().await,
        }
    }

    async fn look(self) {
        let mut waited = 0;
        let mut looks = LOOKS.into_iter();
        loop {
            let pause = match looks.next() {
                Some(at) => Duration::from_millis(at - std::mem::replace(&mut waited, at)),
                None => PERIOD,
            };
            sleep(pause).await;
            let Some(event) = self.look_once().await else { continue };
            let is_found = matches!(event, child::Event::Ready { .. });
            if self.mailbox.send(Event::Probed(event, self.name.clone())).await.is_err() || is_found
            {
                return;
            }
        }
    }

    /// What there is to tell; nothing while it listens on nothing.
    async fn look_once(&self) -> Option<child::Event> {
        let listening = match self.listening() {
            Ok(listening) => listening,
            Err(error) => return Some(self.found(format!("cannot be looked at: {error}"))),
        };
        let mut what = None;
        for Listening { socket, .. } in listening {
            let port = socket.address.port();
            if self.ready == Ready::Port {
                return Some(self.is_ready(port, None));
            }
            match scan::probe(socket, Limits::OWN).await {
                Probe::Credential(it) if it.secret.as_deref() == Some(&*self.secret) => {
                    let other = !it.name.eq_ignore_ascii_case(self.name.as_str());
                    let note = other.then(|| format!("calls itself `{}`", it.name));
                    return Some(self.is_ready(port, note));
                }
                Probe::Credential(_) => {
                    what = Some(format!("port {port} answers with another secret"));
                }
                probe => what = Some(format!("port {port} {}", told(&probe))),
            }
        }
        Some(self.found(what?))
    }

    /// Where the child and its descendants listen so that this machine can connect.
    fn listening(&self) -> io::Result<Vec<Listening>> {
        let mut listening = scan::listening_of(&proc::tree(self.pid)?)?;
        let is_other = |it: &Listening| self.others.contains(&it.socket.address);
        listening.retain(|it| !it.socket.dial().is_empty() && !is_other(it));
        Ok(listening)
    }

    /// Waits for `READY=1` on the socket that the child was given.
    async fn hear(self) {
        let Some(socket) = &self.notify else { return };
        let mut message = [0; 4096];
        while let Ok(length) = socket.recv(&mut message).await {
            if message[..length].split(|&byte| byte == b'\n').any(|line| line == b"READY=1") {
                let event = child::Event::Ready { pid: self.pid, port: None, note: None };
                drop(self.mailbox.send(Event::Probed(event, self.name.clone())).await);
                return;
            }
        }
    }

    fn is_ready(&self, port: u16, note: Option<String>) -> child::Event {
        child::Event::Ready { pid: self.pid, port: Some(port), note }
    }

    fn found(&self, what: String) -> child::Event {
        child::Event::Found { pid: self.pid, what }
    }
}
