//! Who came from whom.

use std::{collections::HashMap, fs, io, path::Path};

use super::{Pid, processes, stat, visible};

/// Lists the children of a process.
///
/// The kernel may leave one out while another is ending: who must miss nobody asks until two
/// answers agree. Empty on a kernel without `CONFIG_PROC_CHILDREN`; [`tree`] knows another
/// way.
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

/// Lists the children of this process, which reaps alone and forks only when it waits for that: so
/// the kernel's lists cannot lose an entry while they are read.
pub(crate) fn own_children() -> Vec<Pid> {
    let own = std::process::id();
    match children(own).ok().flatten() {
        Some(children) if has_lists() => children,
        _ => families().ok().and_then(|mut it| it.remove(&own)).unwrap_or_default(),
    }
}

/// Lists a process, first, and all its descendants, parents before children.
///
/// Who was orphaned on the way (a daemon that forks twice) is a child of the subreaper by now and
/// not here. The root stands in the list even when it is gone.
pub fn tree(root: Pid) -> io::Result<Vec<Pid>> {
    if has_lists() { descend(root, children) } else { by_parents(root) }
}

/// As [`tree`], for kernels without lists of children.
pub(super) fn by_parents(root: Pid) -> io::Result<Vec<Pid>> {
    let mut families = families()?;
    descend(root, |parent| Ok(families.remove(&parent)))
}

/// Whether the kernel has lists of children (`CONFIG_PROC_CHILDREN`).
fn has_lists() -> bool {
    Path::new("/proc/thread-self/children").exists()
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_walk_ends_even_in_a_circle() {
        let circle = |pid| Ok(Some(vec![pid % 3 + 1, pid]));
        assert_eq!(descend(1, circle).unwrap(), [1, 2, 3]);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes: Vec<u8>) {
            numbers(&bytes).count();
        }
    }
}
