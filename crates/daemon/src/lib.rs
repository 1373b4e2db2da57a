//! What a daemon is made of: commands that are methods, served over Common TCP.
//!
//! ```no_run
//! use std::sync::Mutex;
//!
//! use daemon::Daemon;
//!
//! #[derive(Default)]
//! struct Counter(Mutex<u64>);
//!
//! impl Counter {
//!     /// Adds `step`, or one, and tells the sum.
//!     fn count(&self, step: Option<u64>) -> u64 {
//!         let mut sum = self.0.lock().unwrap();
//!         *sum += step.unwrap_or(1);
//!         *sum
//!     }
//! }
//!
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() -> daemon::Outcome {
//!     Daemon::with_state("Counter", Counter::default())
//!         .command("count", Counter::count)
//!         .args(["step"])
//!         .help("Adds `step`, or one; tells the sum")
//!         .run()
//!         .await
//! }
//! ```
//!
//! That is the whole program: it takes `--port`, answers `dae`, `options` and `help`, tells the
//! manager that started it when it is ready, and ends at SIGTERM with every reply sent. `options`
//! and `help` follow from the types of the parameters, so they can't be wrong.
//!
//! This crate knows no processes, not how daemons are installed, and no flag but the common ones.

mod account;
mod argument;
mod budget;
mod command;
mod common;
#[cfg(feature = "flags")]
mod config;
mod daemon;
mod data;
mod entrance;
mod environment;
#[cfg(feature = "flags")]
pub mod flags;
mod guest;
mod handler;
mod inherited;
mod listen;
mod login;
mod manager;
mod nearest;
mod outbox;
mod outcome;
mod pace;
mod places;
mod reply;
mod router;
mod seldom;
mod serve;
mod shape;
mod shutdown;
mod source;
mod standing;
mod strangers;
mod stream;
mod turn;
mod visit;

pub use argument::{Argument, OrNull, Rest};
pub use common_tcp::{
    Address, CallError, Client, Connection, Credential, Events, Failure, Limits, Packet, Pushed,
    Remote, causes, in_one_line, is_name,
};
pub use data::{Data, DataError};
pub use entrance::Entrance;
pub use environment::Environment;
pub use guest::{Guest, Session};
pub use handler::Handler;
pub use inherited::Inherited;
pub use listen::{BindError, listen_on};
pub use manager::{ByName, Manager, ManagerError};
pub use nearest::nearest;
pub use outcome::Outcome;
pub use pace::{Admission, Newcomers, Rate};
pub use reply::{Reply, Spread};
pub use seldom::Seldom;
pub use serve::{Bound, State};
pub use shutdown::Shutdown;
pub use source::{EventWriter, Source};
pub use stream::{Ended, Stream};

pub use crate::daemon::{Daemon, Settings};
