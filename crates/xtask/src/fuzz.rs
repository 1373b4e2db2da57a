//! `cargo xtask fuzz`: every fuzz target of every crate, a while each.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    step::{self, StepError, announce},
    tools::{self, CargoTool, Tool, ToolError},
    workspace::{cargo, root},
};

const FUZZ: CargoTool = CargoTool { subcommand: "fuzz", package: "cargo-fuzz@0.13.2" };

/// libFuzzer is compiled along with the target.
const COMPILER: Tool = Tool { program: "c++", package: "g++" };

/// Why fuzzing stopped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FuzzError {
    #[error(transparent)]
    Tool(#[from] ToolError),

    #[error("cannot read `crates` or `daemons`")]
    Crates(#[from] io::Error),

    #[error("neither a crate nor a daemon has a `fuzz` folder")]
    NoTargets,

    #[error("cannot make `{}`", path.display())]
    Corpus { path: PathBuf, source: io::Error },

    #[error(transparent)]
    Step(#[from] StepError),
}

/// Runs each target for `seconds`; the first crash ends it, its input is left in `fuzz/artifacts`.
pub(crate) fn fuzz(seconds: u64) -> Result<(), FuzzError> {
    let folders = folders()?;
    if folders.is_empty() {
        return Err(FuzzError::NoTargets);
    }
    tools::ensure(&[COMPILER])?;
    tools::ensure_cargo(&FUZZ)?;
    for folder in folders {
        for target in targets(&folder)? {
            announce(&format!("fuzzing {target} for {seconds} s"));
            run(&folder, &target, seconds)?;
        }
    }
    Ok(())
}

/// Begins with what earlier runs found, and with the seeds that are kept in the repository.
fn run(folder: &Path, target: &str, seconds: u64) -> Result<(), FuzzError> {
    let corpus = folder.join("corpus").join(target);
    fs::create_dir_all(&corpus)
        .map_err(|source| FuzzError::Corpus { path: corpus.clone(), source })?;
    let seeds = folder.join("seeds").join(target);
    let mut command = cargo_fuzz("run", folder);
    command.arg(target).arg(corpus).args(seeds.exists().then_some(seeds));
    command.args(["--", &format!("-max_total_time={seconds}"), "-print_final_stats=1"]);
    Ok(step::run(&mut command)?)
}

fn folders() -> io::Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    for parent in ["crates", "daemons"] {
        for entry in fs::read_dir(root().join(parent))? {
            let folder = entry?.path().join("fuzz");
            if folder.join("Cargo.toml").exists() {
                folders.push(folder);
            }
        }
    }
    folders.sort();
    Ok(folders)
}

fn targets(folder: &Path) -> Result<Vec<String>, StepError> {
    let list = step::output(&mut cargo_fuzz("list", folder))?;
    Ok(String::from_utf8_lossy(&list).lines().map(str::to_owned).collect())
}

/// Sanitizers are for nightly only; the variable lets the stable compiler have them.
fn cargo_fuzz(verb: &str, folder: &Path) -> Command {
    let mut cargo = cargo(["fuzz", verb, "--fuzz-dir"]);
    cargo.arg(folder).env("RUSTC_BOOTSTRAP", "1");
    cargo
}
