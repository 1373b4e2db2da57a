//! The pure part of `relay`: who is in which database, what a message means, who gets it.
//!
//! Must not know sockets, files and clocks: time is an argument, and where a peer takes what it is
//! sent is a [`Mailbox`].
//!
//! A [`Hub`] holds databases ([`Db`]), a database holds peers in the order in which they came. All
//! that happens in a hub happens one after the other, which is what gives a database its one order:
//! a message is in the mailbox of every receiver before the next message is looked at.
//!
//! | to understand | begin at |
//! |---|---|
//! | what a peer may send | [`Message::read`] |
//! | who gets it | [`Db::send`] |
//! | who may come in | [`Handshake::read`] |
//! | what happens to an id that two want | [`Changes`], [`Hub::enter`] |
//! | what is kept until it is fetched | [`Large`] |

mod changes;
mod counters;
mod db;
mod handshake;
mod history;
mod hub;
mod large;
mod message;
mod names;
mod parcel;
mod query;
mod token;

pub use changes::Changes;
pub use counters::{Counters, Flow, Gone, Kind};
pub use db::{Db, From, Peer};
pub use handshake::{Handshake, Refusal, db_of, id_of};
pub use history::{History, Kept, Shelf};
pub use hub::{Bounds, Hub, Incumbent, NoRoom, NotEntered, Sent};
pub use large::{Large, LargeBounds, Room, Stored};
pub use message::Message;
pub use names::{DbName, MASTER, Pattern, PeerId};
pub use parcel::{Content, Parcel};
pub use query::{Query, decoded};
pub use token::{Token, Tokens};

use websocket::Frame;

/// Where a peer takes what it is sent.
///
/// What is put is queued in the order in which it is put, or not at all from then on: a mailbox
/// that can't take something takes nothing more.
pub trait Mailbox: Clone {
    /// Queues it; false if nothing is taken any more.
    fn put(&self, parcel: &Parcel<'_>) -> bool;

    /// Whether it takes messages to all in bundles. One that does not gets each as a parcel, at
    /// once.
    fn takes_bundles(&self) -> bool;

    /// Queues a bundle of messages; false if nothing is taken any more.
    fn put_bundle(&self, bundle: &Frame) -> bool;

    /// Tells the peer that it is none any more. What is queued may be dropped.
    fn dismiss(&self, why: Dismissal);

    /// How many bytes wait, of those that have one bound with those of all others.
    fn queued_bytes(&self) -> usize;
}

/// Why a peer must go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dismissal {
    /// Somebody else has its id now.
    Replaced,
    /// Somebody wanted it so.
    Kicked,
    /// All peers together leave too much unread, and this one more than others.
    Slow,
}
