//! Listening sockets that outlive the process that serves them.

use std::{
    net::{Ipv4Addr, TcpListener},
    process,
    sync::atomic::{AtomicU16, Ordering::SeqCst},
};

mod held;
mod inherited;

/// A port that nobody has, below those that the kernel gives away by itself.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let spread = process::id() % 1000 * 10;
        let port = 20_000 + (u16::try_from(spread).unwrap() + NEXT.fetch_add(1, SeqCst)) % 10_000;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}
