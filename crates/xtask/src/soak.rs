//! `cargo xtask soak`: long runs after which everything must be as it was before.

mod hostile;

use std::error::Error;

use clap::Subcommand;

#[derive(Subcommand)]
pub(crate) enum Soak {
    /// Attacks every port and socket of a manager, its keeper and Sample; other guests must hardly notice
    Hostile(hostile::Hostile),
    /// The attacker that `hostile` runs; ends with its standard input
    #[command(hide = true)]
    Attack(hostile::Attack),
}

pub(crate) fn run(soak: Soak) -> Result<(), Box<dyn Error>> {
    match soak {
        Soak::Hostile(arguments) => hostile::hostile(&arguments)?,
        Soak::Attack(arguments) => hostile::attack(&arguments),
    }
    Ok(())
}
