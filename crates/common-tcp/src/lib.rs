//! Common TCP: the protocol that every daemon speaks.
//!
//! A packet is a line, `name [json-args]`, readable and typable with netcat. Every request gets
//! exactly one reply, under the command's own name or as `err`:
//!
//! ```text
//! > set ["key", {"x":1}]
//! < set []
//! > get ["key"]
//! < get [{"x":1}]
//! > nope
//! < err [{"code":"unknown-command","message":"no command is called `nope`","command":"nope"}]
//! ```
//!
//! This crate cuts bytes into packets ([`Decoder`]), writes them ([`encode`]), keeps both beside a
//! socket ([`Connection`]) and calls others ([`Client`], [`Remote`]). The whole protocol is told in
//! `PROTOCOL.md` beside this crate.
//!
//! It knows nothing of processes, files or the manager, and of no command but those that every
//! daemon has.

mod address;
mod causes;
mod client;
mod connection;
mod credential;
mod decoder;
mod driver;
mod encode;
mod failure;
mod limits;
mod memory;
mod packet;
mod remote;
mod socket;
mod unreadable;

pub use address::Address;
pub use causes::causes;
pub use client::{CallError, Client, ConnectError, Events, Pushed, Reply};
pub use connection::Connection;
pub use credential::Credential;
pub use decoder::Decoder;
pub use encode::{encode, encode_err, encode_with, in_one_line};
pub use failure::Failure;
pub use limits::Limits;
pub use memory::Memory;
pub use packet::{NAME_BYTES, Packet, TAG_BYTES, is_name, is_tag};
pub use remote::{Remote, Resolve};
pub use socket::Socket;
pub use unreadable::Unreadable;
