//! Who is attacked.

use std::{env, io, process::Command};

use serde_json::json;

use super::{
    super::{
        hostile::honest::Guest,
        state::{House as State, program},
    },
    nice,
};
use crate::{step::StepError, workspace::release};

pub(crate) struct House(State);

/// Why there is nobody to attack.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HouseError {
    #[error(transparent)]
    Build(#[from] StepError),

    #[error("State cannot be spoken to")]
    Speak(#[from] io::Error),
}

impl House {
    /// Starts it, as a release build.
    pub(crate) fn build(is_stale: bool) -> Result<Self, HouseError> {
        let built = (!is_stale).then(|| release("state"));
        let house = State::start(&program(built.as_deref())?, "logins", &[])?;
        house.root()?.ask("update", &json!([["doc"], { "v": 0 }]))?;
        Ok(Self(house))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.pid()
    }

    /// A session of root that asks the same again and again.
    pub(crate) fn guest(&self, name: &'static str, request: &'static str) -> io::Result<Guest> {
        Guest::over(name, self.0.root()?.into_stream(), request)
    }

    /// Who tries passwords for so many seconds.
    pub(crate) fn guesser(&self, rate: u32, seconds: u64) -> Command {
        let program = env::current_exe().unwrap_or_else(|_| "xtask".into());
        let mut command = nice(program);
        command.args(["soak", "guess", "--rate", &rate.to_string()]);
        let port = self.0.address().port();
        command.args(["--seconds", &seconds.to_string(), &port.to_string()]);
        command
    }
}
