//! The manager of daemons, and its keeper.
//!
//! [`run`](run::run) brings a manager up: it takes the lock, reads the [`registry`], finds or
//! starts the keeper ([`keeper_client`]), listens with the commands of [`service`], and hands all
//! state to one owner, the [`manager`]. What the owner decides stands in pure tables: [`child`] for
//! the life of one daemon, [`policy`] for trying again, [`order`] for who comes first. The
//! [`keeper`] is a process of its own, the only one that spawns, signals and reaps. [`logs`] and
//! [`events`] read files, so they work without either.
//!
//! It knows nothing of what a particular daemon does; the command line is in the binary `dae`,
//! which nothing here knows. The whole picture is in `crates/ARCHITECTURE.md`.

pub mod cgroup;
pub mod child;
pub mod config;
pub mod definition;
pub mod doctor;
pub mod events;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzz;
pub mod identity;
pub mod keeper;
pub mod keeper_client;
pub mod logs;
pub mod manager;
pub mod name;
pub mod order;
pub mod paths;
pub mod policy;
pub mod proc;
pub mod registry;
pub mod run;
pub mod scan;
pub mod service;
pub mod time;
pub mod token;
pub mod usage;
