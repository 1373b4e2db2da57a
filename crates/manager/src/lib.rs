//! The manager of daemons.

pub mod child;
pub mod definition;
pub mod events;
pub mod identity;
pub mod keeper;
pub mod logs;
pub mod name;
pub mod order;
pub mod paths;
pub mod policy;
pub mod proc;
pub mod registry;
pub mod scan;
pub mod time;
