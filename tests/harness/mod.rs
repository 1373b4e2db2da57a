//! What the tests stand on: built programs, a daemon or a manager of one's own, a raw socket, and
//! one patience for all waiting.

mod binaries;
mod dae;
mod daemon;
mod dialogue;
mod disk;
mod eventually;
mod history;
mod kernel;
mod netcat;
mod program;
mod websocket;

pub(crate) use binaries::{binary, open_to_all, workspace};
pub(crate) use dae::{Dae, finish};
pub(crate) use daemon::Daemon;
pub(crate) use dialogue::{play, play_page};
pub(crate) use disk::SmallDisk;
pub(crate) use eventually::{PATIENCE, eventually, patiently};
pub(crate) use history::{events, now_ms, transitions, unix_ms};
pub(crate) use kernel::{
    children, environment, group_and_session, is_running, kill, listening_ports, living,
    memory_kib, of, processes, processor_ms, soft_nofile, status, tell,
};
pub(crate) use netcat::Netcat;
pub(crate) use program::{IDLE, STUBBORN, pid, program, shell};
pub(crate) use websocket::{Heard, WebSocket};
