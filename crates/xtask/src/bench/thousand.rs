//! `bench start`, `list` and `stop`: a thousand services are started, listed, and stopped. Each
//! round visits every contender once.

use std::{thread::sleep, time::Duration};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fd::OwnedFd,
    process::{Pid, PidfdFlags, pidfd_open},
};

use super::{
    clock::now,
    error::MeasureError,
    report::median,
    rivals::Rivals,
    scratch::{self, Scratch},
    stage::{PATIENCE, Stage, name},
    supervisor::{Dae, Kind, Service, Supervisor},
    table::{Figure, Must},
    witness::Word,
};
use crate::{step::say, workspace::release};

pub(crate) const COUNT: usize = 1000;

const ROUNDS: usize = 3;

/// One that takes longer in any of it is visited in the first round only.
const SLOW: Duration = Duration::from_secs(5);

/// What is looked at in a visit several times, for its median: listing, and stopping one.
const TIMES: usize = 7;

/// Between the last start and the first question: supervisors go on for a while.
const SETTLE: Duration = Duration::from_millis(1500);

/// What is looked at in a visit.
#[derive(Clone, Copy, Default)]
pub(crate) struct Wanted {
    pub(crate) start: bool,
    pub(crate) list: bool,
    pub(crate) stop: bool,
}

struct Figures {
    start: Figure,
    ready: Figure,
    list: Figure,
    stop: Figure,
    stop_all: Figure,
}

/// All rounds, every other one backwards.
pub(crate) fn thousand(
    kinds: &[Kind],
    wanted: Wanted,
    rivals: &Rivals,
    scratch: &Scratch,
) -> Result<Vec<Figure>, MeasureError> {
    let mut figures = Figures::new();
    let mut stages = Stage::all_with_sleepers(kinds, rivals, scratch, COUNT)?;
    for round in 0..ROUNDS {
        let mut slow = vec![];
        for stage in &mut stages {
            let visited = visit(stage, wanted, &mut figures);
            stage.end();
            if stage.kind.unless_rival(visited)?.is_none_or(|longest| longest > SLOW) {
                slow.push(stage.kind);
            }
        }
        if wanted.start {
            let ready = ready(scratch, round)?;
            figures.ready.add(Kind::Dae, ready.as_secs_f64());
        }
        stages.retain(|stage| stage.kind == Kind::Dae || !slow.contains(&stage.kind));
        stages.reverse();
    }
    Ok(figures.wanted(wanted))
}

/// One contender from its start to its end; the longest that something took.
fn visit(
    stage: &mut Stage,
    wanted: Wanted,
    figures: &mut Figures,
) -> Result<Duration, MeasureError> {
    let kind = stage.kind;
    let started = stage.launch()?;
    figures.start.add(kind, started.as_secs_f64());
    let mut longest = started;
    sleep(SETTLE);
    if wanted.list
        && let Some(list) = time_of_list(stage)?
    {
        figures.list.add(kind, list * 1e3);
    }
    if wanted.stop {
        let times: Result<Vec<_>, _> = (0..TIMES).map(|it| stop_one(stage, it)).collect();
        figures.stop.add(kind, median(times?) * 1e3);
        let all = stop_all(stage)?;
        figures.stop_all.add(kind, all.as_secs_f64());
        longest = longest.max(all);
    }
    say(&format!("  {}: 1000 started in {:.2} s", kind.name(), started.as_secs_f64()));
    Ok(longest)
}

/// In seconds.
fn time_of_list(stage: &Stage) -> Result<Option<f64>, MeasureError> {
    let times: Result<Option<Vec<_>>, _> =
        (0..TIMES).map(|_| stage.time_of_list().transpose()).map(Option::transpose).collect();
    Ok(times?.map(|all| median(all.iter().map(Duration::as_secs_f64).collect())))
}

/// From the command to its end and that of the process, whichever is later, in seconds.
fn stop_one(stage: &mut Stage, number: usize) -> Result<f64, MeasureError> {
    let word = stage.running.remove(&name(number)).expect("all have been seen to run");
    let watched = [watch(&word)?];
    let started = now();
    stage.supervisor.stop(&word)?;
    gone(stage, &watched)?;
    Ok((now() - started).as_secs_f64())
}

fn stop_all(stage: &mut Stage) -> Result<Duration, MeasureError> {
    let all: Vec<&Word> = stage.running.values().collect();
    let watched = all.iter().map(|word| watch(word)).collect::<Result<Vec<_>, _>>()?;
    let started = now();
    stage.supervisor.stop_all(&all)?;
    gone(stage, &watched)?;
    Ok(now() - started)
}

fn watch(word: &Word) -> Result<OwnedFd, MeasureError> {
    let opened = Pid::from_raw(word.pid).ok_or(rustix::io::Errno::SRCH);
    opened.and_then(|pid| pidfd_open(pid, PidfdFlags::empty())).map_err(|errno| MeasureError::Io {
        act: format!("watch pid {} of {}", word.pid, word.name),
        source: errno.into(),
    })
}

/// Waits until all have ended.
fn gone(stage: &Stage, watched: &[OwnedFd]) -> Result<(), MeasureError> {
    let end = now() + PATIENCE;
    for (place, process) in watched.iter().enumerate() {
        let left = end.saturating_sub(now());
        let patience = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: 0 };
        let count = poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&patience));
        if count.is_ok_and(|count| count == 0) {
            return Err(stage.silent(watched.len() - place, PATIENCE));
        }
    }
    Ok(())
}

/// How long it takes ours until a thousand Samples are ready. Nobody else knows when that is.
fn ready(scratch: &Scratch, round: usize) -> Result<Duration, MeasureError> {
    let folder = scratch.folder(&format!("samples-{round}"))?;
    let mut dae = Dae::that_asks(folder.clone());
    let sample = |number| Service {
        name: name(number),
        program: release("sample"),
        arguments: vec![],
        is_logged: false,
    };
    dae.prepare(&(0..COUNT).map(sample).collect::<Vec<_>>())?;
    let started = now();
    let launched = dae.launch_and_wait();
    let took = now() - started;
    scratch::sweep(&folder);
    launched?;
    say(&format!("  dae: 1000 Samples ready in {:.2} s", took.as_secs_f64()));
    Ok(took)
}

impl Figures {
    fn new() -> Self {
        Self {
            start: Figure::new("1000 sleepers started, s", Some(Must::Below(1.2))),
            ready: Figure::new("1000 Samples ready, s", Some(Must::Below(4.0))),
            list: Figure::new("list of 1000, whole command, ms", Some(Must::Below(13.0))),
            stop: Figure::new("stop of one of 1000, ms", Some(Must::Below(5.0))),
            stop_all: Figure::new("stop of 1000, s", Some(Must::Below(3.0))),
        }
    }

    fn wanted(self, wanted: Wanted) -> Vec<Figure> {
        let start = wanted.start.then_some([self.start, self.ready]);
        let stop = wanted.stop.then_some([self.stop, self.stop_all]);
        let list = wanted.list.then_some(self.list);
        start.into_iter().flatten().chain(list).chain(stop.into_iter().flatten()).collect()
    }
}
