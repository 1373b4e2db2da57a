//! `cargo xtask soak`: long runs that look for what grows, and for what is seldom.

mod churn;
mod commands;
mod hostile;
mod logins;
mod matrix;
mod power;
mod relay;
mod state;
mod subscribers;
mod witness;

use std::error::Error;

use clap::Subcommand;

/// The long runs.
#[derive(Subcommand)]
pub(crate) enum Soak {
    /// 200 daemons, a crash every second, installs, removals, followers and watchers; nothing may
    /// grow
    Churn {
        /// How long
        #[arg(default_value_t = 60)]
        minutes: u64,
    },
    /// Every fault at every moment in every environment, with 1 GB where much is printed
    Matrix,
    /// Attacks every port and socket of a manager, its keeper and Sample; other guests must hardly
    /// notice
    Hostile(hostile::Hostile),
    /// A thousand wrong passwords a second against State; those who are in must hardly notice
    Logins(logins::Logins),
    /// Peers that come and go, messages for nobody and a peer that never reads against Relay;
    /// nothing may be left of them
    Relay(relay::Relay),
    /// 10 000 subscribers of one tree, one of whom never reads; each mirror must be what there is
    Subscribers(subscribers::Subscribers),
    /// Commands of State with wrong arguments, over TCP and WebSocket; each must be answered, and
    /// what is stored be well
    Commands(commands::Commands),
    /// The guesser that `logins` runs
    #[command(hide = true)]
    Guess(logins::Guess),
    /// The power fails at any moment of a disk on which State writes; nothing that was acknowledged
    /// may be gone
    Power(power::Power),
    /// The attacker that `hostile` runs; ends with its standard input
    #[command(hide = true)]
    Attack(hostile::Attack),
}

pub(crate) fn run(soak: Soak) -> Result<(), Box<dyn Error>> {
    match soak {
        Soak::Churn { minutes } => churn::churn(minutes)?,
        Soak::Matrix => matrix::matrix()?,
        Soak::Power(arguments) => power::power(&arguments)?,
        Soak::Hostile(arguments) => hostile::hostile(&arguments)?,
        Soak::Logins(arguments) => logins::logins(&arguments)?,
        Soak::Relay(arguments) => relay::relay(&arguments)?,
        Soak::Subscribers(arguments) => subscribers::subscribers(&arguments)?,
        Soak::Commands(arguments) => commands::commands(&arguments)?,
        Soak::Guess(arguments) => logins::guess(&arguments)?,
        Soak::Attack(arguments) => hostile::attack(&arguments),
    }
    Ok(())
}
