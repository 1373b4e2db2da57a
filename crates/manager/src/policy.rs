//! When to try again, and when not: delays, intensity, verdicts. Pure; time and chance are
//! arguments.

use std::{collections::VecDeque, fmt, io, time::Duration};

use nix::sys::signal::Signal;
use tokio::time::Instant;

use crate::definition::{Backoff, Definition, GiveUp, Restart, about};

/// The exit code of a program whose configuration is wrong (`EX_CONFIG` of `sysexits.h`): trying
/// again is vain.
const EX_CONFIG: i32 = 78;

/// Fewer failures in a row are bad luck; from here on the note says that it is a loop.
const LOOP: u32 = 3;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// Nobody was there to see it: the keeper died too, on a kernel that does not tell afterwards.
    Unknown,
}

impl Exit {
    /// Whether it ended because it cannot run as it is configured.
    pub fn is_lasting(self) -> bool {
        self == Self::Code(EX_CONFIG)
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Code(code) => write!(f, "exit {code}"),
            Self::Signal(number) => match Signal::try_from(number) {
                Ok(signal) => write!(f, "killed by {signal}"),
                Err(_) => write!(f, "killed by signal {number}"),
            },
            Self::Unknown => f.write_str("ended unseen"),
        }
    }
}

/// Whether a spawn step that failed so will fail again until somebody changes a file: nothing
/// there, not allowed, not a program.
pub fn is_lasting(errno: i32) -> bool {
    [libc::ENOENT, libc::EACCES, libc::ENOEXEC, libc::ENOTDIR].contains(&errno)
}

/// The note for a spawn step that failed.
pub fn spawn_note(step: &str, errno: i32) -> String {
    format!("{step}: {}", io::Error::from_raw_os_error(errno))
}

/// What follows from the end of a daemon that nobody asked to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It comes back.
    Restart,
    /// It is done, and that is well.
    Down,
    /// It stays away, and that is not well.
    Failed,
}

/// Judges an end by the policy and the success codes of the daemon.
pub fn verdict(definition: &Definition, exit: Exit) -> Verdict {
    match (definition.restart, is_success(definition, exit)) {
        (Restart::Always, _) | (Restart::OnFailure, false) => Verdict::Restart,
        (Restart::OnFailure | Restart::Never, true) => Verdict::Down,
        (Restart::Never, false) => Verdict::Failed,
    }
}

fn is_success(definition: &Definition, exit: Exit) -> bool {
    let Exit::Code(code) = exit else { return false };
    code == 0 || definition.success_codes.iter().any(|&it| i32::from(it) == code)
}

/// How long to wait before attempt `n`, the first failure being followed by attempt 1:
/// `min(cap, base · 2^(n−1))`, then ± 20 %, evenly by `random`; so at most 1.2 × cap. Nothing
/// before attempt 0.
pub fn delay(backoff: Backoff, n: u32, random: u64) -> Duration {
    let Some(doublings) = n.checked_sub(1) else { return Duration::ZERO };
    let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
    let wait = backoff.base.saturating_mul(factor).min(backoff.cap);
    wait.mul_f64(0.8 + 0.4 * (random as f64 / u64::MAX as f64))
}

/// The failures of one daemon: those in a row, which set the delay, and those in the period of
/// `give_up`.
#[derive(Clone, Debug, Default)]
pub struct Failures {
    in_row: u32,
    since: Option<Instant>,
    ends: VecDeque<Instant>,
}

impl Failures {
    /// Takes note of one more.
    pub fn add(&mut self, now: Instant) {
        self.in_row = self.in_row.saturating_add(1);
        self.since.get_or_insert(now);
    }

    /// The daemon has been stable: its next crash is its first. What `give_up` counts is forgotten
    /// by time alone.
    pub fn clear(&mut self) {
        self.in_row = 0;
        self.since = None;
    }

    /// How many in a row.
    pub fn count(&self) -> u32 {
        self.in_row
    }

    /// Takes note of an end, failure or not, and tells whether there have been more than are borne.
    pub fn is_too_many(&mut self, limit: GiveUp, now: Instant) -> bool {
        self.ends.push_back(now);
        while self.ends.front().is_some_and(|&it| now.duration_since(it) > limit.period) {
            self.ends.pop_front();
        }
        self.ends.len() > limit.count as usize
    }

    /// What the listing says: `crash loop: 23 failures in 9m, last: exit 101`; for one or two, the
    /// last alone.
    pub fn note(&self, last: &str, now: Instant) -> String {
        match self.since {
            Some(since) if self.in_row >= LOOP => {
                let period = about(now.duration_since(since));
                format!("crash loop: {} failures in {period}, last: {last}", self.in_row)
            }
            _ => last.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BACKOFF: Backoff =
        Backoff { base: Duration::from_millis(100), cap: Duration::from_secs(30) };
    /// The middle of all chances: no jitter.
    const EVEN: u64 = u64::MAX / 2;

    #[test]
    fn the_delay_doubles_from_base_to_cap() {
        let delays: Vec<_> = (0..12)
            .map(|n| delay(BACKOFF, n, EVEN).as_secs_f64().mul_add(10.0, 0.01) as u32)
            .collect();
        assert_eq!(delays, [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        assert_eq!(delay(BACKOFF, u32::MAX, EVEN), delay(BACKOFF, 20, EVEN));
    }

    proptest! {
        #[test]
        fn jitter_is_a_fifth_at_most(n in 1..u32::MAX, random: u64) {
            let plain = delay(BACKOFF, n, EVEN);
            let delay = delay(BACKOFF, n, random);
            let slack = Duration::from_micros(1);
            prop_assert!(delay + slack >= plain.mul_f64(0.8) && delay <= plain.mul_f64(1.2) + slack);
        }
    }

    #[test]
    fn jitter_reaches_both_ends() {
        assert_eq!(delay(BACKOFF, 1, 0), Duration::from_millis(80));
        assert_eq!(delay(BACKOFF, 1, u64::MAX), Duration::from_millis(120));
    }

    #[test]
    fn a_verdict_follows_policy_and_success_codes() {
        let mut definition = Definition::new("/p".into());
        definition.success_codes = vec![3];
        let ends = [Exit::Code(0), Exit::Code(3), Exit::Code(1), Exit::Signal(9), Exit::Unknown];
        let mut verdicts = |restart| {
            definition.restart = restart;
            ends.map(|it| verdict(&definition, it))
        };
        use Verdict::{Down, Failed, Restart as Again};
        assert_eq!(verdicts(Restart::Always), [Again; 5]);
        assert_eq!(verdicts(Restart::OnFailure), [Down, Down, Again, Again, Again]);
        assert_eq!(verdicts(Restart::Never), [Down, Down, Failed, Failed, Failed]);
    }

    #[test]
    fn too_many_is_more_than_the_limit_within_the_period() {
        let limit = GiveUp { count: 2, period: Duration::from_secs(60) };
        let start = Instant::now();
        let mut failures = Failures::default();
        let mut at = |seconds| {
            failures.clear();
            failures.is_too_many(limit, start + Duration::from_secs(seconds))
        };
        assert!(!at(0) && !at(10));
        assert!(!at(61), "the first is out of the period");
        assert!(at(69));
    }

    #[test]
    fn the_note_tells_a_loop_from_an_accident() {
        let start = Instant::now();
        let mut failures = Failures::default();
        let said = |failures: &Failures, after| {
            failures.note(&Exit::Code(101).to_string(), start + Duration::from_secs(after))
        };
        failures.add(start);
        assert_eq!(said(&failures, 1), "exit 101");
        (1..23).for_each(|it| failures.add(start + Duration::from_secs(it)));
        assert_eq!(said(&failures, 550), "crash loop: 23 failures in 9m, last: exit 101");
        failures.clear();
        assert_eq!(said(&failures, 600), "exit 101");
    }

    #[test]
    fn an_end_is_told_in_words() {
        assert_eq!(Exit::Signal(9).to_string(), "killed by SIGKILL");
        assert_eq!(Exit::Signal(63).to_string(), "killed by signal 63");
        assert!(Exit::Code(78).is_lasting() && !Exit::Signal(78).is_lasting());
        assert_eq!(
            spawn_note("exec", libc::ENOENT),
            "exec: No such file or directory (os error 2)"
        );
        assert!(is_lasting(libc::ENOTDIR) && !is_lasting(libc::EAGAIN));
    }
}
