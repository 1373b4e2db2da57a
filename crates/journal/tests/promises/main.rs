//! What the journal promises, through its public API, on real files.

#![expect(clippy::unwrap_used, reason = "all of this is tests")]

mod append;
mod files;
mod full;
mod kill;
mod lab;
mod snapshots;
mod witness;
