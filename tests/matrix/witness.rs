//! Who sees that the listing tells the truth, and that nothing is left: the kernel.

use std::{collections::BTreeMap, fs};

use serde_json::Value;
use tokio::time::Instant;

use crate::harness::{Dae, is_running, of, patiently, pid, processes, status};

/// How many descriptors manager and keeper have.
#[derive(Debug)]
pub(super) struct Counts {
    manager: BTreeMap<String, usize>,
    keeper: BTreeMap<String, usize>,
}

impl Counts {
    pub(super) fn of(dae: &Dae) -> Self {
        Self { manager: descriptors(dae.pid()), keeper: descriptors(dae.keeper()) }
    }

    /// What is more than it was, once nothing runs any more: descriptors, children of the keeper,
    /// zombies.
    pub(super) fn grown(&self, dae: &Dae) -> Option<String> {
        patiently(Instant::now(), || {
            let now = Self::of(dae);
            let keeper = dae.keeper().to_string();
            let of_keeper = |it: &u32| status(*it, "PPid").as_ref() == Some(&keeper);
            let children: Vec<u32> = processes().into_iter().filter(of_keeper).collect();
            let left = all_of(dae, "");
            let is_clean = total(&now.manager) <= total(&self.manager)
                && total(&now.keeper) <= total(&self.keeper)
                && children.is_empty()
                && left.is_empty();
            let found = || {
                format!(
                    "{now:?} after {self:?}; children of the keeper {children:?}; left {left:?}"
                )
            };
            is_clean.then_some(()).ok_or_else(found)
        })
        .err()
        .map(|it| format!("  {it}"))
    }
}

/// What is listed of a daemon, if the kernel agrees: who has a process has a living one, and who
/// has none has nothing that runs.
pub(super) fn truth(dae: &Dae, name: &str) -> Result<Value, String> {
    let listed = dae.listed(name).unwrap();
    let processes = all_of(dae, name);
    if dae.listed(name).unwrap() != listed {
        return Err(format!("{listed}: not stable"));
    }
    let is_true = match listed["state"].as_str().unwrap() {
        "up" | "sick" | "starting" if listed["pid"].is_u64() => processes.contains(&pid(&listed)),
        "down" | "failed" | "waiting" | "pending" => {
            listed["pid"].is_null() && processes.is_empty()
        }
        "starting" | "stopping" => true,
        _ => false,
    };
    let is_noted = !matches!(listed["state"].as_str(), Some("failed" | "waiting"))
        || listed["note"].is_string();
    match is_true && is_noted {
        true => Ok(listed),
        false => Err(format!("{listed}, but of it run {processes:?}")),
    }
}

/// `pid`, if it runs.
pub(super) fn living(pid: u32) -> Option<u32> {
    is_running(pid).then_some(pid)
}

/// The living processes of those daemons of this home whose data directory begins so.
fn all_of(dae: &Dae, name: &str) -> Vec<u32> {
    let mut mark = format!("DAE_DATA={}/data/daemons/{name}", dae.home().display()).into_bytes();
    if !name.is_empty() {
        mark.push(0);
    }
    let is_its = |pid: &u32| {
        let environment = fs::read(of(*pid, "environ")).unwrap_or_default();
        environment.windows(mark.len()).any(|it| it == mark)
    };
    processes().into_iter().filter(is_its).filter(|pid| is_running(*pid)).collect()
}

/// What `pid` has open: a line a kind, with how many.
fn descriptors(pid: u32) -> BTreeMap<String, usize> {
    let mut kinds = BTreeMap::new();
    for entry in fs::read_dir(of(pid, "fd")).into_iter().flatten().flatten() {
        let target = fs::read_link(entry.path()).unwrap_or_default();
        let target = target.to_string_lossy().into_owned();
        // A manager watches foreign daemons so, which come and go as other tests do.
        if !target.contains("pidfd") {
            // `socket:[4711]`, `pipe:[4712]`
            *kinds.entry(target.split(":[").next().unwrap().to_owned()).or_default() += 1;
        }
    }
    kinds
}

fn total(kinds: &BTreeMap<String, usize>) -> usize {
    kinds.values().sum()
}
