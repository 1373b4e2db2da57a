//! `cargo xtask soak logins`: passwords are tried, a thousand a second, while others ask and change
//! something.
//!
//! Slices with and without it alternate, or a machine that gets busier meanwhile would be taken for
//! the attack's doing.

mod guess;
mod house;

use std::{io, process::Command, thread::sleep, time::Duration};

use clap::Args;

pub(crate) use guess::{Guess, guess};
use house::{House, HouseError};

use super::hostile::{
    honest::{self, Guest, Phase},
    watch::Watched,
};
use crate::step::{self, StepError, announce, say};

#[derive(Args)]
pub(crate) struct Logins {
    /// How long passwords are tried
    #[arg(default_value_t = 60)]
    seconds: u64,

    /// Passwords a second
    #[arg(long, default_value_t = 1000)]
    rate: u32,

    /// The release binary is there and good
    #[arg(long)]
    no_build: bool,
}

/// Why there is no verdict, or a bad one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoginsError {
    #[error(transparent)]
    House(#[from] HouseError),

    #[error("cannot run the guesser")]
    Guesser(#[source] io::Error),

    #[error("the guesser failed")]
    Guessed(#[from] StepError),

    #[error("{0} of the promises above do not hold")]
    Broken(usize),
}

/// How long passwords are tried at a time, and how long not.
const ATTACKED: u64 = 20;
const QUIET: u64 = 10;

/// How long the last of them are given to be looked at before peace begins.
const AFTER_SLICE: u64 = 5;

/// How often the daemon is looked at.
const PERIOD: Duration = Duration::from_millis(250);

/// How much slower the slowest hundredth of answers may be.
const SLOWER: f64 = 2.0;

/// Tries passwords, and tells what that did to everybody else.
pub(crate) fn logins(arguments: &Logins) -> Result<(), LoginsError> {
    let house = House::build(!arguments.no_build)?;
    let mut guests = [
        house.guest("get", "get [[\"doc\"]]\n").map_err(HouseError::from)?,
        house.guest("update", "update [[\"doc\"],{\"v\":1}]\n").map_err(HouseError::from)?,
    ];
    let mut watched = Watched::new("State", house.pid());
    announce(&format!(
        "{} wrong passwords a second for {} s, in slices of {ATTACKED} s, with {QUIET} s of quiet between",
        arguments.rate, arguments.seconds,
    ));
    let slices = arguments.seconds.div_ceil(ATTACKED);
    for _ in 0..slices {
        pass(&guests, Phase::Quiet, QUIET, &mut watched);
        let mut guesser = house.guesser(arguments.rate, ATTACKED);
        let mut running = guesser.spawn().map_err(LoginsError::Guesser)?;
        pass(&guests, Phase::Attacked, ATTACKED, &mut watched);
        pass(&guests, Phase::Neither, AFTER_SLICE, &mut watched);
        step::succeeded(&guesser, running.wait().map_err(LoginsError::Guesser)?)?;
    }
    pass(&guests, Phase::Quiet, QUIET, &mut watched);
    honest::begin(&guests, Phase::Neither);
    let mut broken: Vec<String> = guests.iter_mut().flat_map(|it| it.verdict(SLOWER)).collect();
    broken.extend(watched.verdict());
    for line in &broken {
        say(&format!("BROKEN: {line}"));
    }
    match broken.len() {
        0 => say("all promises hold"),
        count => return Err(LoginsError::Broken(count)),
    }
    Ok(())
}

/// Lets `seconds` go by in which what is measured counts to `phase`.
fn pass(guests: &[Guest], phase: Phase, seconds: u64, watched: &mut Watched) {
    honest::begin(guests, phase);
    for _ in 0..seconds * 4 {
        sleep(PERIOD);
        watched.look();
    }
}

/// A command that runs less urgently than we and the daemon.
fn nice(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("nice");
    command.args(["-n", "5"]).arg(program);
    command
}
