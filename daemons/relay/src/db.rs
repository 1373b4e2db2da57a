use std::{collections::HashMap, sync::Arc, time::Duration};

use websocket::Bundle;

use crate::{Changes, Content, DbName, Flow, History, Kept, Mailbox, Parcel, PeerId, Shelf};

/// A database: the peers that are in it, and those who only listen.
#[derive(Debug)]
pub struct Db<M> {
    name: DbName,
    /// In the order in which they came, which is that of their numbers.
    peers: Vec<Peer<M>>,
    by_id: HashMap<PeerId, u64>,
    taps: Vec<(u64, M)>,
    /// How many messages there were, and the bytes of their texts.
    messages: u64,
    bytes: u64,
    /// Since somebody listened first.
    history: Option<History>,
    /// Whether a newcomer's greeting is said on its behalf.
    greets: bool,
    /// How many of the peers take no bundles.
    singles: usize,
    said: Said,
}

/// What one peer has said to all others, who have not got it yet.
#[derive(Debug, Default)]
struct Said {
    by: u64,
    texts: Bundle,
    messages: u64,
    bytes: u64,
}

/// Who is in a database.
#[derive(Clone, Debug)]
pub struct Peer<M> {
    /// Never used again.
    pub number: u64,
    /// The id by which others know it.
    pub id: PeerId,
    /// When it came, from the start of the relay.
    pub since: Duration,
    /// Where it takes what it is sent.
    pub mailbox: M,
    /// How many messages it has sent.
    pub sent: u64,
    /// How many it was sent.
    pub received: u64,
    pub(crate) changes: Changes,
}

/// Who sends: a peer by its number, or somebody who is none.
#[derive(Clone, Copy, Debug)]
pub struct From<'a> {
    /// `None` for who is no peer.
    pub number: Option<u64>,
    /// How it is called.
    pub id: &'a PeerId,
}

/// So much is said at most before it is handed out: what waits for all peers is looked at after
/// that.
const MOST_SAID: usize = 64 << 10;

impl<M: Mailbox> Db<M> {
    /// A database without peers.
    pub(crate) fn new(name: DbName, greets: bool) -> Self {
        Self {
            name,
            peers: Vec::new(),
            by_id: HashMap::new(),
            taps: Vec::new(),
            messages: 0,
            bytes: 0,
            history: None,
            greets,
            singles: 0,
            said: Said::default(),
        }
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &DbName {
        &self.name
    }

    /// Who is in it, in the order in which they came.
    #[must_use]
    pub fn peers(&self) -> &[Peer<M>] {
        &self.peers
    }

    /// How many messages there were; the number of the last.
    #[must_use]
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// The bytes of all of them.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether nobody is here and nobody listens.
    pub(crate) fn is_empty(&self) -> bool {
        self.peers.is_empty() && self.taps.is_empty()
    }

    /// The peer with an id.
    #[must_use]
    pub fn peer(&self, id: &str) -> Option<&Peer<M>> {
        self.at(*self.by_id.get(id)?).map(|at| &self.peers[at])
    }

    /// The id of the peer with a number.
    #[must_use]
    pub fn id_of(&self, number: u64) -> Option<&PeerId> {
        self.at(number).map(|at| &self.peers[at].id)
    }

    /// Adds a peer and tells the others. Its id must be free, and its number above all others.
    pub(crate) fn enter(&mut self, peer: Peer<M>) -> Flow {
        let (number, id) = (peer.number, peer.id.clone());
        self.by_id.insert(id.clone(), number);
        self.singles += usize::from(!peer.mailbox.takes_bundles());
        self.peers.push(peer);
        let mut told = self.tell(Some(number), Content::Connected(&id));
        if self.greets {
            told += self.tell(Some(number), Content::Hello(&id));
        }
        told
    }

    /// Removes a peer, and tells the others if `tells`.
    pub(crate) fn leave(&mut self, number: u64, tells: bool) -> Option<(Peer<M>, Flow)> {
        let peer = self.peers.remove(self.at(number)?);
        self.by_id.remove(&peer.id);
        self.singles -= usize::from(!peer.mailbox.takes_bundles());
        let gone = Content::Disconnected(&peer.id);
        let told = if tells { self.tell(None, gone) } else { Flow::default() };
        Some((peer, told))
    }

    /// Sends `text` to the peer with the id `to`, or to all but the sender; `instead` is what a
    /// WebSocket gets for it. Says of each who took it by its number.
    pub fn send(
        &mut self,
        from: From<'_>,
        to: Option<&str>,
        text: &str,
        instead: Option<&str>,
        mut took: impl FnMut(u64),
    ) {
        self.count(from, to, text);
        let content = Content::Message { from: from.id, to, text, instead, n: self.messages };
        let parcel = Parcel::new(&self.name, content);
        let receivers = match to {
            None => 0..self.peers.len(),
            Some(id) => {
                let at = self.by_id.get(id).and_then(|number| at(&self.peers, *number));
                at.map_or(0..0, |at| at..at + 1)
            }
        };
        for peer in &mut self.peers[receivers] {
            let is_meant = to.is_some() || Some(peer.number) != from.number;
            if is_meant && peer.mailbox.put(&parcel) {
                peer.received += 1;
                took(peer.number);
            }
        }
        self.taps.iter().for_each(|(_, tap)| {
            let _ = tap.put(&parcel);
        });
    }

    /// Whether what a peer says to all others may be handed out later.
    pub(crate) fn takes_bundles(&self) -> bool {
        self.singles == 0 && self.taps.is_empty()
    }

    /// Whether what was said must be handed out before this peer says more.
    pub(crate) fn must_hand_out(&self, number: u64) -> bool {
        self.said.by != number || self.said.texts.wire_bytes() >= MOST_SAID
    }

    /// Sends `text` to all but the sender, who get it when it is handed out: before anything else
    /// happens here.
    pub(crate) fn say(&mut self, from: From<'_>, text: &str) {
        self.count(from, None, text);
        self.said.by = from.number.unwrap_or_default();
        self.said.texts.add(text);
        self.said.messages += 1;
        self.said.bytes += text.len() as u64;
    }

    /// Gives all others what a peer has said; what they took together.
    pub(crate) fn hand_out(&mut self) -> Flow {
        let Said { by, texts, messages, bytes } = std::mem::take(&mut self.said);
        let mut took = 0;
        if messages > 0 {
            let bundle = texts.into_frame();
            for peer in self.peers.iter_mut().filter(|it| it.number != by) {
                if peer.mailbox.put_bundle(&bundle) {
                    peer.received += messages;
                    took += 1;
                }
            }
        }
        Flow { messages: took * messages, bytes: took * bytes }
    }

    /// Lets `mailbox` have everything that is sent from now on.
    pub(crate) fn tap(&mut self, number: u64, mailbox: M, shelf: &Arc<Shelf>) {
        self.history.get_or_insert_with(|| History::on(shelf));
        self.taps.push((number, mailbox));
    }

    /// Ends that.
    pub(crate) fn untap(&mut self, number: u64) {
        self.taps.retain(|(it, _)| *it != number);
    }

    /// What is kept of it for those who come back, if anything was.
    pub(crate) fn history(&mut self) -> Option<&mut History> {
        self.history.as_mut()
    }

    /// Puts into `mailbox` what was sent after the message `n`, as far as it is still known.
    pub(crate) fn replay(&self, n: u64, mailbox: &M) {
        for kept in self.history.iter().flat_map(|it| it.after(n)) {
            let Kept { n, from, to, text } = kept;
            let content = Content::Message { from, to: to.as_deref(), text, instead: None, n: *n };
            mailbox.put(&Parcel::new(&self.name, content));
        }
    }

    /// How many of what was sent after the message `n` are not known any more.
    pub(crate) fn missed(&self, n: u64) -> u64 {
        let known = self.history.iter().flat_map(|it| it.after(n)).count() as u64;
        self.messages.saturating_sub(n) - known
    }

    fn count(&mut self, from: From<'_>, to: Option<&str>, text: &str) {
        self.messages += 1;
        self.bytes += text.len() as u64;
        self.keep(from, to, text);
        if let Some(at) = from.number.and_then(|number| self.at(number)) {
            self.peers[at].sent += 1;
        }
    }

    fn keep(&mut self, from: From<'_>, to: Option<&str>, text: &str) {
        if let Some(history) = &mut self.history {
            let (from, to, text) = (from.id.clone(), to.map(Into::into), text.into());
            history.add(Kept { n: self.messages, from, to, text });
        }
    }

    /// Tells all but one; how many took it.
    fn tell(&self, but: Option<u64>, content: Content<'_>) -> Flow {
        let parcel = Parcel::new(&self.name, content);
        self.taps.iter().for_each(|(_, tap)| {
            let _ = tap.put(&parcel);
        });
        let others = self.peers.iter().filter(|it| Some(it.number) != but);
        let messages = others.filter(|it| it.mailbox.put(&parcel)).count();
        Flow::of(messages, content.text().len())
    }

    fn at(&self, number: u64) -> Option<usize> {
        at(&self.peers, number)
    }
}

fn at<M>(peers: &[Peer<M>], number: u64) -> Option<usize> {
    peers.binary_search_by_key(&number, |it| it.number).ok()
}
