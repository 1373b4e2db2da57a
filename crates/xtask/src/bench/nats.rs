//! Debian's nats-server, there for the length of a run.

use crate::tools::{self, Tool, ToolError};

const NATS: Tool = Tool { program: "nats-server", package: "nats-server" };

/// Installs it when it is missing.
pub(crate) fn ensure() -> Result<(), ToolError> {
    tools::ensure_without_service(&NATS)
}

/// Loopback only, nothing on disk.
pub(crate) fn arguments(port: u16) -> Vec<String> {
    ["--addr", "127.0.0.1", "--port", &port.to_string()].map(str::to_owned).into()
}
