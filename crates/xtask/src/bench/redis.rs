//! Debian's Redis, there for the length of a run.

use std::path::Path;

use crate::{
    step,
    tools::{self, Tool, ToolError},
};

const REDIS: Tool = Tool { program: "redis-server", package: "redis-server" };

/// Installs Redis when it is missing. The service that the package brings up is ended again: it is
/// our doing, nobody asked for it, and it would disturb the measurement.
pub(crate) fn ensure() -> Result<(), ToolError> {
    if !tools::ensure(&[REDIS])? {
        return Ok(());
    }
    let service = match Path::new("/run/systemd/system").exists() {
        true => tools::as_root("systemctl").map(|it| (it, ["disable", "--now", REDIS.package])),
        false => tools::as_root("service").map(|it| (it, [REDIS.package, "stop", ""])),
    };
    if let Some((mut program, arguments)) = service {
        program.args(arguments.iter().filter(|it| !it.is_empty()));
        step::run(&mut program)?;
    }
    Ok(())
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
