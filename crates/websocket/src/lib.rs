//! One listener for plain HTTP and WebSocket (RFC 6455), for programs that have thousands of peers
//! and little memory.
//!
//! Must not know what is sent: no Common TCP, no plugins, no JSON.
//!
//! A request is judged by its `Host` and its `Origin` ([`Access`]), then by a handler, which answers
//! it or accepts the WebSocket. A [`Socket`] is read by one task; others send through its
//! [`Sender`], ready-made [`Frame`]s that any number of peers share. All that was sent leaves in
//! one write when there is nothing more to read.
//!
//! ```no_run
//! use websocket::{Answer, Frame, Limits, Message, Request, Rules, Server, Socket};
//!
//! async fn echo(mut socket: Socket) {
//!     let sender = socket.sender();
//!     while let Some(message) = socket.read().await {
//!         sender.reply(match message {
//!             Message::Text(text) => Frame::text(text),
//!             Message::Binary(bytes) => Frame::binary(bytes),
//!         });
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
//! # async fn run() -> std::io::Result<()> {
//! let mut server = Server::new(Limits::default(), Rules::default());
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
//! they lie and lent to the handler, so that an idle connection holds no buffer and a small message
//! costs no allocation. The libraries own a buffer a connection and copy each message that is sent
//! to many. It is held against tungstenite byte by byte, in `fuzz`.

mod access;
mod answer;
mod close;
mod decoder;
mod frame;
mod house;
mod http;
mod hyper_io;
mod io;
mod limits;
mod outbox;
mod parting;
mod places;
mod pulse;
mod request;
mod server;
mod socket;
mod turn;
mod upgrade;

pub use access::{Access, NotAnOrigin, Origin, Origins, Rules};
pub use answer::Answer;
pub use close::{End, code};
pub use decoder::{Decoder, DecoderLimits, Fault, Found};
pub use frame::Frame;
pub use io::Stream;
pub use limits::{Limits, Overflow, Ping, SocketLimits};
pub use outbox::{Sender, Sent};
pub use request::{BodyError, Request};
pub use server::{Entrance, Server};
pub use socket::{Message, Socket};
