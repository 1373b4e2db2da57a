//! Whether the keeper can do its work: be reached, open files, write what daemons print and who
//! they are.

use std::{
    fs,
    path::{Path, PathBuf},
};

use nix::unistd::{AccessFlags, access};
use rustix::fs::statvfs;
use serde_json::Value;

use super::{Check, system};
use crate::{keeper::WITHOUT_CGROUPS, paths::Paths, proc::Pid};

/// The keeper, as the manager tells of it.
pub(super) fn check(paths: &Paths, keeper: &Value) -> Vec<Check> {
    let pid = keeper["pid"].as_u64().and_then(|it| it.try_into().ok());
    let places = [paths.logs(), paths.events(), paths.running()];
    let mut wrong: Vec<_> = places.iter().filter_map(|it| written(it)).collect();
    wrong.extend(keeper["trouble"].as_str().map(unreachable));
    wrong.extend(pid.and_then(descriptors));
    let sound = pid.map_or_else(|| "not known".to_owned(), |pid| told(pid, &arguments(pid)));
    Check::all("keeper", wrong, sound)
}

fn told(pid: Pid, arguments: &[String]) -> String {
    let is_without = arguments.ends_with(&WITHOUT_CGROUPS.map(str::to_owned));
    let cgroups = if is_without { "told to use no cgroups" } else { "cgroups if it can" };
    format!("pid {pid}, {cgroups}; logs, events and identities can be written")
}

fn arguments(pid: Pid) -> Vec<String> {
    let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.split_terminator('\0').map(str::to_owned).collect()
}

fn unreachable(trouble: &str) -> Check {
    let detail = format!("cannot be reached: {trouble}");
    Check::fail("keeper", detail, "dae down --keep && dae up")
}

/// What it has open, held against what it may have. Some that it keeps for itself count: it takes
/// no child then.
fn descriptors(pid: Pid) -> Option<Check> {
    let open = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count() as u64;
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    let limit = limits.lines().find_map(system::soft_limit)?;
    let detail = format!("pid {pid} has {open} files open of {limit} that it may have");
    let fix = format!("prlimit --pid {pid} --nofile=65536:65536, as root");
    (open >= limit).then(|| Check::fail("keeper", detail, fix))
}

/// What is wrong with a place that is written all the time.
fn written(place: &Path) -> Option<Check> {
    let shown = place.display();
    if !place.exists() {
        return None;
    }
    let fail = |what: String, fix: String| Some(Check::fail("keeper", what, fix));
    if let Err(error) = access(&PathBuf::from(place), AccessFlags::W_OK) {
        return fail(
            format!("`{shown}` cannot be written: {error}"),
            format!("findmnt -T {shown}"),
        );
    }
    let disk = statvfs(place).ok()?;
    // Some file systems do not count files.
    let is_full = disk.f_bfree == 0 || (disk.f_files > 0 && disk.f_ffree == 0);
    if !is_full {
        return None;
    }
    fail(format!("there is no room left for `{shown}`"), format!("df -h {shown}"))
}
