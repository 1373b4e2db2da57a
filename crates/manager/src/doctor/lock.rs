//! Who has the manager's lock, without touching it: taking it, however shortly, could keep a
//! manager from starting.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

use super::Check;
use crate::{paths::Paths, proc::Pid};

/// The process that holds the lock of `file`, if one does and the kernel tells.
pub fn holder(file: &Path) -> Option<Pid> {
    let inode = fs::metadata(file).ok()?.ino().to_string();
    let table = fs::read_to_string("/proc/locks").ok()?;
    table.lines().find_map(|line| held(line, &inode))
}

/// `1: FLOCK  ADVISORY  WRITE 12767 fe:00:10035858 0 EOF`, without the devices: some file systems
/// have a number there that `stat` does not know.
fn held(line: &str, inode: &str) -> Option<Pid> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let kind = fields.next()?;
    let pid = fields.nth(2)?;
    let locked = fields.next()?.rsplit(':').next()?;
    (kind == "FLOCK" && locked == inode).then(|| pid.parse().ok()).flatten()
}

/// The lock and the socket must be of one process, or of none.
pub(super) fn check(paths: &Paths, manager: Option<Pid>) -> Check {
    let holder = holder(&paths.lock());
    match (holder, manager) {
        (None, None) => Check::pass("lock", "free: no manager is running"),
        (Some(holder), Some(manager)) if holder == manager => {
            Check::pass("lock", format!("held by the manager, pid {manager}"))
        }
        (Some(holder), None) => {
            let detail = format!("pid {holder} holds it, but no manager answers at the socket");
            Check::fail("lock", detail, format!("kill {holder} && dae up"))
        }
        (holder, Some(manager)) => {
            let holder = holder.map_or("nobody".to_owned(), |it| format!("pid {it}"));
            let detail = format!("the manager is pid {manager}, but {holder} holds the lock");
            Check::fail("lock", detail, "dae down --keep && dae up")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process;

    use nix::fcntl::{Flock, FlockArg};

    use super::*;

    #[test]
    fn the_holder_of_a_lock_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let file = fs::File::create(&path).unwrap();
        assert_eq!(holder(&path), None);
        let lock = Flock::lock(file, FlockArg::LockExclusive).unwrap();
        assert_eq!(holder(&path), Some(process::id()));
        drop(lock);
        assert_eq!(holder(&folder.path().join("none")), None);
    }
}
