//! Everything from outside: real processes, real sockets, a home each.
//!
//! [`harness`] starts and ends what the others look at; each other module is one subject. A new
//! file needs its line here, which `tidy` checks.

#![expect(clippy::unwrap_used, reason = "all of this is tests")]
#![expect(clippy::print_stdout, reason = "a test tells its figures, and what it must skip")]

mod adopt;
mod cli;
mod crash;
mod harness;
mod links;
mod logs;
mod manager_wire;
mod matrix;
mod old_node;
mod protocol_page;
mod readme;
mod registry;
mod relay;
mod scan;
mod security;
mod sockets;
mod spawn;
mod state;
mod states;
mod stop;
mod supervise;
mod tidy;
mod transcripts;
mod watch;
mod wire;
