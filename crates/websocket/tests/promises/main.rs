//! What the crate promises, over real sockets.

#![expect(clippy::unwrap_used, reason = "all of this is tests")]

mod bounds;
mod clients;
mod end;
mod fair;
mod frames;
mod heartbeat;
mod http;
mod lab;
mod sending;
mod slow;
mod streams;
