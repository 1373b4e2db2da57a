//! What the journal promises, through its public API, on real files.

#![expect(clippy::unwrap_used, reason = "all of this is tests")]

mod append;
mod files;
mod lab;
mod snapshots;
