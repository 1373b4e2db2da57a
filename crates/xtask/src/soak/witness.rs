//! What a process needs, over time; and whether that grows.

use std::fs;

/// What manager or keeper needed at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sample {
    pub(crate) rss_kb: u64,
    pub(crate) descriptors: u64,
    pub(crate) threads: u64,
    /// Dead children that nobody has reaped.
    pub(crate) zombies: u64,
}

/// The samples of one process, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Samples(Vec<Sample>);

/// What is looked at of a sample.
type Quantity = fn(&Sample) -> u64;

/// So much memory is no growth: a table that was doubled once.
const SLACK_KB: u64 = 1024;

/// So many descriptors are no growth: a guest more in this moment.
const SLACK_DESCRIPTORS: u64 = 8;

impl Sample {
    /// What `pid` needs now; nothing once it is gone.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        // Pidfds of the manager are of foreign daemons, which are not this run's.
        let is_counted = |it: &fs::DirEntry| {
            !fs::read_link(it.path()).is_ok_and(|to| to.to_string_lossy().contains("pidfd"))
        };
        let open = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten();
        let descriptors = open.filter(is_counted).count();
        Some(Self {
            rss_kb: field(&status, "VmRSS:"),
            threads: field(&status, "Threads:"),
            descriptors: u64::try_from(descriptors).unwrap_or(u64::MAX),
            zombies: zombies(pid),
        })
    }
}

impl Samples {
    pub(crate) fn push(&mut self, sample: Sample) {
        self.0.push(sample);
    }

    pub(crate) fn last(&self) -> Sample {
        self.0.last().copied().unwrap_or_default()
    }

    /// The medians of the first and of the last quarter, and whether the last is more than the
    /// first.
    pub(crate) fn quarters(&self, value: Quantity) -> (u64, u64) {
        let quarter = (self.0.len() / 4).max(1).min(self.0.len());
        (median(&self.0[..quarter], value), median(&self.0[self.0.len() - quarter..], value))
    }

    /// A line a quantity, and whether all are flat.
    pub(crate) fn verdict(&self, who: &str) -> (Vec<String>, bool) {
        let rows: [(&str, Quantity, u64); 3] = [
            ("memory, kB", |it| it.rss_kb, SLACK_KB),
            ("descriptors", |it| it.descriptors, SLACK_DESCRIPTORS),
            ("threads", |it| it.threads, 1),
        ];
        let judged = rows.map(|(what, value, slack)| {
            let (first, last) = self.quarters(value);
            let is_flat = last <= first + first / 10 + slack;
            (format!("{who:8} {what:12} {first:>8} {last:>8}  {}", word(is_flat)), is_flat)
        });
        let is_clean = self.last().zombies == 0;
        let zombies =
            format!("{who:8} zombies now  {:>17}  {}", self.last().zombies, word(is_clean));
        let is_flat = judged.iter().all(|it| it.1) && is_clean;
        (judged.into_iter().map(|it| it.0).chain([zombies]).collect(), is_flat)
    }
}

/// How a row of a verdict ends.
pub(crate) fn word(is_well: bool) -> &'static str {
    if is_well { "ok" } else { "NO" }
}

fn median(samples: &[Sample], value: Quantity) -> u64 {
    let mut values: Vec<u64> = samples.iter().map(value).collect();
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or_default()
}

fn field(status: &str, key: &str) -> u64 {
    let line = status.lines().find_map(|it| it.strip_prefix(key));
    line.and_then(|it| it.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

fn zombies(parent: u32) -> u64 {
    let is_its = |pid: u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields = stat.rsplit_once(") ").map(|it| it.1).unwrap_or_default();
        let mut fields = fields.split(' ');
        fields.next() == Some("Z") && fields.next() == Some(&*parent.to_string())
    };
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|it| it.file_name().to_str()?.parse().ok());
    pids.filter(|pid| is_its(*pid)).count().try_into().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_grows_is_told_from_what_does_not() {
        let samples = |last_kb| {
            let mut samples = Samples::default();
            for rss_kb in [10_000, 10_000, 10_100, last_kb] {
                samples.push(Sample { rss_kb, threads: 1, descriptors: 20, zombies: 0 });
            }
            samples
        };
        assert!(samples(10_200).verdict("manager").1);
        assert!(!samples(14_000).verdict("manager").1);
    }
}
