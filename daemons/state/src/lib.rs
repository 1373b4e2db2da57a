//! The core of the state server: one JSON tree that many read, change and watch under permissions.
//!
//! Pure: it knows no file, no socket, no clock and no journal. Time, sessions and secrets come as
//! arguments; what is to last comes out as a [`Record`] and goes in again by [`State::apply`]. So
//! the daemon, its tests and a client that mirrors a part of the tree run the same code.
//!
//! A request is decided, its record made durable, and then told to those who watch:
//!
//! ```
//! use serde_json::json;
//! use state::{
//!     Filter, Limits, Node, Operation, Path, Pattern, Request, State, Subscription,
//!     Subscriptions, actor::Actor, deliver,
//! };
//!
//! let before = State::default();
//! let mut subscriptions = Subscriptions::default();
//! subscriptions.open("session".into(), None, None);
//! let pattern = Pattern::of(["doc", "**"])?;
//! let subscription = Subscription { pattern, filter: Filter::default() };
//! subscriptions.subscribe(&"session".into(), subscription, 1000)?;
//!
//! let path = Path::of(["doc", "n"])?;
//! let update = Operation::Update { path, value: Node::try_from(&json!({"v": 1}))? };
//! let request = Request::one(update, 0);
//! let commit = state::decide(&before, &Actor::server(), &request, &Limits::default())?;
//!
//! let record = commit.record.ok_or("something was changed")?; // into the journal
//! let mut after = before.clone();
//! after.apply(&record)?;
//! assert_eq!(after.revision(), commit.rev);
//!
//! // Nobody has said that anonymous sessions may read it.
//! assert!(deliver(&before, &after, &record, &subscriptions).is_empty());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | to | begin at |
//! |---|---|
//! | change something | [`decide()`](decide::decide), [`State::apply`] |
//! | read | [`State::get`], [`State::keys`], [`State::permissions`], [`State::may_watch`] |
//! | watch | [`Subscriptions`], [`deliver()`](deliver::deliver), [`Mirror`], [`queue`] |
//! | come back | [`log`] |
//! | keep | [`Record`], [`State::write`], [`State::read`] |
//! | let go | [`State::due`] |
//! | take elsewhere | [`State::export`], [`import`], [`leilo`] |

pub mod account;
pub mod actor;
mod apply;
pub mod decide;
pub mod deliver;
pub mod entry;
pub mod event;
mod export;
pub mod failure;
#[cfg(test)]
mod fixture;
pub mod gc;
pub mod history;
pub mod import;
mod index;
mod json;
pub mod leilo;
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
pub mod payload;
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
mod tokens;
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
