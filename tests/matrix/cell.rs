//! What can go wrong with a daemon, when, and what must become of it: the table.

use Fault::{
    Bomb, Closed, Deaf, Escapee, Exit0, Exit1, Missing, Name, Output, Port, Sigkill, Sigsegv,
    Sigstop, Slow,
};
use Moment::{Starting, Stopping, Up, Waiting};

/// What goes wrong. The programs are in `tests/programs/faulty.sh`, by these words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Sigkill,
    Sigstop,
    Sigsegv,
    Exit0,
    Exit1,
    /// Its program is removed, then it is killed.
    Missing,
    /// A hundred children that ignore SIGTERM.
    Bomb,
    /// It leaves a process in a session of its own, and ends.
    Escapee,
    /// It ignores SIGTERM from then on.
    Deaf,
    /// It closes stdout and stderr.
    Closed,
    /// It prints a lot.
    Output,
    /// It does not become ready in time.
    Slow,
    /// It calls itself otherwise.
    Name,
    /// Somebody else has its port.
    Port,
}

/// When it goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    Starting,
    Up,
    /// It has been told to end, and has not yet.
    Stopping,
    /// It has failed once; the next start goes wrong. Nothing runs then that could go wrong
    /// otherwise.
    Waiting,
}

pub(super) const FAULTS: [Fault; 14] = [
    Sigkill, Sigstop, Sigsegv, Exit0, Exit1, Missing, Bomb, Escapee, Deaf, Closed, Output, Slow,
    Name, Port,
];

pub(super) const MOMENTS: [Moment; 4] = [Starting, Up, Stopping, Waiting];

/// What must be listed in the end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outcome {
    pub(super) state: &'static str,
    /// What the note has to contain.
    pub(super) note: &'static str,
    /// Whether it is still the process that the fault struck; absent where none runs.
    pub(super) is_same: Option<bool>,
}

const fn outcome(state: &'static str, note: &'static str, is_same: Option<bool>) -> Outcome {
    Outcome { state, note, is_same }
}

/// What becomes of a daemon. A stop outlives the manager that was asked for it.
#[rustfmt::skip] // one line a case
pub(super) fn expected(fault: Fault, moment: Moment) -> Outcome {
    let ends = matches!(fault, Sigkill | Sigsegv | Exit0 | Exit1 | Escapee);
    match (moment, fault) {
        (Stopping, _)                                 => outcome("down", "", None),
        (_, Missing)                                  => outcome("failed", "cannot run the program", None),
        (_, Slow)                                     => outcome("waiting", "did not listen within", None),
        (_, Port)                                     => outcome("waiting", "exit 1", None),
        (_, Name)                                     => outcome("up", "calls itself `Other`", Some(false)),
        (Waiting, _) if ends                          => outcome("waiting", "", None),
        (_, _) if ends                                => outcome("up", "", Some(false)),
        (Starting, _)                                 => outcome("starting", "", Some(true)),
        (Up, _)                                       => outcome("up", "", Some(true)),
        (Waiting, _)                                  => outcome("up", "", Some(false)),
    }
}

impl Fault {
    /// The word for it in `faulty.sh`, and in the daemon's name.
    pub(super) fn word(self) -> String {
        format!("{self:?}").to_lowercase()
    }
}

impl Moment {
    pub(super) fn word(self) -> String {
        format!("{self:?}").to_lowercase()
    }
}

/// How a daemon of this cell is known to be ready.
pub(super) fn readiness(fault: Fault, moment: Moment) -> &'static str {
    match (fault, moment) {
        (Slow, _) => "port",
        (Name, _) | (Port, Starting) if moment != Stopping => "dae",
        (_, Starting) => "port",
        _ => "none",
    }
}

/// How long it may take to become ready.
pub(super) fn start_timeout(fault: Fault, moment: Moment) -> &'static str {
    if fault == Slow && moment != Stopping { "3s" } else { "1h" }
}
