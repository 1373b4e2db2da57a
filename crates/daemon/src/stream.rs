use std::sync::Arc;

use common_tcp::Failure;
use serde::{Serialize, de::SeqAccess};
use serde_json::{
    json,
    value::{RawValue, to_raw_value},
};

use crate::{
    Guest, Source,
    argument::{Argument, Call, Role},
};

/// The stream that a command starts: a parameter of it marks the command as one that starts a
/// stream.
///
/// What the command returns is the first reply; then come the events, numbered from 1. If the
/// command fails, there is no stream. Dropping it ends the stream as `ended`.
///
/// A guest that takes too little does not hold up who emits: after [`Limits::stream_packets`] of
/// one stream or [`Limits::stream_bytes`] of all its streams the one that has more to say is ended
/// as `lagged`, and the guest may start it again.
///
/// [`Limits::stream_packets`]: crate::Limits::stream_packets
/// [`Limits::stream_bytes`]: crate::Limits::stream_bytes
#[derive(Debug)]
pub struct Stream {
    guest: Guest,
    id: u64,
    /// Whether it ends when it is dropped.
    ends: bool,
}

/// Nothing more can be sent: the guest cancelled, lagged behind or is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stream has ended")]
pub struct Ended;

impl Stream {
    /// With so much more waiting than it knows of, the guest's task is to note it, though it has no
    /// room to send it.
    pub const UNWEIGHED_BYTES: usize = 16 << 10;

    pub(crate) fn new(guest: Guest, id: u64) -> Self {
        Self { guest, id, ends: true }
    }

    /// Sends `event ["<topic>", payload, <seq>]`.
    ///
    /// # Errors
    /// [`Ended`], after which the stream is of no more use. A payload that JSON can't hold ends it
    /// too.
    pub fn emit(&self, topic: &str, payload: &impl Serialize) -> Result<(), Ended> {
        let payload = to_raw_value(payload).map_err(|_| Ended)?;
        self.emit_raw(topic, &payload)
    }

    /// As [`emit`](Self::emit), for a payload that is written once and sent to many.
    ///
    /// # Errors
    /// [`Ended`], after which the stream is of no more use.
    pub fn emit_raw(&self, topic: &str, payload: &RawValue) -> Result<(), Ended> {
        let sent = self.guest.outbox().emit(self.id, topic, payload.get());
        if sent { Ok(()) } else { Err(Ended) }
    }

    /// Has the guest's connection ask `source` for events when it has room; from then on nothing is
    /// [emitted](Self::emit). It is asked from the guest's task, where it must not wait; what it
    /// holds is held until the `end` is on its way.
    pub fn draw_from(&self, source: Arc<dyn Source>) {
        self.guest.outbox().draw_from(self.id, source);
    }

    /// Says that the [`Source`] has something, whether or not it had before.
    pub fn wake(&self) {
        self.guest.outbox().wake_stream(self.id);
    }

    /// Says that [so much](Self::UNWEIGHED_BYTES) more waits in the [`Source`] than when it was
    /// asked last how much that is: of a guest that takes nothing it would not be asked again.
    pub fn weigh(&self) {
        self.guest.outbox().wake();
    }

    /// Ends the stream with a reason of the daemon's own.
    pub fn end(self, reason: &str) {
        self.guest.outbox().end(self.id, reason);
    }

    /// Says nothing more on it, not even an `end`: for a guest that must
    /// [`leave`](Guest::leave), where the end of the connection says it. What was emitted goes
    /// out.
    pub fn fall_silent(mut self) {
        self.ends = false;
    }

    /// Ends it as `lagged`, for a [`Source`] that has dropped what the guest did not take: it
    /// learns how much it missed.
    pub fn lag(self, missed: u64) {
        self.guest.outbox().end_with(self.id, json!({ "reason": "lagged", "missed": missed }));
    }

    /// Takes it back before the command has answered: then there is no stream, and no `end`.
    pub fn decline(self) {
        self.guest.outbox().decline(self.id);
    }

    /// How many bytes of events wait for the guest to take those before them.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.guest.outbox().queued_bytes(self.id)
    }

    /// Whether nothing more can be sent.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        !self.guest.outbox().is_running(self.id)
    }

    /// Waits until nothing more can be sent, for one task that has nothing else to say meanwhile.
    /// Cancel safe.
    pub async fn ended(&self) {
        std::future::poll_fn(|cx| self.guest.outbox().poll_ended(self.id, cx)).await;
    }

    /// Who listens.
    #[must_use]
    pub fn guest(&self) -> &Guest {
        &self.guest
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.ends {
            self.guest.outbox().end(self.id, "ended");
        }
    }
}

impl Argument for Stream {
    fn role() -> Role {
        Role::Stream
    }

    fn take<'de, A: SeqAccess<'de>>(call: &Call<'_>, _: &mut A) -> Result<Self, A::Error> {
        let guest = call.guest.clone();
        match guest.outbox().start(call.tag) {
            Ok(id) => Ok(Self::new(guest, id)),
            Err(failure) => Err(call.refuse(failure)),
        }
    }
}

impl Call<'_> {
    /// Keeps why the call can't be made; serde's own errors hold no more than a text.
    fn refuse<E: serde::de::Error>(&self, failure: Failure) -> E {
        let message = failure.message().to_owned();
        *self.refused.borrow_mut() = Some(failure);
        E::custom(message)
    }
}
