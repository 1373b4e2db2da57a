//! Whether a client that connects may come in.

use relay::{DbName, Handshake, NotEntered, PeerId, Query, Refusal};
use websocket::{Answer, Request};

use super::{Relay, http::bearer, mailbox::Mailbox, peer};

/// Who may come in, and finds a place. Of an id that is for one alone, nobody else may until this
/// is dropped.
#[derive(Debug)]
pub(super) struct Admitted {
    pub(super) relay: Relay,
    pub(super) db: DbName,
    pub(super) id: PeerId,
    /// The number of who has the id now and is to go.
    pub(super) asked: Option<u64>,
    is_reserved: bool,
    /// Whether a place is kept for it: who takes that of another needs none.
    has_place: bool,
}

impl Relay {
    /// Answers `/<db>/connect`.
    pub(super) async fn connect(&self, db: &str, request: &Request) -> Answer {
        match self.admit(db, request).await {
            Ok(admitted) => {
                let terms = self.terms();
                let mut limits = terms.socket;
                limits.incoming.message_bytes = self.max_payload(&terms);
                Answer::accept(move |socket| peer::serve(admitted, socket))
                    .with_limits(limits)
                    .with_first_subprotocol()
            }
            Err(refusal) => {
                self.note_turned_away(Some(db), request.peer(), &refusal);
                Answer::text(refusal.status(), refusal.to_string()).closing()
            }
        }
    }

    /// Whether it may come in, and in whose place.
    async fn admit(&self, db: &str, request: &Request) -> Result<Admitted, Refusal> {
        let terms = self.terms();
        let query = Query::new(request.query().unwrap_or_default());
        let read = Handshake::read(db, query, bearer(request), &terms.tokens, &terms.dbs);
        let handshake = match read {
            Err(Refusal::Token) => {
                self.punish(request.peer().map(|it| it.ip())).await;
                return Err(Refusal::Token);
            }
            read => read?,
        };
        let mut admitted = self.contest(handshake).await?;
        if admitted.asked.is_none() {
            let kept = self.hub().keep_place(&admitted.db);
            kept.map_err(|it| Refusal::Full(it.0))?;
            admitted.has_place = true;
        }
        Ok(admitted)
    }

    /// Finds out whether somebody has the id and keeps it: who shows that it lives, where it
    /// matters. There only one at a time may find out, and come in.
    pub(super) async fn contest(&self, it: Handshake) -> Result<Admitted, Refusal> {
        let Handshake { db, id } = it;
        let reserved = self.hub().reserve(&db, &id, self.now());
        let is_reserved = reserved.map_err(|_| Refusal::Taken(id.clone()))?;
        let relay = self.clone();
        let mut admitted = Admitted { relay, db, id, asked: None, is_reserved, has_place: false };
        let incumbent = self.hub().incumbent(admitted.db.as_str(), &admitted.id, self.now());
        let Some(incumbent) = incumbent else { return Ok(admitted) };
        if incumbent.may_stay && lives(&incumbent.mailbox, self.terms().dup_probe).await {
            return Err(Refusal::Taken(admitted.id.clone()));
        }
        admitted.asked = Some(incumbent.number);
        Ok(admitted)
    }
}

impl Admitted {
    /// Makes it a peer that takes what it is sent in `mailbox`; its number.
    pub(super) fn enter(mut self, mailbox: Mailbox) -> Result<u64, NotEntered> {
        let mut hub = self.relay.hub();
        // Nobody comes in between.
        if std::mem::take(&mut self.has_place) {
            hub.give_up_place(&self.db);
        }
        hub.enter(&self.db, &self.id, mailbox, self.asked, self.relay.now())
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut hub = self.relay.hub();
        if self.is_reserved {
            hub.release(&self.db, &self.id);
        }
        if self.has_place {
            hub.give_up_place(&self.db);
        }
    }
}

async fn lives(mailbox: &Mailbox, within: std::time::Duration) -> bool {
    match mailbox {
        // Whom we make wait can't show it.
        Mailbox::Socket { meter, .. } if meter.waits() => true,
        Mailbox::Socket { sender, .. } => sender.is_there(within).await,
        // The kernel tells when its connection is gone, and then it is no peer any more.
        Mailbox::Guest(_) => true,
    }
}
