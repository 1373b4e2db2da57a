//! `bench crash`: how soon is somebody back who was killed?

use std::{collections::HashMap, thread::sleep, time::Duration};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{
    clock::now,
    error::MeasureError,
    report::median,
    rivals::Rivals,
    scratch::Scratch,
    stage::{Stage, name},
    supervisor::Kind,
    table::{Figure, Must},
};

/// How many children each contender has. While one is killed, the others rest.
const CHILDREN: usize = 34;

/// How often each child is killed.
const ROUNDS: usize = 3;

/// How old a child is before it is killed: supervisors wait a second before they start again what
/// ran for less.
const AGE: Duration = Duration::from_millis(1500);

/// Between two kills, for what a supervisor still has to write down.
const PAUSE: Duration = Duration::from_millis(20);

/// How long a replacement may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A contender that takes longer waits by design. It is killed once in [`SELDOM`] times only.
const SLOW: f64 = 200.0;
const SELDOM: usize = 10;

/// Kills children of all contenders in turn.
pub(crate) fn crash(
    kinds: &[Kind],
    rivals: &Rivals,
    scratch: &Scratch,
) -> Result<Vec<Figure>, MeasureError> {
    let stages = Stage::all_with_sleepers(kinds, rivals, scratch, CHILDREN)?;
    let mut stages = Stage::launch_all(stages)?;
    let mut times: HashMap<&str, Vec<f64>> = HashMap::new();
    for turn in 0..CHILDREN * ROUNDS {
        for place in 0..stages.len() {
            let place = if turn % 2 == 0 { place } else { stages.len() - 1 - place };
            let stage = &mut stages[place];
            let times = times.entry(stage.kind.name()).or_default();
            if turn % SELDOM == 0 || times.is_empty() || median(times.clone()) < SLOW {
                let took = replaced(stage, &name(turn % CHILDREN));
                let took = stage.kind.unless_rival(took)?;
                times.extend(took.map(|it| it.as_secs_f64() * 1e3));
                sleep(PAUSE);
            }
        }
    }
    Ok(figures(&times, kinds))
}

/// Kills a child; the time until the first act of the one that comes for it.
fn replaced(stage: &mut Stage, name: &str) -> Result<Duration, MeasureError> {
    let Some(child) = stage.running.remove(name) else {
        return Err(stage.silent(1, PATIENCE));
    };
    sleep((child.at + AGE).saturating_sub(now()));
    let killed = now();
    kill(Pid::from_raw(child.pid), Signal::SIGKILL)
        .map_err(|errno| MeasureError::Io { act: format!("kill {name}"), source: errno.into() })?;
    let next = stage.witness.next_of(name, PATIENCE);
    let next = next.ok_or_else(|| stage.silent(1, PATIENCE))?;
    let took = next.at.saturating_sub(killed);
    stage.running.insert(name.to_owned(), next);
    Ok(took)
}

fn figures(times: &HashMap<&str, Vec<f64>>, kinds: &[Kind]) -> Vec<Figure> {
    let mut half = Figure::new("kill -9 to first instruction, p50, ms", Some(Must::Below(3.0)));
    let mut most = Figure::new("kill -9 to first instruction, p99, ms", Some(Must::Below(8.0)));
    for kind in kinds {
        let Some(times) = times.get(kind.name()).filter(|it| !it.is_empty()) else { continue };
        half.add(*kind, quantile(times, 0.50));
        most.add(*kind, quantile(times, 0.99));
    }
    vec![half, most]
}

/// The least of `all` that `share` of them do not pass.
fn quantile(all: &[f64], share: f64) -> f64 {
    let mut sorted = all.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(place.max(1) - 1).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_was_seen() {
        let all: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(quantile(&all, 0.5), 50.0);
        assert_eq!(quantile(&all, 0.99), 99.0);
        assert_eq!(quantile(&[7.0], 0.99), 7.0);
        assert!(quantile(&[], 0.5).is_nan());
    }
}
