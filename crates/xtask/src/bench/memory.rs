//! `bench memory`: what a supervisor holds, and what it does while nothing happens.

use std::{fs, thread::sleep, time::Duration};

use super::{
    clock::{ProcessorClock, now},
    error::MeasureError,
    rivals::Rivals,
    scratch::Scratch,
    stage::Stage,
    supervisor::Kind,
    table::{Figure, Must},
    thousand::COUNT,
};

const ROUNDS: usize = 3;

/// How long a supervisor without services is left alone before it is looked at.
const SETTLE: Duration = Duration::from_secs(2);

/// The same with a thousand; all contenders stand side by side then.
const LONG_SETTLE: Duration = Duration::from_secs(10);

/// How long nothing happens, a round: as long as a whole period of our look for foreign daemons.
const IDLE: Duration = Duration::from_secs(15);

/// Memory without and with services, then processor time of three quiet quarters of a minute.
pub(crate) fn memory(
    kinds: &[Kind],
    rivals: &Rivals,
    scratch: &Scratch,
) -> Result<Vec<Figure>, MeasureError> {
    let mut empty = Held::new(
        ["memory without children, PSS, MB", "memory without children, RSS, MB"],
        Must::Below(8.0),
    );
    let mut full = Held::new(
        ["memory with 1000 children, PSS, MB", "memory with 1000 children, RSS, MB"],
        Must::Below(16.0),
    );
    let mut idle = Figure::new("idle with 1000 children, % of a core", Some(Must::Below(0.05)));

    let mut stages = Stage::all_with_sleepers(kinds, rivals, scratch, 0)?;
    for _ in 0..ROUNDS {
        stages = Stage::launch_all(stages)?;
        sleep(SETTLE);
        stages.iter().for_each(|stage| empty.look(stage));
        stages.iter_mut().for_each(Stage::end);
    }
    drop(stages);

    let stages = Stage::all_with_sleepers(kinds, rivals, scratch, COUNT)?;
    let stages = Stage::launch_all(stages)?;
    sleep(LONG_SETTLE);
    for _ in 0..ROUNDS {
        let watched: Vec<_> = stages.iter().map(Watched::new).collect();
        sleep(IDLE);
        watched.iter().for_each(|it| idle.add(it.kind, it.share() * 100.0));
        stages.iter().for_each(|stage| full.look(stage));
    }
    scratch.end();
    Ok([empty.pss, empty.rss, full.pss, full.rss, idle].into())
}

/// Memory of all processes of a supervisor. A page that n processes share counts 1/n for each (PSS)
/// or as a whole (RSS).
struct Held {
    pss: Figure,
    rss: Figure,
}

impl Held {
    fn new([pss, rss]: [&'static str; 2], must: Must) -> Self {
        Self { pss: Figure::new(pss, Some(must)), rss: Figure::new(rss, None) }
    }

    fn look(&mut self, stage: &Stage) {
        let (mut pss, mut rss) = (0, 0);
        for pid in stage.supervisors() {
            let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"));
            let rollup = rollup.unwrap_or_default();
            pss += kibibytes(&rollup, "Pss:");
            rss += kibibytes(&rollup, "Rss:");
        }
        self.pss.add(stage.kind, megabytes(pss));
        self.rss.add(stage.kind, megabytes(rss));
    }
}

fn kibibytes(rollup: &str, key: &str) -> u64 {
    let line = rollup.lines().find_map(|line| line.strip_prefix(key));
    line.and_then(|it| it.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

fn megabytes(kibibytes: u64) -> f64 {
    kibibytes as f64 * 1024.0 / 1e6
}

/// The processor time of a supervisor from a moment on.
struct Watched {
    kind: Kind,
    since: Duration,
    clocks: Vec<(ProcessorClock, Duration)>,
}

impl Watched {
    fn new(stage: &Stage) -> Self {
        let clock = |pid| {
            let clock = ProcessorClock::of(pid).ok()?;
            Some((clock, clock.read().ok()?))
        };
        let clocks = stage.supervisors().into_iter().filter_map(clock).collect();
        Self { kind: stage.kind, since: now(), clocks }
    }

    /// Of one processor.
    fn share(&self) -> f64 {
        let used = |(clock, before): &(ProcessorClock, Duration)| {
            clock.read().map_or(Duration::ZERO, |after| after.saturating_sub(*before))
        };
        let used: Duration = self.clocks.iter().map(used).sum();
        used.as_secs_f64() / (now() - self.since).as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rollup_is_read_by_key() {
        let rollup = "55-7f [rollup]\nRss:    2236 kB\nPss:     151 kB\nPss_Dirty:   92 kB\n";
        assert_eq!((kibibytes(rollup, "Rss:"), kibibytes(rollup, "Pss:")), (2236, 151));
        assert_eq!(kibibytes("", "Rss:"), 0);
    }
}
