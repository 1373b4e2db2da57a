use std::{
    collections::HashMap,
    fmt, io,
    ops::Deref,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use common_tcp::{Connection, Socket};
use tokio::{
    task::{JoinSet, yield_now},
    time::{sleep, timeout},
};

use crate::{
    Entrance, Guest, Inherited, Shutdown,
    budget::Budget,
    entrance::Entering,
    listen::Listener,
    manager::Manager,
    places::Places,
    router::Router,
    strangers::Strangers,
    turn::Lane,
    visit::{Visit, turn_away},
};

/// A daemon that listens and does not serve yet; guests that come wait.
pub struct Bound<S> {
    pub(crate) listener: Listener,
    pub(crate) entrance: Entrance,
    pub(crate) entering: Entering,
    pub(crate) router: Arc<Router<S>>,
    pub(crate) services: Vec<Service<S>>,
    /// Who is told when the daemon is ready.
    pub(crate) manager: Option<Manager>,
    /// Whether a guest on the Unix socket with our own user is authenticated by that.
    pub(crate) trusts_own_user: bool,
    /// What may be left of the sockets that were handed over.
    pub(crate) held: Inherited,
}

/// What runs beside the commands with the same state.
pub(crate) type Service<S> = Box<dyn FnOnce(State<S>, Shutdown) -> Running + Send>;

type Running = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The daemon's state, for what runs beside the commands.
pub struct State<S>(Arc<Router<S>>);

/// Whether the daemon ends, and whom to wake for that.
#[derive(Debug, Default)]
pub(crate) struct Ending {
    begun: AtomicBool,
    overdue: AtomicBool,
    guests: Mutex<HashMap<u64, Guest>>,
}

/// How long commands that run may still take once the daemon is to end.
const GRACE: Duration = Duration::from_secs(5);

/// How long guests are given after that to take their last bytes.
const PARTING: Duration = Duration::from_secs(1);

/// So many are let in before those who are here have their turn.
const GROUP: u64 = 4;

/// How long nobody is accepted after the kernel had no room for one, usually for want of
/// descriptors.
const PAUSE: Duration = Duration::from_millis(100);

impl<S: Send + Sync + 'static> Bound<S> {
    /// The port that guests connect to.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.listener.port()
    }

    /// Adds a member to what the daemon says of itself (`whois`): where its other doors are, for
    /// instance.
    pub fn introduce(&self, member: &str, value: impl Into<serde_json::Value>) {
        self.router.common.introduce(member, value.into());
    }

    /// The daemon's state, for a second door beside the commands.
    #[must_use]
    pub fn state(&self) -> State<S> {
        State(Arc::clone(&self.router))
    }

    /// The way in for who comes by another door; whoever does is a guest like any other.
    #[must_use]
    pub fn entrance(&self) -> Entrance {
        self.entrance.clone()
    }

    /// Serves until `requested` is done; then accepts nobody, answers what has been asked, ends
    /// streams, and returns when the last guest has gone, after six seconds at most.
    pub async fn serve(self, requested: impl Future<Output = ()>) {
        let Self { listener, entrance, mut entering, router, services, manager, .. } = self;
        let trusts_own_user = self.trusts_own_user;
        self.held.warn_of_left();
        drop(entrance);
        let (end, shutdown) = Shutdown::new();
        let ending = Arc::new(Ending::default());
        let mut tasks = JoinSet::new();
        for service in services {
            tasks.spawn(service(State(Arc::clone(&router)), shutdown.clone()));
        }
        if let Some(manager) = manager {
            let (secret, port) = (router.common.secret.clone(), listener.port());
            let mut shutdown = shutdown.clone();
            tasks.spawn(async move {
                // Who ends is not ready any more.
                tokio::select! {
                    () = manager.tell_ready(secret, port) => {}
                    () = shutdown.requested() => {}
                }
            });
        }

        let mut guests = JoinSet::new();
        let mut reception = Reception::new(router, Arc::clone(&ending), trusts_own_user);
        let (abroad, here) = (Arc::clone(&reception.abroad), Arc::clone(&reception.here));
        let mut requested = pin!(requested);
        loop {
            // Accepting and joining are cancel safe; `requested` is kept.
            tokio::select! {
                accepted = abroad.admit(listener.accept_tcp()) => {
                    reception.let_in(accepted, &abroad, &mut guests).await;
                }
                accepted = here.admit(listener.accept_unix()) => {
                    reception.let_in(accepted, &here, &mut guests).await;
                }
                Some(socket) = entering.recv() => reception.receive(socket, &mut guests),
                Some(_) = guests.join_next() => {}
                Some(_) = tasks.join_next() => {}
                () = &mut requested => break,
            }
        }

        drop((listener, entering));
        end.send_replace(true);
        ending.begin();
        let mut gone = pin!(async {
            while guests.join_next().await.is_some() {}
            while tasks.join_next().await.is_some() {}
        });
        if timeout(GRACE, gone.as_mut()).await.is_ok() {
            return;
        }
        ending.give_up();
        if timeout(PARTING, gone).await.is_err() {
            tracing::warn!("some guests or services were still busy at the end");
        }
    }
}

/// Lets guests in.
struct Reception<S> {
    router: Arc<Router<S>>,
    ending: Arc<Ending>,
    places: Places,
    budget: Arc<Budget>,
    lane: Arc<Lane>,
    /// Who comes over TCP, and who over the Unix socket.
    abroad: Arc<Strangers>,
    here: Arc<Strangers>,
    trusts_own_user: bool,
    last: u64,
}

impl<S: Send + Sync + 'static> Reception<S> {
    fn new(router: Arc<Router<S>>, ending: Arc<Ending>, trusts_own_user: bool) -> Self {
        let limits = router.common.limits;
        let places = Places::new(&limits);
        if places.most() < limits.connections {
            let (most, wanted) = (places.most(), limits.connections);
            tracing::warn!(most, wanted, "fewer guests than wanted, since few files may be open");
        }
        let budget = Arc::new(Budget::new(limits.waiting_bytes));
        let (lane, abroad) = (Arc::default(), Arc::<Strangers>::default());
        let here = Arc::new(abroad.elsewhere());
        Self { router, ending, places, budget, lane, abroad, here, trusts_own_user, last: 0 }
    }

    /// Has somebody in who has come, if he did.
    async fn let_in(
        &mut self,
        accepted: io::Result<Socket>,
        strangers: &Strangers,
        guests: &mut JoinSet<()>,
    ) {
        match accepted {
            Ok(socket) => {
                strangers.charge_now(|| self.receive(socket, guests));
                if self.has_let_in_a_group() {
                    yield_now().await;
                }
            }
            Err(error) => reject(&error).await,
        }
    }

    fn strangers(&self, is_here: bool) -> Arc<Strangers> {
        Arc::clone(if is_here { &self.here } else { &self.abroad })
    }

    fn has_let_in_a_group(&self) -> bool {
        self.last.is_multiple_of(GROUP)
    }

    fn receive(&mut self, socket: Socket, guests: &mut JoinSet<()>) {
        let limits = self.router.common.limits;
        self.last += 1;
        let guest = Guest::new(self.last, socket.peer_uid(), socket.peer_address(), &limits);
        if self.trusts_own_user && guest.uid() == Some(own_uid()) {
            guest.authenticate();
        }
        let connection = Connection::of_server(socket, &limits);
        let is_here = guest.uid().is_some();
        let Some(place) = self.places.take(is_here) else {
            return self.turn_away(connection, is_here, guests);
        };
        let (router, ending) = (Arc::clone(&self.router), Arc::clone(&self.ending));
        let (budget, lane) = (Arc::clone(&self.budget), Arc::clone(&self.lane));
        let strangers = self.strangers(is_here);
        guests.spawn(async move {
            let _place = place;
            let _presence = Presence::new(&ending, &guest);
            let visit =
                Visit::new(&router, &ending, &budget, &lane, &strangers, guest.clone(), connection);
            visit.run().await;
        });
    }

    /// Tells a guest that there is no room, unless too many are being told already.
    fn turn_away(&self, connection: Connection, is_here: bool, guests: &mut JoinSet<()>) {
        let most = self.places.most();
        if let Some(place) = self.places.take_parting() {
            let (lane, strangers) = (Arc::clone(&self.lane), self.strangers(is_here));
            guests.spawn(async move {
                let _place = place;
                turn_away(connection, &lane, &strangers, most).await;
            });
        }
    }
}

/// Keeps a guest among those who are woken at the end.
struct Presence<'a>(&'a Ending, u64);

impl<'a> Presence<'a> {
    fn new(ending: &'a Ending, guest: &Guest) -> Self {
        ending.lock().insert(guest.id(), guest.clone());
        Self(ending, guest.id())
    }
}

impl Drop for Presence<'_> {
    fn drop(&mut self) {
        let guest = self.0.lock().remove(&self.1);
        guest.iter().for_each(Guest::depart);
    }
}

impl Ending {
    pub(crate) fn has_begun(&self) -> bool {
        self.begun.load(Relaxed)
    }

    /// Whether commands that run are waited for no longer.
    pub(crate) fn is_overdue(&self) -> bool {
        self.overdue.load(Relaxed)
    }

    fn begin(&self) {
        self.begun.store(true, Relaxed);
        self.wake_all();
    }

    fn give_up(&self) {
        self.overdue.store(true, Relaxed);
        self.wake_all();
    }

    fn wake_all(&self) {
        for guest in self.lock().values() {
            guest.outbox().wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Guest>> {
        self.guests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn reject(error: &io::Error) {
    tracing::warn!(%error, "cannot accept a guest");
    sleep(PAUSE).await;
}

/// The user that this process runs as.
fn own_uid() -> u32 {
    // The kernel tells it to whoever has a socket pair; no other way is without a further
    // dependency.
    static UID: std::sync::LazyLock<Option<u32>> = std::sync::LazyLock::new(|| {
        use std::os::unix::fs::MetadataExt;
        std::fs::metadata("/proc/self").ok().map(|it| it.uid())
    });
    UID.unwrap_or(u32::MAX)
}

impl<S> Deref for State<S> {
    type Target = S;

    fn deref(&self) -> &S {
        &self.0.state
    }
}

impl<S> Clone for State<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: fmt::Debug> fmt::Debug for State<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.state.fmt(f)
    }
}

impl<S> fmt::Debug for Bound<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bound").field("listener", &self.listener).finish_non_exhaustive()
    }
}
