//! What guests of Common TCP can do: look, send, and be peers themselves.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use daemon::{Failure, Guest, Session, Shutdown, State, Stream};
use relay::{Db, DbName, From, Handshake, NotEntered, PeerId, Refusal, Sent};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};

use super::{
    Relay,
    mailbox::{Mailbox, Receiver},
    meter::Meter,
};

/// Where a guest is a peer, and where it only listens.
#[derive(Debug, Default)]
pub(crate) struct Memberships {
    all: Mutex<HashMap<DbName, Membership>>,
    /// How fast it sends.
    meter: Arc<Meter>,
}

/// A guest in a database, until it is dropped.
#[derive(Debug)]
struct Membership {
    relay: Relay,
    db: DbName,
    number: u64,
    /// Its id; `None` for who only listens.
    id: Option<PeerId>,
    receiver: Arc<Receiver>,
}

/// Of `receive`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ReceiveOpts {
    presence: bool,
    after: Option<u64>,
}

#[derive(Serialize)]
pub(crate) struct Listed {
    name: String,
    peers: usize,
    messages: u64,
    bytes: u64,
}

#[derive(Serialize)]
pub(crate) struct ListedPeer {
    id: String,
    connected: u64,
    addr: Option<String>,
    /// All are of this process.
    node: Option<String>,
    queue_bytes: usize,
    sent: u64,
    received: u64,
    kind: &'static str,
}

#[derive(Serialize)]
pub(crate) struct Delivered {
    delivered: usize,
}

#[derive(Serialize)]
pub(crate) struct Joined {
    db: String,
    id: String,
}

#[derive(Serialize)]
pub(crate) struct Receiving {
    db: String,
    n: u64,
}

impl Relay {
    pub(super) fn dbs(&self) -> Vec<Listed> {
        let hub = self.hub();
        let mut dbs: Vec<_> = hub
            .dbs()
            .map(|db| Listed {
                name: db.name().to_string(),
                peers: db.peers().len(),
                messages: db.messages(),
                bytes: db.bytes(),
            })
            .collect();
        dbs.sort_by(|a, b| a.name.cmp(&b.name));
        dbs
    }

    pub(super) fn peers(&self, db: String) -> Result<Vec<ListedPeer>, Failure> {
        let db = self.db_name(&db)?;
        let hub = self.hub();
        let peers = hub.db(db.as_str()).map_or(&[][..], Db::peers);
        Ok(peers.iter().map(|it| self.listed(it)).collect())
    }

    pub(super) async fn send(
        &self,
        guest: Guest,
        here: Session<Memberships>,
        db: String,
        to: String,
        text: Value,
    ) -> Result<Delivered, Failure> {
        let text = self.text_of(2, text)?;
        self.send_as(&guest, &here, &db, Some(&to), &text).await
    }

    pub(super) async fn broadcast(
        &self,
        guest: Guest,
        here: Session<Memberships>,
        db: String,
        text: Value,
    ) -> Result<Delivered, Failure> {
        let text = self.text_of(1, text)?;
        self.send_as(&guest, &here, &db, None, &text).await
    }

    pub(super) async fn join(
        &self,
        guest: Guest,
        here: Session<Memberships>,
        db: String,
        id: Option<String>,
    ) -> Result<Joined, Failure> {
        let db = self.db_name(&db)?;
        let id = match &id {
            None => PeerId::of_guest(guest.id()),
            Some(id) => PeerId::read(id).ok_or_else(|| bad_id(id))?,
        };
        drop(here.free(&db)?);
        let handshake = Handshake { db: db.clone(), id: id.clone() };
        let admitted = self.contest(handshake).await.map_err(|it| refused(&it))?;
        // It may have asked twice at once.
        let mut all = here.free(&db)?;
        let receiver = Receiver::new(&here.meter);
        let mailbox = Mailbox::Guest(Arc::clone(&receiver));
        let number = admitted.enter(mailbox).map_err(|it| refused(&not_entered(it, &id)))?;
        let relay = self.clone();
        let joined = Joined { db: db.to_string(), id: id.to_string() };
        let membership = Membership { relay, db: db.clone(), number, id: Some(id), receiver };
        all.insert(db, membership);
        Ok(joined)
    }

    pub(super) fn leave(&self, here: Session<Memberships>, db: String) -> Result<(), Failure> {
        let left = here.lock().remove(db.as_str());
        match left {
            Some(_) => Ok(()),
            None => Err(Failure::not_found(format!("you are not in `{db}`"))),
        }
    }

    pub(super) fn receive(
        &self,
        here: Session<Memberships>,
        stream: Stream,
        db: String,
        opts: Option<ReceiveOpts>,
    ) -> Result<Receiving, Failure> {
        let (db, opts) = (self.db_name(&db)?, opts.unwrap_or_default());
        let mut all = here.lock();
        let peer = all.get(&db).filter(|it| it.id.is_some() && it.is_there());
        if let Some(peer) = peer {
            if opts.after.is_some() {
                let message =
                    "`after` is for who only listens: a peer misses nothing while it is one";
                return Err(Failure::bad_argument(1, "no `after`", message));
            }
            not_twice(&peer.receiver)?;
            peer.receiver.listen(stream, opts.presence);
        } else {
            if let Some(tap) = all.get(&db) {
                not_twice(&tap.receiver)?;
            }
            // What has ended goes before.
            all.retain(|_, it| it.id.is_some() || it.receiver.is_listening());
            all.remove(&db);
            all.insert(db.clone(), self.tap(&db, Receiver::new(&here.meter), stream, &opts)?);
        }
        drop(all);
        let n = self.hub().db(db.as_str()).map_or(0, Db::messages);
        Ok(Receiving { db: db.to_string(), n })
    }

    pub(super) fn kick(&self, db: String, id: String) -> Result<(), Failure> {
        let db = self.db_name(&db)?;
        match self.hub().kick(db.as_str(), &id) {
            true => {
                tracing::info!(%db, id, "sent away by `kick`");
                Ok(())
            }
            false => Err(Failure::not_found(format!("nobody in `{db}` is `{id}`"))),
        }
    }

    pub(super) fn drain(&self) {
        self.0.drained.notify_one();
    }

    /// Lets a guest have all that is sent from now on, after what was sent before.
    fn tap(
        &self,
        db: &DbName,
        receiver: Arc<Receiver>,
        stream: Stream,
        opts: &ReceiveOpts,
    ) -> Result<Membership, Failure> {
        let mailbox = Mailbox::Guest(Arc::clone(&receiver));
        let mut hub = self.hub();
        let tapped = hub.tap(db, mailbox.clone());
        let number = tapped.map_err(|it| Failure::new("busy", it.to_string()))?;
        receiver.listen(stream, opts.presence);
        if let Some(after) = opts.after {
            // Numbers begin anew when nobody is in a database any more.
            let known = hub.db(db.as_str()).map_or(0, Db::messages);
            let missed = (after <= known).then(|| hub.missed(db.as_str(), after));
            if missed != Some(0) {
                receiver.tell_gap(missed);
            }
            hub.replay(db.as_str(), after, &mailbox);
        }
        Ok(Membership { relay: self.clone(), db: db.clone(), number, id: None, receiver })
    }

    async fn send_as(
        &self,
        guest: &Guest,
        here: &Memberships,
        db: &str,
        to: Option<&str>,
        text: &str,
    ) -> Result<Delivered, Failure> {
        let db = self.db_name(db)?;
        let peer = here.peer(&db);
        let number = peer.as_ref().map(|(number, _)| *number);
        let id = peer.map_or_else(|| PeerId::of_guest(guest.id()), |(_, id)| id);
        let from = From { number, id: &id };
        let sent = Sent { db: db.as_str(), from, to, text, instead: None, is_large: false };
        let delivered = self.hub().send(sent, |_| {});
        let terms = self.terms();
        if let Some(wait) = self.owes(&terms, &here.meter, text.len()) {
            self.rest(&terms, wait).await;
        }
        Ok(Delivered { delivered })
    }

    fn db_name(&self, db: &str) -> Result<DbName, Failure> {
        let is_served = self.terms().dbs.iter().any(|it| it.has(db));
        let name = DbName::read(db).filter(|_| is_served);
        name.ok_or_else(|| Failure::not_found(format!("no database `{db}` here")))
    }

    /// A message: a string as it is, an object as compact JSON.
    fn text_of(&self, arg: usize, value: Value) -> Result<String, Failure> {
        let text = match value {
            Value::String(text) => text,
            Value::Object(_) => value.to_string(),
            _ => {
                let message = "a message is a string, or an object that is sent as JSON";
                return Err(Failure::bad_argument(arg, "string or object", message));
            }
        };
        let most = self.terms().max_post;
        if text.len() > most {
            let message = format!("a message has at most {most} bytes");
            return Err(Failure::new("too-large", message).with("limit", most));
        }
        Ok(text)
    }

    fn listed(&self, peer: &relay::Peer<Mailbox>) -> ListedPeer {
        ListedPeer {
            id: peer.id.to_string(),
            connected: self.clock_ms_at(peer.since),
            addr: peer.mailbox.address().map(|it| it.to_string()),
            node: None,
            queue_bytes: peer.mailbox.waiting_bytes(),
            sent: peer.sent,
            received: peer.received,
            kind: peer.mailbox.kind(),
        }
    }
}

impl Memberships {
    /// All of them, if the guest is not a peer of `db`; what it was there before is gone.
    fn free(&self, db: &DbName) -> Result<MutexGuard<'_, HashMap<DbName, Membership>>, Failure> {
        let mut all = self.lock();
        let member = all.get(db).filter(|it| it.is_there());
        if let Some(id) = member.and_then(|it| it.id.as_ref()) {
            let message = format!("you are `{id}` in `{db}` already");
            return Err(Failure::new("conflict", message));
        }
        if member.is_some_and(|it| it.receiver.is_listening()) {
            let message = format!("you listen to all of `{db}`: `cancel` that, then `join`");
            return Err(Failure::new("conflict", message));
        }
        all.remove(db);
        Ok(all)
    }

    /// As whom the guest is a peer of `db`.
    fn peer(&self, db: &DbName) -> Option<(u64, PeerId)> {
        let all = self.lock();
        let member = all.get(db).filter(|it| it.is_there())?;
        Some((member.number, member.id.clone()?))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<DbName, Membership>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Membership {
    /// Whether nobody has ended it.
    fn is_there(&self) -> bool {
        self.receiver.dismissal().is_none()
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        match self.id {
            Some(_) => self.relay.part(self.db.as_str(), self.number),
            None => self.relay.hub().untap(self.db.as_str(), self.number),
        }
        self.receiver.end("left");
    }
}

/// Reads flags, files and tokens again at SIGHUP.
pub(super) async fn reload_on_hangup(relay: State<Relay>, mut shutdown: Shutdown) {
    let Ok(mut hangups) = signal(SignalKind::hangup()) else { return };
    loop {
        // Both are cancel safe.
        tokio::select! {
            // What came of it is in the log.
            Some(()) = hangups.recv() => drop(relay.reload()),
            () = shutdown.requested() => return,
        }
    }
}

fn not_twice(receiver: &Receiver) -> Result<(), Failure> {
    match receiver.is_listening() {
        true => Err(Failure::new("conflict", "you receive that already: `cancel` it before")),
        false => Ok(()),
    }
}

fn bad_id(id: &str) -> Failure {
    let message = format!(
        "`{id}` can't be an id: 5 to 128 bytes without `;`, spaces and control characters, and not `ctcp:…`"
    );
    Failure::bad_argument(1, "id", message)
}

fn not_entered(why: NotEntered, id: &PeerId) -> Refusal {
    match why {
        NotEntered::Taken => Refusal::Taken(id.clone()),
        NotEntered::Full(why) => Refusal::Full(why.0),
    }
}

fn refused(refusal: &Refusal) -> Failure {
    let code = match refusal {
        Refusal::Taken(_) => "conflict",
        _ => "busy",
    };
    Failure::new(code, refusal.to_string())
}
