//! The manager of daemons.

pub mod child;
pub mod definition;
pub mod doctor;
pub mod events;
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
