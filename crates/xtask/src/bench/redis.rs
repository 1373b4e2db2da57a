//! Debian's Redis, there for the length of a run.

use crate::tools::{self, Tool, ToolError};

const REDIS: Tool = Tool { program: "redis-server", package: "redis-server" };

/// Installs Redis when it is missing.
pub(crate) fn ensure() -> Result<(), ToolError> {
    tools::ensure_without_service(&REDIS)
}

/// Loopback only, nothing on disk, and room for the idle connections.
pub(crate) fn arguments(port: u16) -> Vec<String> {
    flags(port, "no")
}

/// The same, but what it acknowledges is on the disk, in the folder where it runs.
pub(crate) fn durable_arguments(port: u16) -> Vec<String> {
    flags(port, "yes --appendfsync always")
}

fn flags(port: u16, append_only: &str) -> Vec<String> {
    let flags = format!(
        "--port {port} --bind 127.0.0.1 --appendonly {append_only} --maxclients {} --daemonize no --save",
        super::server::CONNECTIONS
    );
    flags.split(' ').chain([""]).map(str::to_owned).collect()
}
