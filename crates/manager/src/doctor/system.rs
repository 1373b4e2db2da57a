//! What the system grants: descriptors, control groups, a clock.

use std::{fs, path::PathBuf};

use nix::unistd::{AccessFlags, access};

use super::Check;
use crate::{
    paths::Paths,
    proc::Pid,
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

/// The limit of the manager, or what one would get that is started from here. It raises the soft one to the hard one.
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

/// Which way a whole tree of processes is ended. Both are sound, so this only tells.
pub(super) fn cgroup() -> Check {
    let folder = match own_cgroup() {
        None => "no unified hierarchy".to_owned(),
        Some(folder) if access(&folder, AccessFlags::W_OK).is_ok() => {
            format!("`{}` is delegated, not used yet", folder.display())
        }
        Some(folder) => format!("`{}` is not delegated", folder.display()),
    };
    let detail = format!("{folder}; a stop ends the group, then whoever has the secret");
    Check::pass("cgroup", detail)
}

/// The line `0::` of the process below the mount of type cgroup2.
fn own_cgroup() -> Option<PathBuf> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = groups.lines().find_map(|it| it.strip_prefix("0::/"))?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let mount = mounts.lines().find(|it| it.contains(" - cgroup2 "))?;
    Some(PathBuf::from(mount.split(' ').nth(4)?).join(own))
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
