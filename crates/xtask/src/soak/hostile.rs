//! `cargo xtask soak hostile`: every port and socket under attack, beside a guest that only wants
//! its answers.
//!
//! Attackers take processor time, and on a small machine that alone makes everybody slow. So what
//! an attack is compared with is not peace but a burner: as many threads, equally nice, that only
//! count, for as much processor time as the attacker before it took. Slices of both alternate, or a
//! machine that gets busier meanwhile would be taken for the attack's doing.

mod attack;
pub(crate) mod blows;
mod bystander;
pub(super) mod honest;
mod house;
mod line;
pub(super) mod watch;

use std::{
    io,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::Duration,
};

use clap::Args;
use rustix::io::Errno;

pub(crate) use attack::{Attack, attack};
use bystander::Bystander;
use honest::{Guest, Phase};
use house::{House, HouseError};
use watch::Watched;

use crate::{
    bench::{
        clock::{ProcessorClock, now},
        machine,
    },
    step::{announce, say},
};

#[derive(Args)]
pub(crate) struct Hostile {
    /// Processor time that attackers and attacked spend on the attack together, in seconds
    #[arg(default_value_t = 60)]
    seconds: u64,

    /// Threads of the attacker, and of the burner that it is compared with
    #[arg(long, default_value_t = 16)]
    threads: usize,

    /// Attackers, and the burner, have the second processor and everybody else the first, as if
    /// they came from another machine
    #[arg(long)]
    apart: bool,

    /// The release binaries are there and good
    #[arg(long)]
    no_build: bool,
}

/// Why there is no verdict, or a bad one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HostileError {
    #[error(transparent)]
    House(#[from] HouseError),

    #[error("cannot run the attacker")]
    Attacker(#[source] io::Error),

    #[error("cannot ask as a guest")]
    Guest(#[source] io::Error),

    #[error("cannot have processor {processor} alone")]
    Apart { processor: usize, source: Errno },

    #[error("{0} of the promises above do not hold")]
    Broken(usize),
}

/// How long the attacker has it, and how long the burner.
const ATTACKED: Duration = Duration::from_secs(20);
const QUIET: Duration = Duration::from_secs(10);

/// How long an attack's last connections are given to go before peace begins.
const AFTER_SLICE: Duration = Duration::from_secs(3);

/// How often processes are looked at.
const PERIOD: Duration = Duration::from_millis(250);

/// How long connections of attackers that have gone may live on: their kernel forgets some after a
/// minute only.
const AFTERMATH: Duration = Duration::from_secs(150);

/// The processors of those who are attacked and of those who attack, where they are apart.
const OURS: usize = 0;
const THEIRS: usize = 1;

/// How much slower than beside the burner the slowest hundredth of answers may be.
const SLOWER: f64 = 2.0;

/// Attacks until the attackers have spent their time, and tells what it did to everybody else.
pub(crate) fn hostile(arguments: &Hostile) -> Result<(), HostileError> {
    if arguments.apart {
        apart(OURS)?;
    }
    let house = House::build(!arguments.no_build)?;
    let bystander = Bystander::start().map_err(HostileError::Guest)?;
    let mut guests = [
        Guest::new("Sample get", house.sample_port, "get [\"k\"]\n")
            .map_err(HostileError::Guest)?,
        Guest::new("Dae find", house.port, "find [\"Sample\"]\n").map_err(HostileError::Guest)?,
        bystander.guest().map_err(HostileError::Guest)?,
    ];
    let mut watched: Vec<Watched> =
        house.processes().into_iter().map(|(name, pid)| Watched::new(name, pid)).collect();
    announce(&format!(
        "{} s of processor time of an attack by {} threads, in slices of {} s; after each {} s of a burner, as nice, \
         with as many threads and as much processor time as the attacker took: that is what `quiet` means below",
        arguments.seconds,
        arguments.threads,
        ATTACKED.as_secs(),
        QUIET.as_secs()
    ));

    let wanted = Duration::from_secs(arguments.seconds);
    // An attack that spends nothing must end as well.
    let latest = now() + wanted * 10 + AFTERMATH;
    let (mut attackers, mut attacked) = (Duration::ZERO, Duration::ZERO);
    let mut owner_failures = 0;
    while attackers + attacked < wanted && now() < latest {
        honest::begin(&guests, Phase::Attacked);
        let before = watch::processor_time(&watched);
        let took = slice(arguments, &house.targets(), ATTACKED, &mut watched)?;
        attackers += took;
        attacked += watch::processor_time(&watched).saturating_sub(before);
        owner_failures += usize::from(!house.owner_gets_in());
        honest::begin(&guests, Phase::Neither);
        sleep(AFTER_SLICE);
        honest::begin(&guests, Phase::Quiet);
        let share = took.as_secs_f64() / ATTACKED.as_secs_f64();
        slice(arguments, &[format!("burn:{share}")], QUIET, &mut watched)?;
        let (by, of) = (attackers.as_secs_f64(), attacked.as_secs_f64());
        say(&format!(
            "    {by:.1} s by attackers, {of:.1} s of attacked; {}",
            watch::line(&watched)
        ));
    }
    honest::begin(&guests, Phase::Neither);

    announce("all attackers have gone; waiting for what they left behind");
    let begun = now();
    let is_calm = |watched: &mut [Watched]| {
        watched.iter_mut().for_each(Watched::look);
        watched.iter().all(Watched::has_its_files_back)
    };
    while !is_calm(&mut watched) && (now() - begun) < AFTERMATH {
        sleep(PERIOD);
    }
    say(&format!("    after {:.0} s", (now() - begun).as_secs_f64()));
    let mut broken = Vec::new();
    let [attacked @ .., beside] = &mut guests;
    attacked.iter_mut().for_each(|guest| broken.extend(guest.verdict(SLOWER)));
    broken.extend(beside.verdict(f64::INFINITY));
    for process in &watched {
        broken.extend(process.verdict());
    }
    if owner_failures > 0 {
        broken.push(format!("`dae list` failed after {owner_failures} slices"));
    }
    broken.extend(house.panics().into_iter().map(|line| format!("a panic: {line}")));
    for line in &broken {
        say(&format!("BROKEN: {line}"));
    }
    match broken.len() {
        0 => say("all promises hold"),
        count => return Err(HostileError::Broken(count)),
    }
    Ok(())
}

fn apart(processor: usize) -> Result<(), HostileError> {
    machine::stay_on(processor).map_err(|source| HostileError::Apart { processor, source })
}

/// Runs the attacker against `targets`; the processor time it took.
fn slice(
    arguments: &Hostile,
    targets: &[String],
    length: Duration,
    watched: &mut [Watched],
) -> Result<Duration, HostileError> {
    let mut attacker = Attacker::start(arguments, targets, length)?;
    let clock =
        ProcessorClock::of(attacker.0.id()).map_err(|it| HostileError::Attacker(it.into()))?;
    let end = now() + length;
    let mut spent = Duration::ZERO;
    while now() < end {
        sleep(PERIOD);
        watched.iter_mut().for_each(Watched::look);
        spent = clock.read().unwrap_or(spent);
    }
    attacker.end();
    Ok(spent)
}

/// The attacker's process; ends with this.
struct Attacker(Child);

impl Attacker {
    fn start(
        arguments: &Hostile,
        targets: &[String],
        length: Duration,
    ) -> Result<Self, HostileError> {
        let program = std::env::current_exe().map_err(HostileError::Attacker)?;
        let mut command = Command::new("nice");
        command.args(["-n", "5"]).arg(program).args(["soak", "attack"]);
        command.args(["--threads", &arguments.threads.to_string()]);
        if arguments.apart {
            command.args(["--processor", &THEIRS.to_string()]);
        }
        command.args(["--seconds", &(length.as_secs() + 10).to_string()]).args(targets);
        let child = command.stdin(Stdio::piped()).spawn().map_err(HostileError::Attacker)?;
        Ok(Self(child))
    }

    fn end(&mut self) {
        // It has gone by itself if it can't be killed.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Drop for Attacker {
    fn drop(&mut self) {
        self.end();
    }
}
