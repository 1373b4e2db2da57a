//! What those see who watch the relay, and how it is told to change.

use std::sync::{Arc, PoisonError, atomic::Ordering::Relaxed};

use daemon::{Failure, causes, flags};
use relay::Hub;
use serde::Serialize;
use serde_json::{Value, json};
use websocket::{Answer, Request};

use super::{NAME, Own, Relay, http::not_allowed, mailbox::Mailbox, metrics, tls, with_usual};

/// What came of a reload.
#[derive(Debug, Serialize)]
pub(super) struct Reloaded {
    /// Flags that are others now, and hold after a restart.
    restart: Vec<&'static str>,
}

impl Relay {
    /// Answers at the door for metrics.
    pub(super) async fn administer(self, request: Request) -> Answer {
        match (request.path(), request.method()) {
            ("/healthz", "GET" | "HEAD") => Answer::text(200, "ok\n"),
            ("/metrics", "GET" | "HEAD") => Answer::bytes(200, metrics::TYPE, self.metrics()),
            ("/healthz" | "/metrics", _) => not_allowed("GET, HEAD"),
            _ => Answer::text(404, "there are only `/metrics` and `/healthz`\n"),
        }
    }

    pub(super) fn stats(&self) -> Value {
        let hub = self.hub();
        let (waiting, memory, disk) = self.0.larges.waiting();
        let counters = &hub.counters;
        let flows = |flows: &[relay::Flow; 4]| -> Value {
            let kinds = relay::Kind::ALL.iter().zip(flows);
            kinds
                .map(|(kind, flow)| {
                    let flow = json!({ "messages": flow.messages, "bytes": flow.bytes });
                    (kind.word().to_owned(), flow)
                })
                .collect::<serde_json::Map<_, _>>()
                .into()
        };
        json!({
            "peers": hub.peers(),
            "dbs": hub.dbs().count(),
            "accepted": flows(&counters.accepted),
            "delivered": flows(&counters.delivered),
            "dropped": {
                "unknown": counters.unknown,
                "malformed": counters.malformed,
                "binary": counters.binary,
            },
            "refused": self.0.control.counters().refused,
            "queue_bytes": self.waiting_bytes(&hub),
            "large": { "waiting": waiting, "memory": memory, "disk": disk },
            "uptime_ms": u64::try_from(self.now().as_millis()).unwrap_or(u64::MAX),
        })
    }

    /// How many bytes wait for all peers together.
    pub(super) fn waiting_bytes(&self, hub: &Hub<Mailbox>) -> usize {
        let mailboxes = hub.dbs().flat_map(relay::Db::peers).map(|it| &it.mailbox);
        let guests = mailboxes.filter(|it| matches!(it, Mailbox::Guest(_)));
        self.0.control.queued_bytes() + guests.map(Mailbox::waiting_bytes).sum::<usize>()
    }

    /// Reads flags, files and tokens again, and says in the log how that went.
    pub(super) fn reload(&self) -> Result<Reloaded, Failure> {
        let had_token = !self.terms().tokens.is_empty();
        let reloaded = self.take_again().inspect_err(|failure| {
            let why = failure.message().lines().next().unwrap_or_default();
            tracing::error!(why, "cannot read flags, files and tokens again: nothing has changed");
        })?;
        tracing::info!("read flags, files and tokens again");
        if !reloaded.restart.is_empty() {
            tracing::warn!(flags = ?reloaded.restart, "these are others now, and hold after a restart");
        }
        if had_token && self.terms().tokens.is_empty() {
            tracing::warn!("no token is wanted any more: everybody of this machine may come in");
        }
        Ok(reloaded)
    }

    /// Where it listens stays.
    fn take_again(&self) -> Result<Reloaded, Failure> {
        let wrong = |why: String| Failure::new("bad-config", why);
        let read = with_usual(|usual| flags::parse_again::<Own>(NAME, usual));
        let (_, own) = read.map_err(wrong)?;
        let terms = own.terms().map_err(|it| wrong(causes(&it)))?;
        let has_token = !terms.tokens.is_empty();
        if self.0.is_public && !has_token {
            let message = "other machines reach the door, so there must be a token";
            return Err(wrong(message.to_owned()));
        }
        let tls = tls::config(&own).map_err(|it| wrong(causes(&it)))?;
        if tls.is_some() != self.0.tls.is_some() {
            return Err(wrong("TLS begins and ends with a restart".to_owned()));
        }
        // Nothing that follows can fail.
        self.0.control.set_limits(own.door()).map_err(|it| wrong(it.to_string()))?;
        if let (Some(tls), Some(config)) = (&self.0.tls, tls) {
            tls.set(config);
        }
        self.0.access.set(own.rules(has_token));
        self.0.larges.set_bounds(own.large());
        self.hub().set_bounds(own.bounds());
        *self.0.terms.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(terms);
        self.0.changes.fetch_add(1, Relaxed);
        Ok(Reloaded { restart: self.0.settled.others(&own) })
    }
}
