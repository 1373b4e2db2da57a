//! `cargo xtask soak`: long runs that look for what grows, and for what is seldom.

mod churn;
mod matrix;
mod witness;

use std::error::Error;

/// The long runs.
#[derive(clap::Subcommand)]
pub(crate) enum Soak {
    /// 200 daemons, a crash every second, installs, removals, followers and watchers; nothing may grow
    Churn {
        /// How long
        #[arg(default_value_t = 60)]
        minutes: u64,
    },
    /// Every fault at every moment in every environment, with 1 GB where much is printed
    Matrix,
}

pub(crate) fn run(soak: Soak) -> Result<(), Box<dyn Error>> {
    match soak {
        Soak::Churn { minutes } => churn::churn(minutes)?,
        Soak::Matrix => matrix::matrix()?,
    }
    Ok(())
}
