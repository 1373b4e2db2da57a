//! Everything from outside: real processes, real sockets, a home each.
//!
//! [`harness`] starts and ends what the others look at; each other module is one subject. A new
//! file needs its line here, which `tidy` checks.

#![expect(clippy::unwrap_used, reason = "all of this is tests")]

mod harness;
mod old_node;
mod protocol_page;
mod spawn;
mod states;
mod supervise;
mod tidy;
mod transcripts;
mod wire;
