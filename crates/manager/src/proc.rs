//! What `/proc` tells about processes, shared by the supervisor and the scan.
//!
//! A process may vanish between any two lines here, and one with privileges of its own may not let
//! us look. Neither is an error: the answer is then `None`. What remains as an error is our own
//! trouble, such as no descriptor left.

use std::{
    collections::HashMap,
    ffi::OsString,
    fs, io,
    os::unix::{ffi::OsStringExt, fs::MetadataExt},
    path::Path,
    thread,
    time::Duration,
};

use rustix::{io::Errno, process::geteuid};
use tokio::time::Instant;

/// The number of a process. The kernel uses it again, so it names nobody without [`Stat::started`].
pub type Pid = u32;

/// The members of `/proc/PID/stat` that tell who a process is and whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// The process itself.
    pub pid: Pid,
    /// The letter of `ps`: `R`, `S`, `D`, `T`, `Z`, …
    pub state: u8,
    /// Who gets its exit status; 0 if that is nobody in our pid namespace.
    pub parent: Pid,
    /// Its process group.
    pub group: Pid,
    /// Its session.
    pub session: Pid,
    /// When it started, in clock ticks since boot (field 22).
    pub started: u64,
}

impl Stat {
    /// Reads the line of `/proc/PID/stat`.
    ///
    /// The name of the program is any bytes, spaces and brackets among them; it ends at the last
    /// `)`.
    pub fn parse(line: &[u8]) -> Option<Self> {
        let open = line.iter().position(|&byte| byte == b'(')?;
        let close = line.iter().rposition(|&byte| byte == b')')?;
        let pid = str::from_utf8(line.get(..open)?).ok()?.trim().parse().ok()?;

        let rest = str::from_utf8(line.get(close + 1..)?).ok()?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let number = |at: usize| fields.get(at)?.parse().ok();
        let &[state] = fields.first()?.as_bytes() else { return None };

        Some(Self {
            pid,
            state,
            parent: number(1)?,
            group: number(2)?,
            session: number(3)?,
            started: fields.get(19)?.parse().ok()?,
        })
    }

    /// Whether it has ended and only waits for its parent to ask how.
    pub fn is_zombie(&self) -> bool {
        matches!(self.state, b'Z' | b'X')
    }
}

/// Reads who a process is.
pub fn stat(pid: Pid) -> io::Result<Option<Stat>> {
    let line = visible(fs::read(format!("/proc/{pid}/stat")))?;
    Ok(line.and_then(|line| Stat::parse(&line)))
}

/// Reads one variable of the environment that a process was started with.
///
/// Waits for one that is within `exec`: for a moment it has a new memory, and no environment in it
/// yet.
pub fn variable(pid: Pid, name: &str) -> io::Result<Option<OsString>> {
    let until = Instant::now() + EXEC;
    loop {
        let environ = visible(fs::read(format!("/proc/{pid}/environ")))?.unwrap_or_default();
        if !environ.is_empty() || !is_within_exec(pid)? || Instant::now() > until {
            return Ok(variable_in(&environ, name).map(|value| OsString::from_vec(value.to_vec())));
        }
        // Nothing tells that an `exec` is over.
        thread::sleep(Duration::from_millis(1));
    }
}

/// How long a process may be within `exec`; a loaded machine may let it wait for its turn.
const EXEC: Duration = Duration::from_millis(500);

/// Whether a process has a memory, but nothing in it yet: the kernel writes its auxiliary vector,
/// which is never empty, together with its environment, which may be.
pub(crate) fn is_within_exec(pid: Pid) -> io::Result<bool> {
    let auxv = visible(fs::read(format!("/proc/{pid}/auxv")))?.unwrap_or_default();
    Ok(!auxv.is_empty() && auxv.iter().all(|&byte| byte == 0))
}

/// Whether a process is between an `exec` and its end, so that the environment that it shows is all
/// it has.
pub(crate) fn has_settled(pid: Pid) -> io::Result<bool> {
    let auxv = visible(fs::read(format!("/proc/{pid}/auxv")))?.unwrap_or_default();
    Ok(auxv.iter().any(|&byte| byte != 0))
}

/// The value of the first `name=` among strings that end in NUL.
pub fn variable_in<'a>(environ: &'a [u8], name: &str) -> Option<&'a [u8]> {
    environ
        .split(|&byte| byte == 0)
        .find_map(|entry| entry.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
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
    let us = geteuid().as_raw();
    let mut own = Vec::new();
    for pid in processes()? {
        if visible(fs::metadata(format!("/proc/{pid}")))?.is_some_and(|it| it.uid() == us) {
            own.push(pid);
        }
    }
    Ok(own)
}

/// Lists the children of a process.
///
/// The kernel may leave one out while another is ending: who must miss nobody asks until two
/// answers agree. Empty on a kernel without `CONFIG_PROC_CHILDREN`; [`tree`] knows another way.
pub fn children(pid: Pid) -> io::Result<Option<Vec<Pid>>> {
    let Some(threads) = visible(fs::read_dir(format!("/proc/{pid}/task")))? else {
        return Ok(None);
    };
    let mut children = Vec::new();
    for thread in threads {
        let Some(thread) = visible(thread)? else { continue };
        let list = visible(fs::read(thread.path().join("children")))?.unwrap_or_default();
        children.extend(numbers(&list));
    }
    Ok(Some(children))
}

/// Lists a process, first, and all its descendants, parents before children.
///
/// Who was orphaned on the way (a daemon that forks twice) is a child of the subreaper by now and
/// not here. The root stands in the list even when it is gone.
pub fn tree(root: Pid) -> io::Result<Vec<Pid>> {
    if Path::new("/proc/thread-self/children").exists() {
        return descend(root, children);
    }
    let mut families = families()?;
    descend(root, |parent| Ok(families.remove(&parent)))
}

/// Every process that we can see, under its parent, by one pass over `/proc/*/stat`.
fn families() -> io::Result<HashMap<Pid, Vec<Pid>>> {
    let mut families = HashMap::<Pid, Vec<Pid>>::new();
    for pid in processes()? {
        if let Some(stat) = stat(pid)? {
            families.entry(stat.parent).or_default().push(pid);
        }
    }
    Ok(families)
}

fn descend(
    root: Pid,
    mut children: impl FnMut(Pid) -> io::Result<Option<Vec<Pid>>>,
) -> io::Result<Vec<Pid>> {
    let mut tree = vec![root];
    let mut next = 0;
    while let Some(&pid) = tree.get(next) {
        for child in children(pid)?.unwrap_or_default() {
            // A number used again during the walk must not lead it round in a circle.
            if !tree.contains(&child) {
                tree.push(child);
            }
        }
        next += 1;
    }
    Ok(tree)
}

fn numbers(list: &[u8]) -> impl Iterator<Item = Pid> {
    list.split(u8::is_ascii_whitespace).filter_map(|it| str::from_utf8(it).ok()?.parse().ok())
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

    use proptest::prelude::*;

    use super::*;

    const TAIL: &str = "S 7 8 9 34816 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 4711 0 0";

    #[test]
    fn a_name_may_hold_spaces_brackets_and_any_bytes() {
        for name in ["sh", "a b", "a) S 1 1 (b", ")", "", "x\ny"] {
            let stat = Stat::parse(format!("42 ({name}) {TAIL}\n").as_bytes()).unwrap();
            assert_eq!((stat.pid, stat.state, stat.parent), (42, b'S', 7), "{name}");
            assert_eq!((stat.group, stat.session, stat.started), (8, 9, 4711), "{name}");
        }
        assert!(Stat::parse(&[b"1 (\xff\xfe) ", TAIL.as_bytes()].concat()).is_some());
    }

    #[test]
    fn a_line_that_is_no_stat_is_none() {
        for line in ["", "(", ")(", "1 (a)", "1 (a) S 1 2", "x (a) S 7 8 9", "1 )a( S 1 2 3"] {
            assert_eq!(Stat::parse(line.as_bytes()), None, "{line}");
        }
        let cut = format!("1 (a) {}", TAIL.replace("S 7", "SS 7"));
        assert_eq!(Stat::parse(cut.as_bytes()), None);
    }

    #[test]
    fn a_variable_is_found_by_its_whole_name() {
        let environ = b"AB=1\0A=2\0A=3\0E=\0NO\0Q=a=b";
        assert_eq!(variable_in(environ, "A"), Some(&b"2"[..]));
        assert_eq!(variable_in(environ, "E"), Some(&b""[..]));
        assert_eq!(variable_in(environ, "Q"), Some(&b"a=b"[..]));
        assert_eq!(variable_in(environ, "NO"), None);
        assert_eq!(variable_in(environ, "B"), None);
        assert_eq!(variable_in(b"", "A"), None);
    }

    #[test]
    fn a_walk_ends_even_in_a_circle() {
        let circle = |pid| Ok(Some(vec![pid % 3 + 1, pid]));
        assert_eq!(descend(1, circle).unwrap(), [1, 2, 3]);
    }

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
        let mut families = families().unwrap();
        assert_eq!(descend(root, |pid| Ok(families.remove(&pid))).unwrap(), [root, grandchild]);
        assert!(own_processes().unwrap().contains(&grandchild));

        let stat = stat(grandchild).unwrap().unwrap();
        assert_eq!((stat.parent, stat.is_zombie()), (root, false));
        assert_eq!(variable(grandchild, "PROC_TEST").unwrap().unwrap(), "here");
        rustix::process::kill_process(
            rustix::process::Pid::from_raw(grandchild.cast_signed()).unwrap(),
            rustix::process::Signal::KILL,
        )
        .unwrap();
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_parser_panic(bytes: Vec<u8>, name in "[A-Z=]{0,3}") {
            Stat::parse(&bytes);
            Stat::parse(&[b"1 (a) ", &bytes[..]].concat());
            variable_in(&bytes, &name);
            numbers(&bytes).count();
        }
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
