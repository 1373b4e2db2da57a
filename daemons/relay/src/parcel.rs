use std::{borrow::Cow, cell::OnceCell};

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use websocket::Frame;

use crate::{DbName, PeerId};

/// Something on its way to any number of peers. Each form in which it may be wanted is made once,
/// for all of them.
#[derive(Debug)]
pub struct Parcel<'a> {
    /// What it is.
    pub content: Content<'a>,
    db: &'a DbName,
    frame: OnceCell<Frame>,
    event: OnceCell<Box<RawValue>>,
}

/// What a peer can be sent.
#[derive(Clone, Copy, Debug)]
pub enum Content<'a> {
    /// What another peer has sent.
    Message {
        /// Who.
        from: &'a PeerId,
        /// To whom; `None` for all.
        to: Option<&'a str>,
        /// What.
        text: &'a str,
        /// What a WebSocket gets in its place: where to fetch it.
        instead: Option<&'a str>,
        /// The number of the message in its database.
        n: u64,
    },
    /// Another peer is there.
    Connected(&'a PeerId),
    /// Another peer is not there any more.
    Disconnected(&'a PeerId),
    /// The greeting that AceBase's own clients forget, on behalf of one that has connected.
    Hello(&'a PeerId),
}

/// A message as guests of Common TCP see it.
#[derive(Serialize)]
struct MessageEvent<'a> {
    db: &'a str,
    from: &'a str,
    to: Option<&'a str>,
    text: &'a str,
    n: u64,
}

/// A peer that came or went, as guests of Common TCP see it.
#[derive(Serialize)]
struct PresenceEvent<'a> {
    db: &'a str,
    id: &'a str,
}

impl<'a> Parcel<'a> {
    /// `content`, in `db`.
    #[must_use]
    pub fn new(db: &'a DbName, content: Content<'a>) -> Self {
        Self { content, db, frame: OnceCell::new(), event: OnceCell::new() }
    }

    /// As a WebSocket gets it.
    #[must_use]
    pub fn frame(&self) -> Frame {
        self.frame.get_or_init(|| self.content.to_frame()).clone()
    }

    /// As a guest of Common TCP gets it: the topic and the payload. `None` for what is of no use
    /// there.
    #[must_use]
    pub fn event(&self) -> Option<(&'static str, &RawValue)> {
        let topic = self.content.topic()?;
        if self.event.get().is_none() {
            // Strings and numbers can't fail.
            self.event.set(self.to_event()?).ok()?;
        }
        Some((topic, self.event.get()?))
    }

    fn to_event(&self) -> Option<Box<RawValue>> {
        let db = self.db.as_str();
        let event = match self.content {
            Content::Message { from, to, text, n, .. } => {
                to_raw_value(&MessageEvent { db, from: from.as_str(), to, text, n })
            }
            Content::Connected(id) | Content::Disconnected(id) => {
                to_raw_value(&PresenceEvent { db, id: id.as_str() })
            }
            Content::Hello(_) => return None,
        };
        event.ok()
    }
}

impl Content<'_> {
    /// Whether it tells of a peer and not what one has sent.
    #[must_use]
    pub fn is_presence(&self) -> bool {
        !matches!(self, Self::Message { .. })
    }

    fn to_frame(self) -> Frame {
        Frame::text(&self.text())
    }

    /// What a WebSocket is sent.
    pub(crate) fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Message { text, instead, .. } => instead.unwrap_or(text).into(),
            Self::Connected(id) => format!("connect:{id}").into(),
            Self::Disconnected(id) => format!("disconnect:{id}").into(),
            Self::Hello(id) => {
                let hello = serde_json::json!({ "type": "hello", "from": id.as_str() });
                hello.to_string().into()
            }
        }
    }

    fn topic(self) -> Option<&'static str> {
        match self {
            Self::Message { .. } => Some("message"),
            Self::Connected(_) => Some("connect"),
            Self::Disconnected(_) => Some("disconnect"),
            Self::Hello(_) => None,
        }
    }
}
