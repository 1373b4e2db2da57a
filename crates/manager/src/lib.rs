//! The manager of daemons.

pub mod child;
pub mod definition;
pub mod events;
pub mod identity;
pub mod keeper;
pub mod logs;
pub mod paths;
pub mod policy;
pub mod registry;
pub mod scan;
pub mod time;
