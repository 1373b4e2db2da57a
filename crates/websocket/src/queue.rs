use std::{collections::VecDeque, io::IoSlice};

use tokio::time::Instant;

use crate::{
    Frame, Overflow, Sent, SocketLimits,
    frame::{PING, PONG},
};

/// Frames in the order in which they leave, and their bounds. Pure: it knows no socket.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    entries: VecDeque<Entry>,
    /// How much of the first is written.
    sent: usize,
    /// What all of them cost.
    bytes: usize,
    /// What those cost that nobody asked for, and how many they are: only they are bounded here.
    pushed_bytes: usize,
    pushed: usize,
    /// The number of the last that was added.
    last: u64,
    dropped: u64,
    /// The answer to the last ping: earlier ones need none (RFC 6455, 5.5.3).
    pong: Option<Frame>,
    urgent: Option<Frame>,
    ping: Ping,
    /// A close is the last frame there is (RFC 6455, 5.5.1).
    is_closed: bool,
    pub(crate) limits: SocketLimits,
}

#[derive(Debug)]
struct Entry {
    frame: Frame,
    kind: Kind,
    number: u64,
    since: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// What nobody asked for, and which later one makes it void.
    Push(Option<u64>),
    Reply,
    /// What goes ahead of all others.
    Ahead,
    Ping,
    Close,
}

/// Where a question to the peer is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Ping {
    #[default]
    None,
    Due,
    Waiting,
}

/// How many frames may have been put ahead of others: an urgent one, a ping and a pong.
const AHEAD: usize = 3;

/// So many slices leave in one write.
pub(crate) const SLICES: usize = 64;

/// So many places are kept for frames of an idle connection.
const KEPT_PLACES: usize = 8;

/// What a frame costs beside its bytes: its place, and what its allocation adds.
pub(crate) const ENTRY_BYTES: usize = size_of::<Entry>() + 32;

impl Queue {
    pub(crate) fn new(limits: SocketLimits) -> Self {
        Self { limits, ..Self::default() }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// The number of the last that was added.
    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    /// Whether nothing is left of what was added up to `number`.
    pub(crate) fn is_past(&self, number: u64) -> bool {
        self.entries.iter().all(|it| it.number > number)
    }

    /// Since when the oldest waits: what goes ahead of others stands among the first.
    pub(crate) fn since(&self) -> Option<Instant> {
        self.entries.iter().take(AHEAD + 2).map(|it| it.since).min()
    }

    /// Since when that waits which leaves next, if nothing of it has left.
    pub(crate) fn next_since(&self) -> Option<Instant> {
        let next = self.entries.front().filter(|_| self.sent == 0);
        next.map(|it| it.since)
    }

    /// Whether so much has waited for so long that the peer is given up.
    pub(crate) fn is_stale(&self) -> bool {
        let Some(stale) = self.limits.stale else { return false };
        self.bytes > stale.bytes && self.since().is_some_and(|it| it.elapsed() > stale.age)
    }

    pub(crate) fn has_something(&self) -> bool {
        let has_ahead = self.pong.is_some() || self.urgent.is_some() || self.ping == Ping::Due;
        !self.entries.is_empty() || has_ahead
    }

    /// Adds what nobody asked for, within the limits; [`Sent::Gone`] if that ends the connection.
    pub(crate) fn offer(&mut self, frame: Frame, key: Option<u64>) -> Sent {
        if key.is_some() {
            self.remove_first(|kind| kind == Kind::Push(key));
        }
        let sent = match (self.is_full(), self.limits.overflow) {
            (false, _) => Sent::Queued,
            (true, Overflow::DropNewest) => Sent::Dropped,
            (true, Overflow::DropOldest) => self.make_room(),
            (true, Overflow::Close) => Sent::Gone,
        };
        match sent {
            Sent::Queued => self.push(Kind::Push(key), frame),
            Sent::Dropped => self.dropped += 1,
            Sent::Gone => {}
        }
        sent
    }

    /// Adds what was asked for.
    pub(crate) fn reply(&mut self, frame: Frame) {
        self.push(Kind::Reply, frame);
    }

    pub(crate) fn pong(&mut self, payload: &[u8]) {
        if !self.is_closed {
            self.pong = Some(Frame::of(PONG, payload));
        }
    }

    /// Sends a frame before all others; one at a time, the last.
    pub(crate) fn urgent(&mut self, frame: Frame) {
        if !self.is_closed {
            self.urgent = Some(frame);
        }
    }

    /// Asks the peer; false if it has not even been sent the question before.
    pub(crate) fn ask(&mut self) -> bool {
        let is_new = self.ping == Ping::None;
        if is_new && !self.is_closed {
            self.ping = Ping::Due;
        }
        is_new
    }

    /// Adds the last frame.
    pub(crate) fn close(&mut self, frame: Frame) {
        self.make_ready();
        (self.is_closed, self.pong, self.urgent, self.ping) = (true, None, None, Ping::None);
        self.push(Kind::Close, frame);
    }

    /// Removes what nobody asked for; how many those were.
    pub(crate) fn drop_pushes(&mut self) -> usize {
        let before = self.entries.len();
        for _ in self.begun()..before {
            let Some(entry) = self.entries.remove(self.begun()) else { break };
            match entry.kind {
                Kind::Push(_) => self.discount(&entry),
                _ => self.entries.push_back(entry),
            }
        }
        let dropped = before - self.entries.len();
        self.dropped += dropped as u64;
        dropped
    }

    /// Removes all but a frame that is begun.
    pub(crate) fn drop_all(&mut self) {
        let begun = self.begun();
        while self.entries.len() > begun
            && let Some(entry) = self.entries.pop_back()
        {
            self.discount(&entry);
        }
        self.entries.shrink_to_fit();
    }

    /// Forgets even what is begun: the connection is gone.
    pub(crate) fn clear(&mut self) {
        *self =
            Self { limits: self.limits, dropped: self.dropped, is_closed: true, ..Self::default() };
    }

    /// Puts what goes ahead before all messages of which nothing is written; false if nothing
    /// waits.
    pub(crate) fn make_ready(&mut self) -> bool {
        let begun = self.begun();
        // One that waits is enough: a peer that does not read may ask for any number.
        let next = self.entries.get(begun).map(|it| it.kind);
        if !matches!(next, Some(Kind::Ahead | Kind::Ping | Kind::Close)) {
            let urgent = self.urgent.take().map(|frame| (Kind::Ahead, frame));
            let ping = (self.ping == Ping::Due).then(|| (Kind::Ping, Frame::of(PING, &[])));
            let pong = self.pong.take().map(|frame| (Kind::Ahead, frame));
            for (kind, frame) in [urgent, ping, pong].into_iter().flatten() {
                self.insert(begun, kind, frame);
            }
        }
        !self.entries.is_empty()
    }

    pub(crate) fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>; SLICES]) -> usize {
        let mut skipped = self.sent;
        let parts = self.entries.iter().flat_map(|entry| entry.frame.parts());
        let left = parts.filter_map(|part| {
            let skip = skipped.min(part.len());
            skipped -= skip;
            (skip < part.len()).then(|| &part[skip..])
        });
        slices.iter_mut().zip(left).map(|(slice, part)| *slice = IoSlice::new(part)).count()
    }

    /// Removes what is written; whether a question to the peer has left with it.
    pub(crate) fn forget(&mut self, written: usize) -> bool {
        self.sent += written;
        let mut has_asked = false;
        while let Some(first) = self.entries.front().map(|it| it.frame.wire_bytes())
            && self.sent >= first
            && let Some(entry) = self.entries.pop_front()
        {
            self.sent -= first;
            self.discount(&entry);
            has_asked |= entry.kind == Kind::Ping;
        }
        if self.entries.is_empty() {
            self.entries.shrink_to(KEPT_PLACES);
        }
        has_asked
    }

    fn is_full(&self) -> bool {
        self.pushed_bytes >= self.limits.queue_bytes || self.pushed >= self.limits.queue_messages
    }

    /// How many of the first entries are on their way and must stay.
    fn begun(&self) -> usize {
        usize::from(self.sent > 0)
    }

    /// Drops the oldest until there is room.
    fn make_room(&mut self) -> Sent {
        while self.is_full() {
            if !self.remove_first(|kind| matches!(kind, Kind::Push(_))) {
                return Sent::Dropped;
            }
            self.dropped += 1;
        }
        Sent::Queued
    }

    /// Removes the first such frame that is not begun; false if there is none.
    fn remove_first(&mut self, is_meant: impl Fn(Kind) -> bool) -> bool {
        let begun = self.begun();
        let at = self.entries.iter().skip(begun).position(|it| is_meant(it.kind));
        let removed = at.and_then(|at| self.entries.remove(begun + at));
        if let Some(entry) = &removed {
            self.discount(entry);
        }
        removed.is_some()
    }

    fn push(&mut self, kind: Kind, frame: Frame) {
        self.insert(self.entries.len(), kind, frame);
    }

    fn insert(&mut self, at: usize, kind: Kind, frame: Frame) {
        let (number, since) = (self.last + 1, Instant::now());
        let entry = Entry { frame, kind, number, since };
        self.last = number;
        self.bytes += entry.cost();
        match kind {
            Kind::Push(_) => {
                self.pushed_bytes += entry.cost();
                self.pushed += 1;
            }
            Kind::Ping => self.ping = Ping::Waiting,
            Kind::Reply | Kind::Ahead | Kind::Close => {}
        }
        self.entries.insert(at, entry);
    }

    /// Takes what has left, or never will, out of the sums.
    fn discount(&mut self, entry: &Entry) {
        self.bytes -= entry.cost();
        match entry.kind {
            Kind::Push(_) => {
                self.pushed_bytes -= entry.cost();
                self.pushed -= 1;
            }
            Kind::Ping => self.ping = Ping::None,
            Kind::Reply | Kind::Ahead | Kind::Close => {}
        }
    }
}

impl Entry {
    fn cost(&self) -> usize {
        self.frame.wire_bytes() + ENTRY_BYTES
    }
}

#[cfg(test)]
mod tests;
