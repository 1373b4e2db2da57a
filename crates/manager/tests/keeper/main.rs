//! The keeper's promises, with real processes, over its own socket.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod harness;
mod logs;
mod managers;
mod spawning;
mod trees;
