//! What the kernel tells about processes, shared by the keeper, the manager and the scan.
//!
//! A process may vanish between any two lines here, and one with privileges of its own may not let
//! us look. Neither is an error: the answer is then `None`. What remains as an error is our own
//! trouble, such as no descriptor left.

mod environ;
mod pidfd;
mod stat;
mod tree;

use std::{fs, io, os::unix::fs::MetadataExt};

use rustix::{io::Errno, process::geteuid};

pub(crate) use self::{
    environ::{environment, environment_once_settled, is_within_exec, values_in},
    pidfd::inode,
    tree::own_children,
};
pub use self::{
    environ::{variable, variable_in},
    pidfd::{has_ended, open},
    stat::{Stat, stat},
    tree::{children, tree},
};

/// The number of a process. The kernel uses it again, so it names nobody without [`Stat::started`].
pub type Pid = u32;

/// The number as system calls take it; `None` for one that nobody can have.
pub fn raw(pid: Pid) -> Option<rustix::process::Pid> {
    i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw)
}

/// Lists every process that we can see.
pub fn processes() -> io::Result<Vec<Pid>> {
    fs::read_dir("/proc")?
        .filter_map(|entry| match entry {
            Ok(entry) => entry.file_name().to_str()?.parse().ok().map(Ok),
            Err(error) => Some(Err(error)),
        })
        .collect()
}

/// Lists the processes of our own user, but those which the kernel shields from their user.
pub fn own_processes() -> io::Result<Vec<Pid>> {
    let mut own = Vec::new();
    for pid in processes()? {
        if is_own(pid)? {
            own.push(pid);
        }
    }
    Ok(own)
}

/// Whether a process is of our own user, and does not hide it.
pub(crate) fn is_own(pid: Pid) -> io::Result<bool> {
    let us = geteuid().as_raw();
    Ok(visible(fs::metadata(format!("/proc/{pid}")))?.is_some_and(|it| it.uid() == us))
}

/// Turns "it is gone" and "you may not look" into `None`.
pub(crate) fn visible<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) => match Errno::from_io_error(&error) {
            Some(Errno::NOENT | Errno::SRCH | Errno::ACCESS | Errno::PERM) => Ok(None),
            _ => Err(error),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    #[test]
    fn a_vanished_process_is_none_everywhere() {
        let gone = Pid::MAX;
        assert_eq!(stat(gone).unwrap(), None);
        assert_eq!(children(gone).unwrap(), None);
        assert_eq!(variable(gone, "PATH").unwrap(), None);
        assert_eq!(tree(gone).unwrap(), [gone]);
    }

    #[test]
    fn a_grandchild_is_in_the_tree_both_ways() {
        let mut shell = Shell::start("sleep 60 & echo $!; wait");
        let grandchild = shell.line().trim().parse().unwrap();
        let root = shell.0.id();

        assert_eq!(children(root).unwrap(), Some(vec![grandchild]));
        assert_eq!(tree(root).unwrap(), [root, grandchild]);
        assert_eq!(tree::by_parents(root).unwrap(), [root, grandchild]);
        assert!(own_processes().unwrap().contains(&grandchild));

        let stat = stat(grandchild).unwrap().unwrap();
        assert_eq!((stat.parent, stat.is_zombie()), (root, false));
        assert_eq!(variable(grandchild, "PROC_TEST").unwrap().unwrap(), "here");
        let grandchild = raw(grandchild).unwrap();
        rustix::process::kill_process(grandchild, rustix::process::Signal::KILL).unwrap();
    }

    /// A shell that ends with the test.
    struct Shell(Child);

    impl Shell {
        fn start(script: &str) -> Self {
            let mut command = Command::new("sh");
            command.args(["-c", script]).env("PROC_TEST", "here").stdout(Stdio::piped());
            Self(command.spawn().unwrap())
        }

        fn line(&mut self) -> String {
            let mut line = String::new();
            let mut output = io::BufReader::new(self.0.stdout.as_mut().unwrap());
            io::BufRead::read_line(&mut output, &mut line).unwrap();
            line
        }
    }

    impl Drop for Shell {
        fn drop(&mut self) {
            self.0.kill().unwrap();
            self.0.wait().unwrap();
        }
    }
}
