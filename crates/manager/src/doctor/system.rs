//! What the system grants: descriptors, control groups, a clock.

use std::{
    fs,
    path::{Path, PathBuf},
};

use nix::unistd::{AccessFlags, access};

use super::Check;
use crate::{
    cgroup,
    paths::Paths,
    proc::{Pid, variable},
    time::{now_ms, rfc3339},
};

/// What the manager takes for each daemon: duplicates of two pipes, and two connections.
const FOR_EACH: u64 = 4;

/// Below this limit not even a handful of daemons would fit beside the manager's own descriptors.
const TOO_FEW: u64 = 256;

/// 2026-01-01, before which no version of this program was made.
const MADE_MS: u64 = 1_767_225_600_000;

/// How much clocks of file systems may differ from ours.
const SLACK_MS: u64 = 60_000;

/// The limit of the manager, or what one would get that is started from here. It raises the soft
/// one to the hard one.
pub(super) fn descriptors(manager: Option<Pid>) -> Check {
    let whose = manager.map_or("self".to_owned(), |it| it.to_string());
    let limits = fs::read_to_string(format!("/proc/{whose}/limits")).unwrap_or_default();
    match limits.lines().find_map(hard_limit) {
        None => Check::pass("descriptors", "the limit is not known here"),
        Some(limit) if limit < TOO_FEW => {
            let detail = format!("at most {limit} open files");
            Check::fail("descriptors", detail, "ulimit -Hn 65536, as root, then dae up")
        }
        Some(limit) => {
            let daemons = limit / FOR_EACH * 9 / 10;
            Check::pass("descriptors", format!("{limit} open files, enough for {daemons} daemons"))
        }
    }
}

/// `Max open files            1024                 20000                files`
fn hard_limit(line: &str) -> Option<u64> {
    let limit = line.strip_prefix("Max open files")?.split_ascii_whitespace().nth(1)?;
    if limit == "unlimited" { Some(u64::MAX) } else { limit.parse().ok() }
}

/// As [`hard_limit`], the one that is in force.
pub(super) fn soft_limit(line: &str) -> Option<u64> {
    let limit = line.strip_prefix("Max open files")?.split_ascii_whitespace().next()?;
    if limit == "unlimited" { Some(u64::MAX) } else { limit.parse().ok() }
}

/// Which way a whole tree of processes is ended. Without cgroups one kind of process escapes, which
/// is told; it is no failure. The keeper that is started next is in the cgroup of the manager, or
/// of who would start one.
pub(super) fn cgroup(manager: Option<Pid>) -> Check {
    let pid = manager.unwrap_or_else(std::process::id);
    let detail = match cgroup::directory_of(pid) {
        None => without("there is no unified hierarchy"),
        Some(_) if is_turned_off(pid) => without("`DAE_CGROUP=off`"),
        Some(folder) if is_ours(&folder) => {
            format!("below `{}`, one for each daemon: nothing escapes a stop", folder.display())
        }
        Some(folder) => without(&format!("`{}` is not delegated", folder.display())),
    };
    Check::pass("cgroup", detail)
}

fn is_turned_off(pid: Pid) -> bool {
    matches!(variable(pid, "DAE_CGROUP"), Ok(Some(value)) if value == "off")
}

fn is_ours(folder: &Path) -> bool {
    let may_write = |path: PathBuf| access(&path, AccessFlags::W_OK).is_ok();
    may_write(folder.to_owned()) && may_write(folder.join("cgroup.procs"))
}

fn without(why: &str) -> String {
    format!(
        "not used, {why}: a stop ends the group, then whoever came from the daemon or has its secret; a program \
         that clears its environment, leaves its session and has lost its parent outlives a stop"
    )
}

/// The clock is not before what it has already shown.
pub(super) fn clock(paths: &Paths) -> Check {
    const FIX: &str = "timedatectl set-ntp true";
    let now = now_ms();
    let written = [paths.registry(), paths.lock(), paths.events().join("current")]
        .iter()
        .filter_map(|it| {
            fs::metadata(it).ok()?.modified().ok()?.duration_since(std::time::UNIX_EPOCH).ok()
        })
        .filter_map(|it| u64::try_from(it.as_millis()).ok())
        .max();
    if now < MADE_MS {
        return Check::fail("clock", format!("it shows {}", rfc3339(now)), FIX);
    }
    match written {
        Some(written) if written > now + SLACK_MS => {
            let (now, written) = (rfc3339(now), rfc3339(written));
            Check::fail("clock", format!("it shows {now}, but files are of {written}"), FIX)
        }
        _ => Check::pass("clock", rfc3339(now)),
    }
}
