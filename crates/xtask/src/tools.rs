//! Programs from outside the workspace: installed when missing, left alone when there.

use std::{
    env,
    path::Path,
    process::{Command, Stdio},
};

use crate::{
    step::{self, StepError, announce},
    workspace::{cargo, root},
};

/// A program from a Debian package.
pub(crate) struct Tool {
    pub(crate) program: &'static str,
    pub(crate) package: &'static str,
}

/// A cargo subcommand from the registry. The version is fixed so that a new release cannot turn a
/// build red.
pub(crate) struct CargoTool {
    pub(crate) subcommand: &'static str,
    pub(crate) package: &'static str,
}

/// Why a program could not be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ToolError {
    #[error("{missing} not found, and no apt-get to install it with\n  hint: install it by hand")]
    NoApt { missing: String },

    #[error("{missing} not found, and neither root nor sudo to install it with")]
    NoRoot { missing: String },

    #[error("cannot install what is missing")]
    Install(#[from] StepError),
}

/// Installs those of `tools` that are not in PATH, and returns whether there were any.
pub(crate) fn ensure(tools: &[Tool]) -> Result<bool, ToolError> {
    let missing: Vec<&Tool> = tools.iter().filter(|tool| !in_path(tool.program)).collect();
    if missing.is_empty() {
        return Ok(false);
    }
    let packages: Vec<&str> = missing.iter().map(|tool| tool.package).collect();
    announce(&format!("installing {}", packages.join(", ")));
    install(&packages)?;
    Ok(true)
}

/// Installs a server when it is missing. The service that its package brings up is ended again: it
/// is our doing, nobody asked for it, and it would disturb a measurement.
pub(crate) fn ensure_without_service(server: &Tool) -> Result<(), ToolError> {
    if !ensure(std::slice::from_ref(server))? {
        return Ok(());
    }
    let service = match Path::new("/run/systemd/system").exists() {
        true => as_root("systemctl").map(|it| (it, ["disable", "--now", server.package])),
        false => as_root("service").map(|it| (it, [server.package, "stop", ""])),
    };
    if let Some((mut program, arguments)) = service {
        program.args(arguments.iter().filter(|it| !it.is_empty()));
        step::run(&mut program)?;
    }
    Ok(())
}

/// Installs `tool` unless cargo knows it.
///
/// Without optimisation: for a tool that runs a second, building it is what takes long.
/// `cargo-deny` took 51 s so on two cores.
pub(crate) fn ensure_cargo(tool: &CargoTool) -> Result<(), ToolError> {
    let is_there = cargo([tool.subcommand, "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if is_there {
        return Ok(());
    }
    announce(&format!("installing {} (about a minute)", tool.package));
    let mut install = cargo(["install", "--locked", "--debug", tool.package]);
    install.env("CARGO_PROFILE_DEV_DEBUG", "0").env_remove("CARGO_TARGET_DIR");
    Ok(step::run(&mut install)?)
}

/// Installs the packages that `folder` of the workspace locks, unless that was done since.
pub(crate) fn ensure_node(folder: &str) -> Result<(), ToolError> {
    let folder = root().join(folder);
    let written = |file: &str| folder.join(file).metadata().and_then(|it| it.modified()).ok();
    let installed = written("node_modules/.package-lock.json");
    if installed.is_some() && installed >= written("package-lock.json") {
        return Ok(());
    }
    announce(&format!("installing the packages of {}", folder.display()));
    let mut npm = Command::new("npm");
    npm.args(["ci", "--no-audit", "--no-fund", "--silent", "--prefix"]).arg(folder);
    Ok(step::run(&mut npm)?)
}

/// `program` as root.
pub(crate) fn as_root(program: &str) -> Option<Command> {
    if rustix::process::geteuid().is_root() {
        return Some(Command::new(program));
    }
    in_path("sudo").then(|| {
        let mut sudo = Command::new("sudo");
        sudo.arg(program);
        sudo
    })
}

pub(crate) fn in_path(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain([Path::new("/usr/sbin").into()])
        .any(|folder| folder.join(program).is_file())
}

fn install(packages: &[&str]) -> Result<(), ToolError> {
    let missing = || packages.join(", ");
    if !in_path("apt-get") {
        return Err(ToolError::NoApt { missing: missing() });
    }
    let apt = || as_root("apt-get").ok_or_else(|| ToolError::NoRoot { missing: missing() });
    step::run(apt()?.args(["update", "--quiet=2"]))?;
    let flags = ["install", "--quiet=2", "--yes", "--no-install-recommends"];
    step::run(apt()?.args(flags).args(packages))?;
    Ok(())
}
