//! What daemons printed: reading it back, merged and filtered, and following it as it grows.
//!
//! Reads files and nothing else, so all of it works without a manager. The files are written by the
//! keeper; a directory per daemon holds
//!
//! - `current`, the raw bytes of both streams in order of arrival, for `less` and for us;
//! - `current.index`, a [`Record`] per read of the keeper: when, where, which stream;
//! - `@MS-N.log` and `@MS-N.index`, older pairs that rotation renamed, until they are pruned;
//! - `@MS-N.log.gz` in place of `@MS-N.log`, once that is compressed.
//!
//! Data is written before its record, so only what the index covers exists for a reader.

mod channel;
mod data;
#[cfg(test)]
mod fixture;
pub mod follow;
pub mod format;
mod forward;
pub mod index;
pub mod line;
pub mod merge;
pub(crate) mod packed;
pub mod reader;
pub mod rotation;
mod segment;
mod walk;
pub mod watch;

pub use follow::{Follow, FollowError};
pub use index::{Record, Stream};
pub use line::{Cursor, Line, Selection};
pub use merge::Merge;
pub use reader::{ReadError, Reader};
