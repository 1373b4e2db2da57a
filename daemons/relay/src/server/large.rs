//! Large messages: passed on at once, or kept until they are fetched, in memory or in files.

use std::{
    collections::HashSet,
    fs::File,
    io::{self, Write},
    os::unix::fs::FileExt,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use daemon::{Shutdown, State};
use relay::{DbName, From, Large, LargeBounds, Message, Room, Sent, Stored};
use tokio::{sync::Notify, task::spawn_blocking, time::sleep};
use websocket::Answer;

use super::{
    Relay,
    flags::Delivery,
    http::{no_room, unauthorized},
    mailbox::Mailbox,
    peer,
};

/// What waits to be fetched.
#[derive(Debug)]
pub(super) struct Larges {
    waiting: Mutex<Large<Arc<File>>>,
    /// The next to expire may be another.
    changed: Notify,
}

/// So long an id is: 124 bits.
const ID_LENGTH: usize = 24;

impl Larges {
    pub(super) fn new(bounds: LargeBounds) -> Self {
        Self { waiting: Mutex::new(Large::new(bounds)), changed: Notify::new() }
    }

    pub(super) fn set_bounds(&self, bounds: LargeBounds) {
        self.lock().set_bounds(bounds);
    }

    /// How many wait, and their bytes in memory and in files.
    pub(super) fn waiting(&self) -> (usize, usize, usize) {
        self.lock().waiting()
    }

    /// A peer has gone.
    pub(super) fn leave(&self, number: u64) {
        let mut waiting = self.lock();
        if waiting.waiting().0 > 0 {
            waiting.leave(number);
        }
    }

    /// What a peer fetches, if it may.
    pub(super) async fn fetch(&self, id: &str, number: u64) -> io::Result<Option<Bytes>> {
        let stored = self.lock().fetch(id, number);
        match stored {
            None => Ok(None),
            Some(Stored::Memory(text) | Stored::Spilling(text)) => Ok(Some(text)),
            Some(Stored::File(file, bytes)) => {
                let read = move || {
                    let mut text = vec![0; bytes];
                    file.read_exact_at(&mut text, 0).map(|()| text.into())
                };
                spawn_blocking(read).await.map_err(io::Error::other)?.map(Some)
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Large<Arc<File>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Relay {
    /// Passes on what a peer has posted.
    ///
    /// # Errors
    /// What the request is answered if there is no room to keep it.
    pub(super) async fn pass_on(
        &self,
        db: &DbName,
        number: u64,
        body: &Bytes,
        text: &str,
    ) -> Result<(), Answer> {
        let (to, rest) = match Message::read(text) {
            Message::Ping => {
                self.pong(db, number);
                return Ok(());
            }
            Message::Malformed => {
                self.hub().counters.malformed += 1;
                return Ok(());
            }
            Message::To { id, text } => (Some(id), text),
            Message::All(text) => (None, text),
        };
        let terms = self.terms();
        let is_long = || rest.encode_utf16().count() > self.max_payload(&terms);
        if terms.delivery == Delivery::Inline || !is_long() {
            return match self.send_large(db, number, to, rest, None, |_| {}) {
                true => Ok(()),
                false => Err(unauthorized()),
            };
        }
        let (id, is_sent) = self.keep(db, number, to, (body, rest))?;
        self.spill(id, terms.large_dir.clone()).await;
        if is_sent { Ok(()) } else { Err(unauthorized()) }
    }

    /// Tells of a message, and keeps it until it is fetched, under its id; whether the sender is
    /// still there. Nothing comes between what was posted before and after it.
    fn keep(
        &self,
        db: &DbName,
        number: u64,
        to: Option<&str>,
        (body, text): (&Bytes, &str),
    ) -> Result<(String, bool), Answer> {
        let larges = &self.0.larges;
        let room = larges.lock().reserve(text.len());
        let stored = match room {
            None => return Err(no_room()),
            Some(Room::Memory) => Stored::Memory(Bytes::copy_from_slice(text.as_bytes())),
            Some(Room::File) => Stored::Spilling(body.slice_ref(text.as_bytes())),
        };
        let id = random_id();
        let mut receivers = HashSet::new();
        let instead = format!("get:{id}");
        let is_sent = self.send_large(db, number, to, text, Some(&instead), |it| {
            receivers.insert(it);
        });
        // A guest has got it already. Without receivers its room is free again.
        let hub = self.hub();
        let peers = hub.db(db.as_str()).map_or(&[][..], relay::Db::peers);
        let fetching = peers.iter().filter(|it| matches!(it.mailbox, Mailbox::Socket { .. }));
        let fetching: HashSet<_> = fetching.map(|it| it.number).collect();
        drop(hub);
        receivers.retain(|it| fetching.contains(it));
        if larges.lock().keep(id.clone(), stored, receivers, self.now()) {
            self.hub().counters.large_kept += 1;
            larges.changed.notify_one();
        }
        Ok((id, is_sent))
    }

    /// Writes a message that is kept into its file, if that is where it goes; also if nobody waits
    /// for that any more.
    async fn spill(&self, id: String, directory: PathBuf) {
        let Some(text) = self.0.larges.lock().spilling(&id) else { return };
        let relay = self.clone();
        let write = move || {
            let file = write(directory, &text);
            match &file {
                Ok(_) => relay.hub().counters.large_spilled += 1,
                Err(error) => {
                    tracing::error!(%error, "a large message can't be written to a file");
                }
            }
            relay.0.larges.lock().spilled(&id, file.ok().map(Arc::new));
        };
        // Nobody cancels it.
        drop(spawn_blocking(write).await);
    }

    /// Sends it, unless the sender has gone while it posted.
    fn send_large(
        &self,
        db: &DbName,
        number: u64,
        to: Option<&str>,
        text: &str,
        instead: Option<&str>,
        took: impl FnMut(u64),
    ) -> bool {
        let mut hub = self.hub();
        let id = hub.db(db.as_str()).and_then(|it| it.id_of(number)).cloned();
        let Some(id) = id else { return false };
        let from = From { number: Some(number), id: &id };
        hub.send(Sent { db: db.as_str(), from, to, text, instead, is_large: true }, took);
        true
    }

    fn pong(&self, db: &DbName, number: u64) {
        let hub = self.hub();
        let db = hub.db(db.as_str());
        let peer = db.and_then(|db| db.peers().iter().find(|it| it.number == number));
        if let Some(Mailbox::Socket { sender, .. }) = peer.map(|it| &it.mailbox) {
            peer::answer(sender);
        }
    }
}

/// Forgets what nobody fetches in time.
pub(super) async fn expire(relay: State<Relay>, mut shutdown: Shutdown) {
    loop {
        let next = relay.0.larges.lock().next_expiry();
        let wait = async {
            match next {
                Some(at) => sleep(at.saturating_sub(relay.now())).await,
                None => std::future::pending::<()>().await,
            }
        };
        // All are cancel safe.
        tokio::select! {
            () = wait => {
                let expired = relay.0.larges.lock().expire(relay.now());
                relay.hub().counters.large_expired += expired as u64;
            }
            () = relay.0.larges.changed.notified() => {}
            () = shutdown.requested() => return,
        }
    }
}

/// Writes a message into a file that has no name, so that it goes with whoever has it open.
fn write(directory: PathBuf, text: &[u8]) -> io::Result<File> {
    let mut file = tempfile::tempfile_in(directory)?;
    file.write_all(text)?;
    Ok(file)
}

/// An id that nobody guesses.
fn random_id() -> String {
    const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let mut id = String::with_capacity(ID_LENGTH);
    while id.len() < ID_LENGTH {
        let mut bytes = [0; ID_LENGTH];
        getrandom::fill(&mut bytes).expect("the kernel has random bytes");
        // Each digit is as likely as any other.
        let fair = bytes.iter().filter(|it| **it < 252);
        let digits = fair.map(|it| char::from(DIGITS[usize::from(*it) % DIGITS.len()]));
        id.extend(digits.take(ID_LENGTH - id.len()));
    }
    id
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn what_is_kept_in_memory_is_there_once_for_all_who_fetch_it() {
        let time = Duration::from_secs(60);
        let larges = Larges::new(LargeBounds { memory: 100, disk: 0, time });
        assert_eq!(larges.lock().reserve(4), Some(Room::Memory));
        let text = Bytes::from_static(b"text");
        let stored = Stored::Memory(text.clone());
        assert!(larges.lock().keep("id".to_owned(), stored, [1, 2].into(), Duration::ZERO));
        for number in [1, 2] {
            let fetched = larges.fetch("id", number).await.unwrap().unwrap();
            assert_eq!((fetched.as_ptr(), fetched.len()), (text.as_ptr(), 4));
        }
    }
}
