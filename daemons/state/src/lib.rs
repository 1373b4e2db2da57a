//! The core of the state server: one JSON tree that many read, change and watch under permissions.
//!
//! Pure: it knows no file, no socket, no clock and no journal. Time, sessions and secrets come as
//! arguments; what is to last comes out as a [`Record`] and goes in again by [`State::apply`]. So
//! the daemon, its tests and a client that mirrors a part of the tree run the same code.

pub mod account;
pub mod actor;
mod apply;
pub mod decide;
pub mod deliver;
pub mod entry;
pub mod event;
pub mod failure;
#[cfg(test)]
mod fixture;
pub mod gc;
mod index;
mod json;
pub mod level;
pub mod limits;
pub mod log;
pub mod map;
pub mod mirror;
#[cfg(test)]
mod model;
pub mod name;
pub mod node;
pub mod operation;
pub mod path;
pub mod pattern;
pub mod permission;
pub mod queue;
mod read;
pub mod record;
pub mod rule;
pub mod sequence;
pub mod snapshot;
pub mod state;
pub mod subscription;
pub mod text;
pub mod tree;
pub mod trigger;

pub use apply::{ApplyError, home};
pub use decide::{Commit, decide};
pub use deliver::{Delivery, deliver};
pub use event::Event;
pub use failure::{Failure, Refusal};
pub use limits::Limits;
pub use mirror::Mirror;
pub use node::{Node, Revision};
pub use operation::{Operation, Request, Step};
pub use path::{Path, Segment};
pub use pattern::Pattern;
pub use read::{Permissions, Value};
pub use record::Record;
pub use state::State;
pub use subscription::{Filter, Subscription, Subscriptions};
