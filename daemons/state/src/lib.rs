//! The core of the state server: one JSON tree that many read, change and watch under permissions.
//!
//! Pure: it knows no file, no socket, no clock and no journal. Time, sessions and secrets come as
//! arguments; what is to last comes out as a record and goes in again by replaying it. So
//! the daemon, its tests and a client that mirrors a part of the tree run the same code.

pub mod entry;
mod json;
pub mod level;
pub mod map;
pub mod name;
pub mod node;
pub mod path;
pub mod permission;
pub mod sequence;
pub mod text;
pub mod tree;

pub use node::{Node, Revision};
pub use path::{Path, Segment};
