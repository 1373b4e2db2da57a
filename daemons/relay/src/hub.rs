use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use crate::{
    Changes, Counters, Db, DbName, Dismissal, Flow, From, Kind, Mailbox, Message, Pattern, Peer,
    PeerId, Shelf,
};

/// All databases, and what was counted in them.
///
/// Everything here is done at once; whoever shares it does one thing after the other.
#[derive(Debug)]
pub struct Hub<M> {
    dbs: HashMap<DbName, Db<M>>,
    bounds: Bounds,
    /// The histories of all of them.
    shelf: Arc<Shelf>,
    /// How many peers there are.
    peers: usize,
    /// The number that was given last, to a peer or to who listens.
    last: u64,
    /// Ids that are kept for who comes in.
    reserved: HashSet<(DbName, PeerId)>,
    /// How many places are kept in each database for who comes in.
    coming: HashMap<DbName, usize>,
    /// Nobody is told any more who goes.
    is_draining: bool,
    /// What was counted.
    pub counters: Counters,
}

/// How many there may be, and in which databases newcomers are greeted.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// Peers in all.
    pub peers: usize,
    /// Peers of one database.
    pub peers_per_db: usize,
    /// Databases in which somebody is.
    pub dbs: usize,
    /// Bytes of the last messages of all databases together.
    pub history: usize,
    /// Where a newcomer's greeting is said on its behalf.
    pub greeted: Vec<Pattern>,
}

/// There are as many as there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoRoom(pub &'static str);

/// Why somebody is no peer after all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotEntered {
    /// The id has another one meanwhile, who must not be replaced unasked.
    Taken,
    /// There is no room any more.
    Full(NoRoom),
}

/// Who has an id that somebody else wants.
#[derive(Clone, Debug)]
pub struct Incumbent<M> {
    /// Its number.
    pub number: u64,
    /// Where it can be asked whether it lives.
    pub mailbox: M,
    /// Whether it keeps the id if it does.
    pub may_stay: bool,
}

/// A message that comes or goes: where, from whom, what.
#[derive(Clone, Copy, Debug)]
pub struct Sent<'a> {
    /// In which database.
    pub db: &'a str,
    /// Who sends it.
    pub from: From<'a>,
    /// To whom; `None` for all others.
    pub to: Option<&'a str>,
    /// What.
    pub text: &'a str,
    /// What a WebSocket gets in its place.
    pub instead: Option<&'a str>,
    /// Whether it was posted.
    pub is_large: bool,
}

impl<M: Mailbox> Hub<M> {
    /// A hub without databases.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self {
            dbs: HashMap::new(),
            bounds,
            shelf: Arc::default(),
            peers: 0,
            last: 0,
            reserved: HashSet::new(),
            coming: HashMap::new(),
            is_draining: false,
            counters: Counters::default(),
        }
    }

    /// Sets other bounds; who is here stays.
    pub fn set_bounds(&mut self, bounds: Bounds) {
        self.bounds = bounds;
    }

    /// From now on nobody is told who goes: all do.
    pub fn drain(&mut self) {
        self.is_draining = true;
    }

    /// How many peers there are.
    #[must_use]
    pub fn peers(&self) -> usize {
        self.peers
    }

    /// The databases in which somebody is, in no order.
    pub fn dbs(&self) -> impl Iterator<Item = &Db<M>> {
        self.dbs.values()
    }

    /// A database in which somebody is.
    #[must_use]
    pub fn db(&self, name: &str) -> Option<&Db<M>> {
        self.dbs.get(name)
    }

    /// Who has an id, if somebody has.
    #[must_use]
    pub fn incumbent(&self, db: &str, id: &PeerId, now: Duration) -> Option<Incumbent<M>> {
        let peer = self.db(db)?.peer(id.as_str())?;
        let may_stay = id.is_master() || peer.changes.are_too_many(now);
        Some(Incumbent { number: peer.number, mailbox: peer.mailbox.clone(), may_stay })
    }

    /// Keeps an id for somebody who comes in, where two that want it at once must not both be let
    /// in: a master's, or one that is disputed. Whether there was a need to; then it is kept until
    /// it is [released](Hub::release).
    ///
    /// # Errors
    /// If it is kept for somebody already.
    pub fn reserve(&mut self, db: &DbName, id: &PeerId, now: Duration) -> Result<bool, NotEntered> {
        if !id.is_master() && !self.incumbent(db.as_str(), id, now).is_some_and(|it| it.may_stay) {
            return Ok(false);
        }
        match self.reserved.insert((db.clone(), id.clone())) {
            true => Ok(true),
            false => Err(NotEntered::Taken),
        }
    }

    /// Keeps an id no longer: who it was kept for is in, or does not come.
    pub fn release(&mut self, db: &DbName, id: &PeerId) {
        self.reserved.remove(&(db.clone(), id.clone()));
    }

    /// Keeps a place in a database for somebody who comes in, until it is [given
    /// up](Hub::give_up_place): who is told that there is room must find it.
    ///
    /// # Errors
    /// What there are too many of.
    pub fn keep_place(&mut self, db: &DbName) -> Result<(), NoRoom> {
        self.room(db.as_str())?;
        *self.coming.entry(db.clone()).or_default() += 1;
        Ok(())
    }

    /// Keeps it no longer: who it was kept for takes it now, or does not come.
    pub fn give_up_place(&mut self, db: &DbName) {
        if let Some(places) = self.coming.get_mut(db) {
            *places -= 1;
            if *places == 0 {
                self.coming.remove(db);
            }
        }
    }

    /// Whether one more could come into a database, beside those for whom places are kept.
    fn room(&self, db: &str) -> Result<(), NoRoom> {
        let coming = self.coming.get(db).copied().unwrap_or_default();
        let here = self.db(db).map_or(0, |it| it.peers().len());
        if self.peers + self.coming.values().sum::<usize>() >= self.bounds.peers {
            return Err(NoRoom("too many peers"));
        }
        if here + coming >= self.bounds.peers_per_db {
            return Err(NoRoom("too many peers of this database"));
        }
        self.room_for_db(db)
    }

    /// Whether a database is there, or comes, or could.
    fn room_for_db(&self, db: &str) -> Result<(), NoRoom> {
        let is_new = |it: &str| !self.dbs.contains_key(it);
        let coming = self.coming.keys().filter(|it| is_new(it.as_str())).count();
        let is_known = !is_new(db) || self.coming.contains_key(db);
        match is_known || self.dbs.len() + coming < self.bounds.dbs {
            true => Ok(()),
            false => Err(NoRoom("too many databases")),
        }
    }

    /// Makes somebody a peer, in place of who had the id, and tells the others. `asked` is whoever
    /// had it when that was found out; a master that nobody has asked stays. Returns its number.
    ///
    /// # Errors
    /// If that is another one by now, or there is no room.
    pub fn enter(
        &mut self,
        db: &DbName,
        id: &PeerId,
        mailbox: M,
        asked: Option<u64>,
        now: Duration,
    ) -> Result<u64, NotEntered> {
        let incumbent = self.db(db.as_str()).and_then(|it| it.peer(id.as_str()));
        let may_stay = incumbent.is_some_and(|it| id.is_master() || it.changes.are_too_many(now));
        let incumbent = incumbent.map(|it| it.number);
        if may_stay && incumbent != asked {
            return Err(NotEntered::Taken);
        }
        let changes = match incumbent {
            None => {
                self.room(db.as_str()).map_err(NotEntered::Full)?;
                Changes::default()
            }
            Some(number) => self.replace(db, number, now),
        };
        self.hand_out(db.as_str());
        let number = self.next_number();
        let peer =
            Peer { number, id: id.clone(), since: now, mailbox, sent: 0, received: 0, changes };
        let told = self.open(db).enter(peer);
        self.peers += 1;
        self.count_presence(told);
        Ok(number)
    }

    /// Removes a peer, if it is one still, and tells the others; whether it was.
    pub fn leave(&mut self, db: &str, number: u64) -> bool {
        self.hand_out(db);
        let tells = !self.is_draining;
        let left = self.dbs.get_mut(db).and_then(|it| it.leave(number, tells));
        if let Some((_, told)) = &left {
            self.peers -= 1;
            self.count_presence(*told);
            self.forget_if_empty(db);
        }
        left.is_some()
    }

    /// Sends the peer with an id away; false if nobody has it.
    pub fn kick(&mut self, db: &str, id: &str) -> bool {
        let peer = self.db(db).and_then(|it| it.peer(id));
        let Some((number, mailbox)) = peer.map(|it| (it.number, it.mailbox.clone())) else {
            return false;
        };
        mailbox.dismiss(Dismissal::Kicked);
        self.leave(db, number)
    }

    /// Sends a message, and says of each who took it by its number; how many those were.
    pub fn send(&mut self, sent: Sent<'_>, mut took: impl FnMut(u64)) -> usize {
        let Sent { db, from, to, text, instead, is_large } = sent;
        self.hand_out(db);
        let kind = match (is_large, to) {
            (true, _) => Kind::Large,
            (false, None) => Kind::Broadcast,
            (false, Some(_)) => Kind::Direct,
        };
        self.counters.accepted[kind as usize].add(1, text.len());
        let mut receivers = 0;
        if let Some(it) = self.dbs.get_mut(db) {
            it.send(from, to, text, instead, |number| {
                receivers += 1;
                took(number);
            });
        }
        self.counters.delivered[kind as usize].add(receivers, text.len());
        if receivers == 0 && to.is_some() {
            self.counters.unknown += 1;
        }
        self.forget_oldest();
        receivers
    }

    /// Does what a peer wants; whether that is a `pong`. What is for all others they get with what
    /// else this peer says, once it is handed out.
    pub fn take(&mut self, db: &str, number: u64, text: &str) -> bool {
        let (to, text) = match Message::read(text) {
            Message::Ping => return true,
            Message::Malformed => {
                self.counters.malformed += 1;
                return false;
            }
            Message::To { id, text } => (Some(id), text),
            Message::All(text) => (None, text),
        };
        // Who has been replaced is no peer any more, and says nothing.
        let Some(id) = self.db(db).and_then(|it| it.id_of(number)).cloned() else { return false };
        let from = From { number: Some(number), id: &id };
        match self.db(db).is_some_and(|it| to.is_none() && it.takes_bundles()) {
            true => self.say(db, number, from, text),
            false => {
                self.send(Sent { db, from, to, text, instead: None, is_large: false }, |_| {});
            }
        }
        false
    }

    /// Gives all others what a peer has said to them. Whoever calls [`Hub::take`] calls this before
    /// waiting; whatever else happens in a database comes after it by itself.
    pub fn hand_out(&mut self, db: &str) {
        if let Some(it) = self.dbs.get_mut(db) {
            let Flow { messages, bytes } = it.hand_out();
            let delivered = &mut self.counters.delivered[Kind::Broadcast as usize];
            delivered.messages += messages;
            delivered.bytes += bytes;
        }
    }

    /// Lets `mailbox` have everything that is sent in a database from now on; the number by which
    /// that ends.
    ///
    /// # Errors
    /// If there are too many databases.
    pub fn tap(&mut self, db: &DbName, mailbox: M) -> Result<u64, NoRoom> {
        self.room_for_db(db.as_str())?;
        let number = self.next_number();
        let shelf = Arc::clone(&self.shelf);
        self.open(db).tap(number, mailbox, &shelf);
        Ok(number)
    }

    /// Ends that.
    pub fn untap(&mut self, db: &str, number: u64) {
        if let Some(it) = self.dbs.get_mut(db) {
            it.untap(number);
            self.forget_if_empty(db);
        }
    }

    /// How many messages after number `n` are not known any more.
    #[must_use]
    pub fn missed(&self, db: &str, n: u64) -> u64 {
        self.db(db).map_or(0, |it| it.missed(n))
    }

    /// Puts into `mailbox` what was sent after number `n` and is still known.
    pub fn replay(&self, db: &str, n: u64, mailbox: &M) {
        if let Some(it) = self.db(db) {
            it.replay(n, mailbox);
        }
    }

    /// Sends those away who leave most unread, until what waits for the others is `most_bytes` or
    /// less; how many.
    pub fn relieve(&self, most_bytes: usize) -> usize {
        let peers = self.dbs.values().flat_map(Db::peers);
        let mut waiting: Vec<_> =
            peers.map(|it| (it.mailbox.queued_bytes(), &it.mailbox)).collect();
        waiting.sort_by_key(|(bytes, _)| Reverse(*bytes));
        let mut all: usize = waiting.iter().map(|(bytes, _)| bytes).sum();
        let mut sent_away = 0;
        for (bytes, mailbox) in waiting {
            if all <= most_bytes || bytes == 0 {
                break;
            }
            mailbox.dismiss(Dismissal::Slow);
            (all, sent_away) = (all - bytes, sent_away + 1);
        }
        sent_away
    }

    /// The databases with the most messages, at most `most` of them.
    #[must_use]
    pub fn largest(&self, most: usize) -> BTreeMap<&str, &Db<M>> {
        let mut all: Vec<_> = self.dbs.values().collect();
        all.sort_by_key(|it| Reverse(it.messages()));
        all.into_iter().take(most).map(|it| (it.name().as_str(), it)).collect()
    }

    fn say(&mut self, db: &str, number: u64, from: From<'_>, text: &str) {
        if self.db(db).is_some_and(|it| it.must_hand_out(number)) {
            self.hand_out(db);
        }
        if let Some(it) = self.dbs.get_mut(db) {
            it.say(from, text);
            self.counters.accepted[Kind::Broadcast as usize].add(1, text.len());
        }
        self.forget_oldest();
    }

    /// Drops the oldest of the last messages of all databases, if all together keep too much: some
    /// more than must be, so that there is room for others for a while.
    fn forget_oldest(&mut self) {
        let most = self.bounds.history;
        if self.shelf.bytes() <= most {
            return;
        }
        let of = |(name, db): (&DbName, &mut Db<M>)| Some((db.history()?.oldest()?, name.clone()));
        let mut oldest: BinaryHeap<_> = self.dbs.iter_mut().filter_map(of).map(Reverse).collect();
        while self.shelf.bytes() > most - most / 8
            && let Some(Reverse((_, name))) = oldest.pop()
        {
            let history = self.dbs.get_mut(&name).and_then(Db::history);
            let next = history.and_then(|it| {
                it.drop_oldest();
                it.oldest()
            });
            oldest.extend(next.map(|it| Reverse((it, name))));
        }
    }

    /// Takes an id from who has it.
    fn replace(&mut self, db: &DbName, number: u64, now: Duration) -> Changes {
        self.hand_out(db.as_str());
        let left = self.dbs.get_mut(db.as_str()).and_then(|it| it.leave(number, true));
        let Some((old, told)) = left else { return Changes::default() };
        self.peers -= 1;
        self.count_presence(told);
        old.mailbox.dismiss(Dismissal::Replaced);
        old.changes.and(now)
    }

    fn open(&mut self, db: &DbName) -> &mut Db<M> {
        let greets = self.bounds.greeted.iter().any(|it| it.has(db.as_str()));
        self.dbs.entry(db.clone()).or_insert_with(|| Db::new(db.clone(), greets))
    }

    fn forget_if_empty(&mut self, db: &str) {
        if self.dbs.get(db).is_some_and(Db::is_empty) {
            self.dbs.remove(db);
            self.dbs.shrink_to(2 * self.dbs.len());
        }
    }

    fn count_presence(&mut self, told: Flow) {
        self.counters.delivered[Kind::Presence as usize] += told;
    }

    fn next_number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }
}

#[cfg(test)]
mod said;
#[cfg(test)]
mod tests;
