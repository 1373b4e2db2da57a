//! What processes use: read only while somebody looks.

use std::time::Duration;

use serde_json::{
    Value,
    value::{RawValue, to_raw_value},
};
use sysinfo::{MINIMUM_CPU_UPDATE_INTERVAL, Pid, ProcessRefreshKind, ProcessesToUpdate, System};
use tokio::{
    sync::Semaphore,
    task::{JoinError, spawn_blocking},
    time::sleep,
};

/// How many read at once: anybody may ask, and each reads of all processes.
static READERS: Semaphore = Semaphore::const_new(1);

/// Adds `cpu` (percent of a core, over the last moment) and `memory` (bytes, resident) to each
/// entry of a listing, for its whole tree. Takes a moment, since CPU is a difference. Without an
/// answer of the kernel both stay absent.
pub async fn added(text: Box<RawValue>) -> Box<RawValue> {
    let Ok(mut listing) = serde_json::from_str(text.get()) else { return text };
    let roots: Vec<u32> = entries(&mut listing).filter_map(|it| pid_of(it)).collect();
    let Ok(trees) = read(move || trees(&roots)).await else { return text };
    let Ok(Some((system, trees))) = read(move || first(trees)).await else { return text };
    sleep(MINIMUM_CPU_UPDATE_INTERVAL.max(Duration::from_millis(200))).await;
    let Ok(used) = read(move || second(system, trees)).await else { return text };
    for entry in entries(&mut listing) {
        let Some(pid) = pid_of(entry) else { continue };
        if let Some((_, cpu, memory)) = used.iter().find(|(root, ..)| *root == pid) {
            entry["cpu"] = (f64::from((cpu * 10.0).round()) / 10.0).into();
            entry["memory"] = (*memory).into();
        }
    }
    to_raw_value(&listing).unwrap_or(text)
}

async fn read<T: Send + 'static>(
    what: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JoinError> {
    let _turn = READERS.acquire().await.expect("nobody closes it");
    spawn_blocking(what).await
}

type Tree = (u32, Vec<Pid>);

fn entries(listing: &mut Value) -> impl Iterator<Item = &mut Value> {
    listing.as_array_mut().into_iter().flatten()
}

fn pid_of(entry: &Value) -> Option<u32> {
    u32::try_from(entry["pid"].as_u64()?).ok()
}

fn trees(roots: &[u32]) -> Vec<Tree> {
    let tree = |root: u32| {
        let pids = crate::proc::tree(root).unwrap_or_default();
        (root, pids.into_iter().map(Pid::from_u32).collect())
    };
    roots.iter().map(|&root| tree(root)).collect()
}

fn first(trees: Vec<Tree>) -> Option<(System, Vec<Tree>)> {
    let mut system = System::new().ok()?;
    refresh(&mut system, &trees);
    Some((system, trees))
}

fn second(mut system: System, trees: Vec<Tree>) -> Vec<(u32, f32, u64)> {
    refresh(&mut system, &trees);
    let sum = |pids: &[Pid]| {
        let processes = pids.iter().filter_map(|pid| system.process(*pid));
        processes.fold((0.0, 0), |(cpu, memory), it| (cpu + it.cpu_usage(), memory + it.memory()))
    };
    trees.iter().map(|(root, pids)| (*root, sum(pids).0, sum(pids).1)).collect()
}

fn refresh(system: &mut System, trees: &[Tree]) {
    let pids: Vec<Pid> = trees.iter().flat_map(|(_, pids)| pids.iter().copied()).collect();
    let what = ProcessRefreshKind::nothing().with_cpu().with_memory().without_tasks();
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&pids), true, what);
}
