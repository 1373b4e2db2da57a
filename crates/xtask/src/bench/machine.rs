//! What stands over figures: on which machine they were seen, and what else it did.

use std::{fs, thread};

use rustix::{
    io::Errno,
    thread::{CpuSet, sched_setaffinity},
};

use crate::step::{announce, say};

pub(crate) fn announce_machine() {
    let cores = thread::available_parallelism().map_or(0, usize::from);
    let kernel = read("/proc/sys/kernel/osrelease");
    announce(&format!("{cores} cores, {}, Linux {kernel}, load {}", processor(), load()));
}

/// How busy the machine was in the last minute, five and fifteen.
pub(crate) fn say_load() {
    say(&format!("load now {}", load()));
}

/// Has this thread, and what it starts, run on one processor alone.
pub(crate) fn stay_on(processor: usize) -> Result<(), Errno> {
    let mut set = CpuSet::new();
    set.set(processor);
    sched_setaffinity(None, &set)
}

fn load() -> String {
    read("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(" ")
}

fn processor() -> String {
    let all = read("/proc/cpuinfo");
    let model = all.lines().find(|it| it.starts_with("model name"));
    model.and_then(|it| it.split_once(": ")).map_or("unknown processor", |it| it.1).to_owned()
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}
