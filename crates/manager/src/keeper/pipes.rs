//! The read ends of a child's pipes, made anew from those that its processes have, after a keeper
//! has died with the old ones.

use std::fs::{self, Metadata, OpenOptions};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::PathBuf;

use super::child::Child;
use super::log::Stream;
use super::sources::{self, Source};
use super::turn::Keeper;
use crate::cgroup::Cgroup;
use crate::identity::Identity;
use crate::proc::{self, Pid};

impl Keeper {
    /// Reads on what those write who have no leader any more, once they are known.
    pub(super) fn reopen_pipes(&mut self) {
        let is_meant = |child: &Child| child.lacks_outputs() && !child.is_led() && child.has_tree();
        for (key, child) in self.children.iter_mut().filter(|(_, child)| is_meant(child)) {
            let in_cgroup = child.identity.cgroup.iter().flat_map(Cgroup::processes);
            let pids: Vec<Pid> = in_cgroup.chain(child.strays.iter().map(|it| it.pid)).collect();
            if pids.is_empty() {
                continue;
            }
            let given = child.give_outputs(of_any(&child.identity, &pids));
            for (stream, pipe) in child.outputs().filter(|_| !child.is_paused()) {
                if given.contains(&stream) {
                    // One that cannot be watched is read when its tree has ended.
                    let _ = sources::watch(&self.epoll, pipe, Source::Output(*key, stream));
                }
            }
        }
    }
}

/// From the leader, or from whoever of its descendants has them.
pub(super) fn of_leader(identity: &Identity) -> [Option<OwnedFd>; 2] {
    let Some(pipes) = identity.pipes else { return [None, None] };
    Stream::ALL.map(|stream| {
        let inode = pipes[stream.index()];
        // It is where it was given, or somewhere else.
        let usual = format!("/proc/{}/fd/{}", identity.pid, stream.index() + 1);
        open_pipe(&usual.into(), inode).or_else(|| {
            let tree = proc::tree(identity.pid).unwrap_or_default();
            find(tree.into_iter(), inode)
        })
    })
}

fn of_any(identity: &Identity, pids: &[Pid]) -> [Option<OwnedFd>; 2] {
    let Some(pipes) = identity.pipes else { return [None, None] };
    pipes.map(|inode| find(pids.iter().copied(), inode))
}

/// Looks through all that these processes have open. That a pid is no stranger's does not matter:
/// it is the inode that is asked for.
fn find(pids: impl Iterator<Item = Pid>, inode: u64) -> Option<OwnedFd> {
    let tables = pids.filter_map(|pid| fs::read_dir(format!("/proc/{pid}/fd")).ok());
    tables.flatten().flatten().find_map(|entry| open_pipe(&entry.path(), inode))
}

fn open_pipe(path: &PathBuf, inode: u64) -> Option<OwnedFd> {
    let is_it = |it: &Metadata| it.file_type().is_fifo() && it.ino() == inode;
    // Opening whatever it is might wait, or do something.
    fs::metadata(path).ok().filter(is_it)?;
    let pipe = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).ok()?;
    pipe.metadata().ok().filter(is_it)?;
    Some(pipe.into())
}
