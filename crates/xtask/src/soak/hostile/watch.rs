//! What the attacked processes hold: memory and descriptors, from the first look to the last.

use std::{fs, time::Duration};

use crate::{bench::clock::ProcessorClock, step::say};

/// One process.
pub(crate) struct Watched {
    name: &'static str,
    pid: u32,
    /// Memory in KiB at each look.
    memory: Vec<u64>,
    files: Vec<usize>,
    is_gone: bool,
}

/// By how much a process may have grown at most: what its guests may make it keep, and what the
/// connections themselves cost.
const GROWTH_KIB: u64 = 160 << 10;

/// By how much the last quarter may lie above the second: what always grows does so for ever.
const TREND: f64 = 1.25;
const TREND_KIB: f64 = 4096.0;

impl Watched {
    pub(crate) fn new(name: &'static str, pid: u32) -> Self {
        let mut watched = Self { name, pid, memory: vec![], files: vec![], is_gone: false };
        watched.look();
        watched
    }

    pub(crate) fn look(&mut self) {
        match (memory(self.pid), files(self.pid)) {
            (Some(memory), Some(files)) => {
                self.memory.push(memory);
                self.files.push(files);
            }
            _ => self.is_gone = true,
        }
    }

    /// Whether it has as many descriptors as at first; a few come and go by themselves.
    pub(crate) fn has_its_files_back(&self) -> bool {
        let (first, last) = (self.files.first(), self.files.last());
        last.zip(first).is_some_and(|(last, first)| *last <= first + 2)
    }

    /// Tells what it held; what of it is too much.
    pub(crate) fn verdict(&self) -> Vec<String> {
        let (first, last) = (self.memory[0], self.memory[self.memory.len() - 1]);
        let most = self.memory.iter().copied().max().unwrap_or_default();
        let most_files = self.files.iter().copied().max().unwrap_or_default();
        let (early, late) = (self.median_of_quarter(1), self.median_of_quarter(3));
        say(&format!(
            "{:<11} memory {:.1} MiB, most {:.1}, in the end {:.1}, second quarter {:.1}, last {:.1}; files {}, most {}, in the end {}",
            self.name,
            mib(first),
            mib(most),
            mib(last),
            early / 1024.0,
            late / 1024.0,
            self.files[0],
            most_files,
            self.files[self.files.len() - 1],
        ));
        let checks = [
            (self.is_gone, "has ended"),
            (most - first > GROWTH_KIB, "has grown too much"),
            (late > early * TREND + TREND_KIB, "grows on and on"),
            (!self.has_its_files_back(), "has more descriptors than before"),
        ];
        let name = self.name;
        checks.iter().filter(|it| it.0).map(|it| format!("{name} {}", it.1)).collect()
    }

    fn median_of_quarter(&self, quarter: usize) -> f64 {
        let size = self.memory.len();
        let mut part = self.memory[size * quarter / 4..size * (quarter + 1) / 4].to_vec();
        part.sort_unstable();
        part.get(part.len() / 2).copied().unwrap_or_default() as f64
    }
}

/// What all of them hold now, in short.
pub(crate) fn line(watched: &[Watched]) -> String {
    let one = |it: &Watched| {
        let (memory, files) = (it.memory.last(), it.files.last());
        let (memory, files) = (memory.copied().unwrap_or(0), files.copied().unwrap_or(0));
        format!("{} {:.1} MiB, {files} files", it.name, mib(memory))
    };
    watched.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// Processor time that all of them have taken.
pub(crate) fn processor_time(watched: &[Watched]) -> Duration {
    let of = |it: &Watched| ProcessorClock::of(it.pid).and_then(ProcessorClock::read);
    watched.iter().filter_map(|it| of(it).ok()).sum()
}

fn memory(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|it| it.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

fn files(pid: u32) -> Option<usize> {
    Some(fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count())
}

fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}
