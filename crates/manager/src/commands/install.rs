use std::{
    env,
    path::{Path, PathBuf},
};

use manager::definition::resolve_program;
use serde::Deserialize;
use serde_json::json;

use super::{Console, entry::Entry, manager::read};
use crate::{
    cli::Install,
    error::{Complaint, Done, Exit},
};

#[derive(Deserialize)]
struct Installed {
    daemon: Entry,
    #[serde(default)]
    warnings: Vec<String>,
}

pub(super) async fn run(args: Install, console: &mut Console) -> Done {
    let attempt = format!("install `{}`", args.name);
    let failed = |it: Complaint| it.when(&attempt).with("name", args.name.as_str());
    let cwd = current_dir().map_err(failed)?;
    let program = program(&args.program, &cwd).map_err(failed)?;

    let mut definition = console.with_timeout(args.definition.members(&cwd));
    definition.extend([
        ("program".to_owned(), json!(program)),
        ("args".to_owned(), json!(args.args)),
        ("no_start".to_owned(), json!(args.no_start)),
        ("replace".to_owned(), json!(args.replace)),
    ]);
    let manager = console.act().await?;
    let answer = manager.ask("install", &(args.name.as_str(), definition)).await;
    let answer = answer.map_err(failed)?;
    let installed: Installed = read(&answer)?;
    if console.out.is_json {
        console.out.document(&answer)?;
    } else {
        console.out.note(&installed.daemon)?;
    }
    installed.warnings.iter().for_each(|it| console.out.aside(it));
    Ok(Exit::Done)
}

/// The folder that relative paths are meant from.
pub(super) fn current_dir() -> Result<PathBuf, Complaint> {
    env::current_dir()
        .map_err(|error| Complaint::of("failed", &error).when("tell the current folder"))
}

/// Finds the program that was meant, as an absolute path.
pub(super) fn program(given: &Path, cwd: &Path) -> Result<PathBuf, Complaint> {
    let path_var = env::var_os("PATH");
    resolve_program(given.as_os_str(), cwd, path_var.as_deref()).map_err(|error| {
        let complaint = Complaint::of("bad-argument", &error);
        error.hint().into_iter().fold(complaint, Complaint::hint)
    })
}
