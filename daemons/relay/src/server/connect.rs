//! Whether a client that connects may come in.

use std::sync::atomic::Ordering::Relaxed;

use relay::{Handshake, Query, Refusal};
use websocket::{Answer, Request};

use super::{Relay, http::bearer, mailbox::Mailbox, peer};

impl Relay {
    /// Answers `/<db>/connect`.
    pub(super) async fn connect(&self, db: &str, request: &Request) -> Answer {
        match self.admit(db, request).await {
            Ok((Handshake { db, id }, asked)) => {
                let relay = self.clone();
                let terms = self.terms();
                let mut limits = terms.socket;
                limits.incoming.message_bytes = self.max_payload(&terms);
                Answer::accept(move |socket| peer::serve(relay, db, id, asked, socket))
                    .with_limits(limits)
                    .with_first_subprotocol()
            }
            Err(refusal) => {
                tracing::info!(db, peer = ?request.peer(), %refusal, "turned away");
                Answer::text(refusal.status(), refusal.to_string()).closing()
            }
        }
    }

    /// Who it is, and the number of who has its id now and is to go.
    async fn admit(
        &self,
        db: &str,
        request: &Request,
    ) -> Result<(Handshake, Option<u64>), Refusal> {
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
        let asked = self.contest(&handshake).await?;
        if asked.is_none() {
            let room = self.hub().room(handshake.db.as_str());
            room.map_err(|it| Refusal::Full(it.0))?;
        }
        Ok((handshake, asked))
    }

    /// Finds out whether somebody has the id and keeps it: who shows that it lives, where it
    /// matters.
    pub(super) async fn contest(&self, it: &Handshake) -> Result<Option<u64>, Refusal> {
        let incumbent = self.hub().incumbent(it.db.as_str(), &it.id, self.now());
        let Some(incumbent) = incumbent else { return Ok(None) };
        if incumbent.may_stay && lives(&incumbent.mailbox, self.terms().dup_probe).await {
            return Err(Refusal::Taken(it.id.clone()));
        }
        Ok(Some(incumbent.number))
    }
}

async fn lives(mailbox: &Mailbox, within: std::time::Duration) -> bool {
    match mailbox {
        // Whom we make wait can't show it.
        Mailbox::Socket { waits, .. } if waits.load(Relaxed) => true,
        Mailbox::Socket { sender, .. } => sender.is_there(within).await,
        // The kernel tells when its connection is gone, and then it is no peer any more.
        Mailbox::Guest(_) => true,
    }
}
