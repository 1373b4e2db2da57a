//! What the SDK promises to guests, over real sockets.

#![expect(clippy::unwrap_used, reason = "all of this is tests")]

mod arguments;
mod auth;
mod client;
mod crowd;
mod entrance;
mod guard;
mod lab;
mod limits;
mod netcat;
mod requests;
mod shutdown;
mod sources;
mod streams;
