//! A WebSocket of an AceBase client, from its welcome to its end.

use std::{future::poll_fn, pin::pin, sync::Arc, time::Duration};

use relay::{DbName, Gone, NotEntered, PeerId};
use websocket::{End, Frame, Message, Sender, Socket, code};

use super::{
    Relay,
    connect::Admitted,
    mailbox::{Mailbox, kicked, replaced},
    meter::Meter,
};

/// A peer, until it is dropped.
struct Presence<'a> {
    relay: &'a Relay,
    db: &'a DbName,
    number: u64,
    meter: Arc<Meter>,
}

/// With something waiting for so long, a `pong` goes ahead of it: who waits for ten seconds for one
/// believes that nobody is here.
const PONG_AHEAD: Duration = Duration::from_secs(2);

/// Serves a client whose handshake was found right.
pub(super) async fn serve(admitted: Admitted, mut socket: Socket) {
    let relay = admitted.relay.clone();
    let (db, id) = (admitted.db.clone(), admitted.id.clone());
    let sender = socket.sender();
    let terms = relay.terms();
    let welcome = format!("welcome:{{\"maxPayload\":{}}}", relay.max_payload(&terms));
    let meter = Arc::<Meter>::default();
    let address = socket.link().peer;
    let mailbox = Mailbox::Socket { sender: sender.clone(), address, meter: Arc::clone(&meter) };
    // Nothing else can be sent between these two.
    sender.send(Frame::text(&welcome));
    let number = match admitted.enter(mailbox) {
        Ok(number) => number,
        Err(NotEntered::Taken) => return sender.abandon(replaced(), "another one has this id"),
        Err(NotEntered::Full(why)) => return sender.abandon(code::TRY_AGAIN, why.0),
    };
    let presence = Presence { relay: &relay, db: &db, number, meter };
    tracing::debug!(%db, %id, "connected");
    presence.serve(&mut socket, &sender).await;
    let why = socket.end().cloned();
    drop(presence);
    note_end(&relay, &db, &id, why.as_ref());
}

impl Presence<'_> {
    async fn serve(&self, socket: &mut Socket, sender: &Sender) {
        let (mut terms, mut changes) = (self.relay.terms(), 0);
        loop {
            let bytes = match self.next(socket).await {
                None => return,
                Some(Message::Binary(_)) => {
                    self.relay.hub().counters.binary += 1;
                    continue;
                }
                Some(Message::Text(text)) => {
                    if terms.logs_bodies {
                        tracing::debug!(db = %self.db, number = self.number, text, "message");
                    }
                    if self.relay.hub().take(self.db.as_str(), self.number, text) {
                        answer(sender);
                    }
                    text.len()
                }
            };
            terms = self.relay.changed_terms(&mut changes).unwrap_or(terms);
            if let Some(wait) = self.relay.owes(&terms, &self.meter, bytes) {
                self.wait(socket, sender, self.relay.rest(&terms, wait)).await;
            }
        }
    }

    /// Makes the peer wait: nothing is read from it. It may be sent away meanwhile.
    async fn wait(&self, socket: &mut Socket, sender: &Sender, work: impl Future<Output = ()>) {
        self.hand_out();
        self.meter.set_waits(true);
        // Both are cancel safe.
        let until = async {
            tokio::select! {
                () = work => {}
                () = sender.closed() => {}
            }
        };
        socket.during(until).await;
        self.meter.set_waits(false);
    }

    /// The next message. Before it waits for one, others get what this peer has said so far.
    async fn next<'s>(&self, socket: &'s mut Socket) -> Option<Message<'s>> {
        let mut reading = pin!(socket.read());
        poll_fn(|cx| {
            let read = reading.as_mut().poll(cx);
            if read.is_pending() {
                self.hand_out();
            }
            read
        })
        .await
    }

    fn hand_out(&self) {
        self.relay.hub().hand_out(self.db.as_str());
    }
}

impl Drop for Presence<'_> {
    fn drop(&mut self) {
        self.relay.part(self.db.as_str(), self.number);
    }
}

/// Says `pong`; it has no order with messages.
pub(super) fn answer(sender: &Sender) {
    let pong = Frame::text("pong");
    match sender.queued_bytes() > 0 && sender.oldest().is_some_and(|it| it > PONG_AHEAD) {
        true => drop(sender.send_urgent(pong)),
        false => drop(sender.send(pong)),
    }
}

fn note_end(relay: &Relay, db: &DbName, id: &PeerId, end: Option<&End>) {
    let mut hub = relay.hub();
    let Gone { close, reset, slow, oversize, replaced: by_other, idle, kicked: away, drain } =
        &mut hub.counters.gone;
    let counter = match end {
        Some(End::ByPeer(_)) => close,
        Some(End::Slow) => slow,
        Some(End::Stalled | End::Silent) => idle,
        Some(End::Broken(_) | End::Crowded) => oversize,
        Some(End::ByUs(code)) if *code == replaced() => by_other,
        Some(End::ByUs(code)) if *code == kicked() => away,
        Some(End::ByUs(code)) if *code == code::TRY_AGAIN => slow,
        Some(End::ByUs(_)) => drain,
        Some(End::Lost) | None => reset,
    };
    *counter += 1;
    drop(hub);
    match end {
        Some(End::Slow) => tracing::warn!(%db, %id, "closed: what it was sent is not read"),
        Some(End::Broken(fault)) => {
            tracing::warn!(%db, %id, %fault, "closed: what it sent may not be")
        }
        Some(End::Crowded) => {
            tracing::warn!(%db, %id, "closed: all together send too much at once, and it for longest");
        }
        Some(End::ByUs(code)) if *code == replaced() => {
            tracing::info!(%db, %id, "closed: another one has this id now");
        }
        end => tracing::debug!(%db, %id, ?end, "gone"),
    }
}
