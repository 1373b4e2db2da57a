//! One listener for plain HTTP and WebSocket (RFC 6455), for programs that have thousands of peers
//! and little memory.
//!
//! Must not know what is sent: no Common TCP, no plugins, no JSON.
//!
//! A request is judged by its `Host` and its `Origin` ([`Access`]), then by a handler, which
//! answers it or accepts the WebSocket. A [`Socket`] is read by one task; others send through its
//! [`Sender`], ready-made [`Frame`]s that any number of peers share. All that was sent leaves in
//! one write when there is nothing more to read.
//!
//! | to understand | begin at |
//! |---|---|
//! | what a connection does from first byte to last | `http.rs`: `run_connection` |
//! | when is read, written and waited | `wire.rs`: `Wire::poll_found` |
//! | what a peer may send | `decoder.rs`: `Decoder::next` |
//! | what happens to a slow peer | [`Overflow`], `queue.rs` |
//! | what happens to a silent one | [`Ping`], `heartbeat.rs` |
//! | how it all ends | [`End`], `closing.rs`, `acceptor.rs`: `Acceptor::end` |
//!
//! ```no_run
//! use websocket::{Answer, Limits, Request, Rules, Server, Socket};
//!
//! async fn echo(mut socket: Socket) {
//!     let sender = socket.sender();
//!     while let Some(message) = socket.read().await {
//!         sender.reply(message.to_frame());
//!     }
//! }
//!
//! async fn answer(request: Request) -> Answer {
//!     match request.path() {
//!         "/" => Answer::accept(echo),
//!         "/health" => Answer::text(200, "ok"),
//!         _ => Answer::text(404, "not found"),
//!     }
//! }
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let mut server = Server::new(Limits::default(), Rules::default())?;
//! server.listen(([127, 0, 0, 1], 3000).into()).await?;
//! server.serve(answer, std::future::pending()).await;
//! # Ok(())
//! # }
//! ```
//!
//! # Why the framing is our own
//!
//! HTTP is hyper's. What follows the handshake is decoded here, in `decoder.rs`, because what makes
//! a connection cheap lies just there: bytes are read through one buffer a thread, unmasked where
//! they lie and lent to the handler, so that an idle connection holds no buffer and a message costs
//! no allocation. Libraries own a buffer for each connection, and copy what is sent to many once
//! for each of them. The decoder is a file without `unsafe`; `fuzz` holds it against tungstenite,
//! message by message. `cargo xtask bench websocket` holds all of it against Node's `ws`: measured
//! with 100 connections and 64 bytes, half of its processor time a message, a tenth with 16 on
//! their way, and 2.3 KB for a silent connection, little more than a quarter.

mod acceptor;
mod access;
mod answer;
mod bundle;
mod close;
mod closing;
mod decoder;
mod frame;
mod guard;
mod heartbeat;
mod http;
mod hyper_io;
mod inbound;
mod io;
mod limits;
mod link;
mod listeners;
mod origin;
mod outbox;
mod places;
mod queue;
mod queued;
mod request;
mod sender;
mod server;
mod shared;
mod socket;
mod traffic;
mod turn;
mod turned_away;
mod unfinished;
mod upgrade;
mod waits;
mod wire;

pub use access::{Access, Hosts, Pages, Rules};
pub use answer::Answer;
pub use bundle::Bundle;
pub use close::{CloseCode, End, NotACloseCode, code};
pub use decoder::{Decoder, DecoderLimits, Fault, Found};
pub use frame::{Frame, Utf8};
pub use io::Stream;
pub use limits::{Limits, LimitsError, Overflow, Pace, Ping, SocketLimits, Stale};
pub use link::Link;
pub use origin::{HostName, NotAHostName, NotAnOrigin, Origin};
pub use request::{BodyError, Request};
pub use sender::{Sender, Sent};
pub use server::{Control, Entrance, Server};
pub use socket::{Message, Socket};
pub use traffic::Counters;
pub use turned_away::TurnedAway;
pub use waits::Waits;
