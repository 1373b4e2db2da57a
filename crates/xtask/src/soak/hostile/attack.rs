//! The attacker: threads that strike at random, until their standard input ends or their time is
//! over.

use std::{
    io::{self, Read},
    thread::{self, sleep},
    time::Duration,
};

use clap::Args;

use super::{
    blows::{BLOWS, Dice},
    line::Target,
};
use crate::bench::{clock::now, machine};

#[derive(Args)]
pub(crate) struct Attack {
    /// How many strike at once
    #[arg(long, default_value_t = 4)]
    threads: usize,

    /// How long at most
    #[arg(long, default_value_t = 60)]
    seconds: u64,

    /// On which processor alone
    #[arg(long)]
    processor: Option<usize>,

    /// Whom; `burn:SHARE` only burns that share of a processor
    targets: Vec<Target>,
}

/// Attacks, or burns time.
pub(crate) fn attack(arguments: &Attack) {
    if let Some(processor) = arguments.processor {
        machine::stay_on(processor).expect("whoever starts us knows our processors");
    }
    let length = Duration::from_secs(arguments.seconds);
    for thread in 0..arguments.threads {
        let targets = arguments.targets.clone();
        let (dice, threads) = (Dice::new(thread as u64 + 1), arguments.threads as f64);
        thread::spawn(move || match targets[..] {
            [Target::Burn(share)] => burn(share / threads, dice),
            _ => strike(&targets, dice),
        });
    }
    thread::spawn(move || {
        sleep(length);
        end_at_once();
    });
    // Whoever started us holds the other end.
    io::copy(&mut io::stdin().lock(), &mut io::sink()).ok();
}

fn strike(targets: &[Target], mut dice: Dice) -> ! {
    loop {
        let target = &targets[dice.below(targets.len())];
        let blow = BLOWS[dice.below(BLOWS.len())];
        // A peer that closes, or has no room, is what it should be.
        blow(target, &mut dice).ok();
    }
}

/// Takes a share of a processor by short turns, as who answers and waits does.
fn burn(share: f64, mut dice: Dice) -> ! {
    const TURN: Duration = Duration::from_millis(1);
    let pause = TURN.mul_f64((1.0 / share.clamp(0.001, 1.0)) - 1.0);
    loop {
        let begun = now();
        while now() - begun < TURN {
            std::hint::black_box(dice.next());
        }
        sleep(pause);
    }
}

#[expect(clippy::exit, reason = "this is the whole process, and its threads never end")]
fn end_at_once() -> ! {
    std::process::exit(0)
}

/// Reads what comes for as long as something does.
pub(crate) fn drain(from: &mut impl Read) {
    let mut buffer = [0; 16 << 10];
    while matches!(from.read(&mut buffer), Ok(1..)) {}
}
