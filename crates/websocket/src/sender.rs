use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, timeout};

use crate::{CloseCode, End, Frame, outbox::Outbox};

/// Sends to a WebSocket from anywhere. Clones send to the same.
#[derive(Clone, Debug)]
pub struct Sender(pub(crate) Arc<Outbox>);

/// What became of a message that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It waits, or replaces one that waited.
    Queued,
    /// The queue is full, and this message is not sent.
    Dropped,
    /// The connection is over, or has just been given up because its queue is full.
    Gone,
}

impl Sender {
    /// Sends what the peer has not asked for, within the bounds of its queue.
    ///
    /// It leaves together with whatever else is sent before the socket's task waits again.
    pub fn send(&self, frame: Frame) -> Sent {
        self.0.send(frame, None)
    }

    /// As [`Sender::send`], in place of what was sent with this key and still waits.
    pub fn send_latest(&self, key: u64, frame: Frame) -> Sent {
        self.0.send(frame, Some(key))
    }

    /// Sends ahead of everything that waits and is not begun. There is room for one: it takes the
    /// place of an urgent one that still waits. False if the connection is over.
    pub fn send_urgent(&self, frame: Frame) -> bool {
        self.0.send_urgent(frame)
    }

    /// Sends what the peer has asked for, whatever waits already. As long as much waits the peer is
    /// not read, so it can't ask for more.
    ///
    /// Also after a close by us, until the socket is dropped, but no longer than
    /// [`Limits::closing`](crate::Limits::closing): what was read before is answered. False if the
    /// connection is over.
    pub fn reply(&self, frame: Frame) -> bool {
        self.0.reply(frame)
    }

    /// Closes, after what waits and the answers to what was read already; nothing more is read.
    pub fn close(&self, code: CloseCode, reason: &str) {
        self.0.end(End::ByUs(code), reason);
    }

    /// Asks the peer whether it is there; whether it was is told by [`Sender::heard`].
    pub fn ping(&self) {
        self.0.ping();
    }

    /// Asks the peer whether it is there; whether it showed that within that time. Cancel safe.
    pub async fn is_there(&self, within: Duration) -> bool {
        timeout(within, self.0.answer()).await.unwrap_or(false)
    }

    /// When the peer showed last that it is there, by sending anything or by taking what it was
    /// sent.
    #[must_use]
    pub fn heard(&self) -> Instant {
        self.0.heard_at()
    }

    /// Whether nothing can be sent any more but replies.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.has_ended()
    }

    /// Waits until nothing can be sent any more but replies. Cancel safe.
    pub async fn closed(&self) {
        self.0.ended().await;
    }

    /// How many bytes wait, with what each message takes beside its own.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.0.queued_bytes()
    }

    /// For how long the oldest message has waited; `None` if nothing waits.
    #[must_use]
    pub fn oldest(&self) -> Option<Duration> {
        self.0.since().map(|since| since.elapsed())
    }

    /// Waits until nothing waits any more, or the connection is over.
    pub async fn drained(&self) {
        self.0.drained().await;
    }

    /// Drops what was sent unasked and still waits; how many messages those were.
    pub fn drop_queued(&self) -> usize {
        self.0.drop_pushes()
    }

    /// Closes, and drops all that waits but a message that is begun.
    pub fn abandon(&self, code: CloseCode, reason: &str) {
        self.0.abandon(End::ByUs(code), reason);
    }

    /// How many messages were dropped.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.0.dropped()
    }
}
