use std::fmt;

use serde::Serialize;

use crate::router::write_head;

/// What is asked for the events of a stream whenever its guest has room, so that what waits stays
/// with the daemon: it may drop it, or put something shorter in its place.
///
/// Set by [`Stream::draw_from`](crate::Stream::draw_from).
pub trait Source: fmt::Debug + Send + Sync + 'static {
    /// Gives what waits until `events` is full. If that is all, nobody asks again before
    /// [`Stream::wake`](crate::Stream::wake), or the end of the stream.
    fn fill(&self, events: &mut EventWriter<'_>);

    /// How many bytes wait here, for the bound on what all guests together make a daemon keep.
    fn held_bytes(&self) -> usize;
}

/// What stands around topic and payload, mostly.
const AROUND_BYTES: usize = 64;

/// Where a [`Source`] puts its events: straight behind what is written to the guest.
#[derive(Debug)]
pub struct EventWriter<'a> {
    out: &'a mut Vec<u8>,
    tag: Option<&'a str>,
    seq: u64,
    enough: usize,
}

impl<'a> EventWriter<'a> {
    /// Behind the event with the number `seq`, until `out` has `enough` bytes.
    pub(crate) fn new(out: &'a mut Vec<u8>, tag: Option<&'a str>, seq: u64, enough: usize) -> Self {
        Self { out, tag, seq, enough }
    }

    /// Whether the guest has no room for more now.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.out.len() >= self.enough
    }

    /// Writes `event ["<topic>", payload, <seq>]`; `payload` is JSON on one line.
    pub fn push(&mut self, topic: &str, payload: &str) {
        self.seq += 1;
        let out = &mut *self.out;
        out.reserve(payload.len() + topic.len() + AROUND_BYTES);
        write_head(out, "event", self.tag);
        out.push(b'[');
        write_topic(out, topic);
        out.push(b',');
        out.extend_from_slice(payload.as_bytes());
        out.push(b',');
        write_json(out, &self.seq);
        out.extend_from_slice(b"]\n");
    }

    /// The number of the last event.
    pub(crate) fn seq(&self) -> u64 {
        self.seq
    }
}

/// Most topics are a word.
fn write_topic(out: &mut Vec<u8>, topic: &str) {
    if topic.bytes().all(|it| it.is_ascii_alphanumeric()) {
        out.push(b'"');
        out.extend_from_slice(topic.as_bytes());
        out.push(b'"');
    } else {
        write_json(out, topic);
    }
}

fn write_json<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    serde_json::to_writer(out, value).expect("a string and a number are JSON");
}
