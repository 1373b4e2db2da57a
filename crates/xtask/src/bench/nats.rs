//! Debian's nats-server, there for the length of a run.

use super::server::CONNECTIONS;
use crate::tools::{self, Tool, ToolError};

const NATS: Tool = Tool { program: "nats-server", package: "nats-server" };

/// Installs it when it is missing; the package brings up no service.
pub(crate) fn ensure() -> Result<(), ToolError> {
    tools::ensure(&[NATS]).map(drop)
}

/// Loopback only, nothing on disk.
pub(crate) fn arguments(port: u16) -> Vec<String> {
    let flags = format!("--addr 127.0.0.1 --port {port} --connections {CONNECTIONS}");
    flags.split(' ').map(str::to_owned).collect()
}
