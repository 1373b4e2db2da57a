//! A step: what it does, said in one line, and the program that does it.

use std::{
    io::{self, Write},
    iter,
    path::Path,
    process::{Command, ExitStatus, Stdio},
};

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StepError {
    #[error("cannot run `{command}`")]
    Start { command: String, source: io::Error },

    #[error("`{command}` failed ({status})")]
    Failed { command: String, status: ExitStatus },
}

/// Says what comes next.
pub(crate) fn announce(what: &str) {
    say(&format!("==> {what}"));
}

/// Prints a line. That nobody reads any longer (`| head`) is no reason to stop half-way.
pub(crate) fn say(line: &str) {
    writeln!(io::stdout(), "{line}").ok();
}

/// Runs `command` to its end, its output where ours goes.
pub(crate) fn run(command: &mut Command) -> Result<(), StepError> {
    let status =
        command.status().map_err(|source| StepError::Start { command: typed(command), source })?;
    succeeded(command, status)
}

/// Runs `command` to its end and returns what it wrote to stdout.
pub(crate) fn output(command: &mut Command) -> Result<Vec<u8>, StepError> {
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .map_err(|source| StepError::Start { command: typed(command), source })?;
    succeeded(command, output.status)?;
    Ok(output.stdout)
}

/// `command` as a person would type it.
pub(crate) fn typed(command: &Command) -> String {
    let program = command.get_program();
    iter::once(Path::new(program).file_name().unwrap_or(program))
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

/// Whether `command` went well, for who has waited for it.
pub(crate) fn succeeded(command: &Command, status: ExitStatus) -> Result<(), StepError> {
    match status.success() {
        true => Ok(()),
        false => Err(StepError::Failed { command: typed(command), status }),
    }
}
