//! What AceBase clients ask over plain HTTP, beside WebSocket: to post and to fetch what is large.

use std::{net::IpAddr, sync::Arc};

use bytes::Bytes;
use relay::{Query, Refusal, id_of};
use serde::Serialize;
use tokio::time::sleep;
use websocket::{Answer, BodyError, Request};

use super::{Relay, meter::Meter};

/// Who asks, after token and id were found right.
struct Asker {
    db: relay::DbName,
    number: u64,
    meter: Arc<Meter>,
}

/// A peer, as `/<db>/clients` tells of it.
#[derive(Serialize)]
struct Client {
    id: String,
    connected: u64,
}

impl Relay {
    /// Answers any request of an AceBase client.
    pub(super) async fn answer(self, mut request: Request) -> Answer {
        let path = request.path().to_owned();
        let Some((db, action)) = path.strip_prefix('/').and_then(|it| it.split_once('/')) else {
            return not_found();
        };
        match (action, request.method()) {
            ("connect", "GET") => self.connect(db, &request).await,
            ("send", "POST") => self.post(db, &mut request).await,
            ("receive", "GET") => self.fetch(db, &request).await,
            ("clients", "GET") => self.clients(db, &request).await,
            ("send", _) => not_allowed("POST"),
            ("connect" | "receive" | "clients", _) => not_allowed("GET"),
            _ => not_found(),
        }
    }

    /// Has who does not know the token wait for the answer, if that happens often.
    pub(super) async fn punish(&self, address: Option<IpAddr>) {
        let delay = self.failures().count(address, self.now());
        if !delay.is_zero() {
            sleep(delay).await;
        }
    }

    async fn post(&self, db: &str, request: &mut Request) -> Answer {
        let Some(asker) = self.asker(db, request).await else { return unauthorized() };
        let terms = self.terms();
        self.queue_up(&terms, &asker.meter).await;
        let mut room = self.0.posting.begin();
        let most = terms.post_total;
        let body = match request.body_within(terms.max_post, |more| room.grow(more, most)).await {
            Ok(body) => body,
            Err(BodyError::NoRoom) => return no_room().closing(),
            Err(BodyError::TooLong) => return too_large(),
            Err(BodyError::TooSlow) => return Answer::text(408, "Request Timeout").closing(),
            Err(BodyError::Lost) => return Answer::text(400, "Bad Request").closing(),
        };
        let body = Bytes::from(body);
        let Ok(text) = str::from_utf8(&body) else {
            return Answer::text(400, "a message is UTF-8");
        };
        if let Err(answer) = self.pass_on(&asker.db, asker.number, &body, text).await {
            return answer;
        }
        self.settle(&terms, &asker.meter, body.len()).await;
        Answer::text(200, "ok")
    }

    async fn fetch(&self, db: &str, request: &Request) -> Answer {
        let Some(asker) = self.asker(db, request).await else { return unauthorized() };
        let query = Query::new(request.query().unwrap_or_default());
        match self.0.larges.fetch(query.get("msg").unwrap_or_default(), asker.number).await {
            Ok(Some(text)) => Answer::bytes(200, TEXT, text),
            Ok(None) => not_found(),
            Err(error) => {
                tracing::error!(%error, "a message that was written to a file can't be read");
                Answer::text(500, "Internal Server Error")
            }
        }
    }

    async fn clients(&self, db: &str, request: &Request) -> Answer {
        let Some(db) = self.admitted(db, request).await else { return unauthorized() };
        let hub = self.hub();
        let peers = hub.db(db.as_str()).map_or(&[][..], relay::Db::peers);
        let clients: Vec<_> = peers
            .iter()
            .map(|it| Client { id: it.id.to_string(), connected: self.clock_ms_at(it.since) })
            .collect();
        drop(hub);
        // Strings and numbers can't fail.
        Answer::bytes(200, "application/json", serde_json::to_vec(&clients).unwrap_or_default())
    }

    /// The peer on whose behalf a request is made.
    async fn asker(&self, db: &str, request: &Request) -> Option<Asker> {
        let db = self.admitted(db, request).await?;
        let query = Query::new(request.query().unwrap_or_default());
        let id = id_of(query.get("id").unwrap_or_default());
        let hub = self.hub();
        let peer = hub.db(db.as_str())?.peer(&id)?;
        let (number, meter) = (peer.number, Arc::clone(peer.mailbox.meter()));
        drop(hub);
        Some(Asker { db, number, meter })
    }

    /// The database that a request is about, if its token is right.
    async fn admitted(&self, db: &str, request: &Request) -> Option<relay::DbName> {
        let terms: Arc<_> = self.terms();
        let query = Query::new(request.query().unwrap_or_default());
        let name = relay::db_of(db, &terms.dbs);
        let of = name.as_ref().map_or(db, relay::DbName::as_str);
        if !terms.tokens.admit(of, bearer(request).or_else(|| query.get("t"))) {
            self.note_turned_away(Some(db), request.peer(), &Refusal::Token);
            self.punish(request.peer().map(|it| it.ip())).await;
            return None;
        }
        name
    }
}

/// The token, if it came in a header.
pub(super) fn bearer(request: &Request) -> Option<&str> {
    let value = request.header("authorization")?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

const TEXT: &str = "text/plain; charset=utf-8";

fn not_found() -> Answer {
    Answer::text(404, "Not Found")
}

/// Another method is what such a path takes.
pub(super) fn not_allowed(allowed: &str) -> Answer {
    Answer::text(405, "Method Not Allowed").with_header("allow", allowed)
}

pub(super) fn unauthorized() -> Answer {
    Answer::text(401, "Unauthorized")
}

fn too_large() -> Answer {
    Answer::text(413, "Payload Too Large").closing()
}

pub(super) fn no_room() -> Answer {
    Answer::text(503, "Service Unavailable")
}
