use std::{
    any::Any,
    net::IpAddr,
    ops::Deref,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
};

use common_tcp::{Failure, Limits};
use serde::de::SeqAccess;

use crate::{
    Stream,
    argument::{Argument, Call, Role},
    outbox::Outbox,
};

/// Who is connected: as a parameter of a command, who asks.
#[derive(Clone, Debug)]
pub struct Guest(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    id: u64,
    uid: Option<u32>,
    address: Option<IpAddr>,
    authenticated: AtomicBool,
    /// Attempts to log in that were refused, or are not decided.
    attempts: AtomicU32,
    refusals: AtomicU32,
    leaving: AtomicBool,
    dismissed: AtomicBool,
    evicted: AtomicBool,
    patient: AtomicBool,
    sessions: Mutex<Vec<Arc<dyn Any + Send + Sync>>>,
    outbox: Outbox,
}

/// What a daemon keeps of one guest, such as who is logged in: a parameter of a command.
///
/// Made by `T::default()` when a command of this guest asks for it first, and dropped after the
/// guest is gone. Commands of one guest may run side by side if it tags them, so what changes is
/// behind a lock.
#[derive(Debug)]
pub struct Session<T>(Arc<T>);

impl Guest {
    pub(crate) fn new(id: u64, uid: Option<u32>, address: Option<IpAddr>, limits: &Limits) -> Self {
        Self(Arc::new(Inner {
            id,
            uid,
            address,
            authenticated: AtomicBool::new(false),
            attempts: AtomicU32::new(0),
            refusals: AtomicU32::new(0),
            leaving: AtomicBool::new(false),
            dismissed: AtomicBool::new(false),
            evicted: AtomicBool::new(false),
            patient: AtomicBool::new(false),
            sessions: Mutex::default(),
            outbox: Outbox::new(limits),
        }))
    }

    /// Which connection it is; never used again in the life of the daemon.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.0.id
    }

    /// The user at the other end of a Unix socket; over TCP nobody knows.
    #[must_use]
    pub fn uid(&self) -> Option<u32> {
        self.0.uid
    }

    /// From where it has connected; over a Unix socket there is no address.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        self.0.address
    }

    /// Whether it may use commands that need authorisation.
    #[must_use]
    pub fn is_authenticated(&self) -> bool {
        self.0.authenticated.load(Relaxed)
    }

    /// Lets it use commands that need authorisation.
    pub fn authenticate(&self) {
        self.0.authenticated.store(true, Relaxed);
    }

    /// Takes that back: who it was has logged out.
    pub fn forget(&self) {
        self.0.authenticated.store(false, Relaxed);
    }

    /// Ends the connection once what was asked before is answered. What it does not take within
    /// [`Limits::packet_timeout`](crate::Limits::packet_timeout) it does not get any more.
    pub fn leave(&self) {
        self.0.dismissed.store(true, Relaxed);
        self.quit();
    }

    /// The same at its own wish: it gets its replies, however slowly it reads.
    pub(crate) fn quit(&self) {
        self.0.leaving.store(true, Relaxed);
        self.0.outbox.wake();
    }

    /// Whether it leaves, and that is not its own wish.
    pub(crate) fn is_dismissed(&self) -> bool {
        self.0.dismissed.load(Relaxed)
    }

    pub(crate) fn is_leaving(&self) -> bool {
        self.0.leaving.load(Relaxed)
    }

    /// Whether it asks for more than its turn: a daemon with a queue of its own lets others go
    /// first there, as is done with connections.
    #[must_use]
    pub fn is_patient(&self) -> bool {
        self.0.patient.load(Relaxed)
    }

    pub(crate) fn set_patient(&self, is_patient: bool) {
        self.0.patient.store(is_patient, Relaxed);
    }

    /// Ends the connection at once, since it makes the daemon keep too much.
    pub(crate) fn evict(&self) {
        self.0.evicted.store(true, Relaxed);
        self.0.outbox.wake();
    }

    /// Whether it was evicted, and that was not seen yet.
    pub(crate) fn is_evicted(&self) -> bool {
        self.0.evicted.load(Relaxed)
    }

    /// Whether it was evicted since this was asked last.
    pub(crate) fn take_eviction(&self) -> bool {
        self.0.evicted.load(Relaxed) && self.0.evicted.swap(false, Relaxed)
    }

    /// Counts an attempt to log in: how many there are that did not succeed.
    pub(crate) fn attempt(&self) -> u32 {
        self.0.attempts.fetch_add(1, Relaxed) + 1
    }

    /// Counts a refused attempt to log in: how many there are.
    pub(crate) fn refuse(&self) -> u32 {
        self.0.refusals.fetch_add(1, Relaxed) + 1
    }

    /// Whether an attempt of it to log in was refused.
    pub(crate) fn was_refused(&self) -> bool {
        self.0.refusals.load(Relaxed) > 0
    }

    /// An attempt was none after all, or has succeeded.
    pub(crate) fn forget_attempt(&self) {
        self.0.attempts.fetch_sub(1, Relaxed);
    }

    /// The connection is over: what was kept of it is dropped, whoever still holds the guest.
    ///
    /// A session that holds streams holds their guest, so it would keep itself alive.
    pub(crate) fn depart(&self) {
        self.0.outbox.clear();
        let mut sessions = self.0.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = std::mem::take(&mut *sessions);
        // What is dropped may ask for the guest's sessions.
        drop(sessions);
        drop(kept);
    }

    /// The stream without a tag, for what no single command began: a session's news. It is open at
    /// once, so what is emitted while a command runs goes out before its reply if the command still
    /// waits after that, and behind it if it does not.
    ///
    /// # Errors
    /// `conflict` while there is one already, and `busy` or `shutting-down`.
    pub fn feed(&self) -> Result<Stream, Failure> {
        let id = self.outbox().start(None)?;
        self.outbox().open(None);
        Ok(Stream::new(self.clone(), id))
    }

    pub(crate) fn outbox(&self) -> &Outbox {
        &self.0.outbox
    }

    /// What is kept of this guest under the type `T`.
    #[must_use]
    pub fn session<T: Default + Send + Sync + 'static>(&self) -> Session<T> {
        let mut sessions = self.0.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let found = sessions.iter().find_map(|it| Arc::clone(it).downcast().ok());
        Session(found.unwrap_or_else(|| {
            let session = Arc::new(T::default());
            sessions.push(Arc::<T>::clone(&session));
            session
        }))
    }
}

impl Argument for Guest {
    fn role() -> Role {
        Role::Context
    }

    fn take<'de, A: SeqAccess<'de>>(call: &Call<'_>, _: &mut A) -> Result<Self, A::Error> {
        Ok(call.guest.clone())
    }
}

impl<T: Default + Send + Sync + 'static> Argument for Session<T> {
    fn role() -> Role {
        Role::Context
    }

    fn take<'de, A: SeqAccess<'de>>(call: &Call<'_>, _: &mut A) -> Result<Self, A::Error> {
        Ok(call.guest.session())
    }
}

impl<T> Deref for Session<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}
