//! `dae completions`, and the answers that the shell then asks for at each press of the key.

use std::{env, time::Duration};

use clap::ValueEnum;
use clap_complete::{CompleteEnv, engine::CompletionCandidate, env::Shells};
use manager::paths::Paths;
use serde_json::json;
use tokio::{runtime, time::timeout};

use super::{
    Console,
    entry::Entry,
    home_of_environment,
    manager::{Manager, read},
};
use crate::{
    cli::{Completions, command_line},
    error::{Complaint, Done, Error, Exit},
};

/// The variable by which a shell asks for an answer and not for a command to be run.
const ASKING: &str = "DAE_COMPLETE";

/// How long names may take: somebody waits with a finger on the key.
const PATIENCE: Duration = Duration::from_millis(100);

pub(super) fn run(args: Completions, console: &mut Console) -> Done {
    let shell = args.shell.to_possible_value();
    let shells = Shells::builtins();
    let shell = shell.as_ref().and_then(|it| shells.completer(it.get_name()));
    let shell = shell.expect("every shell of the command line is one that clap_complete knows");
    let failed = |error| Complaint::of("failed", &error).when("write the completion file");
    let program = env::current_exe().map_err(failed)?;
    let mut script = vec![];
    let written =
        shell.write_registration(ASKING, "dae", "dae", &program.to_string_lossy(), &mut script);
    written.map_err(failed)?;
    if console.out.is_json {
        let script = String::from_utf8_lossy(&script);
        console.out.document(&json!({ "v": 1, "script": script }))?;
    } else {
        console.out.bytes(&script)?;
    }
    Ok(Exit::Done)
}

/// Answers a shell, if one asks.
pub(crate) fn answer_shell() -> Option<Exit> {
    let answer = CompleteEnv::with_factory(command_line).var(ASKING);
    match answer.try_complete(env::args_os(), env::current_dir().ok().as_deref()) {
        Ok(false) => None,
        Ok(true) => Some(Exit::Done),
        // What a shell shows of an error would stand in the middle of the line that is typed.
        Err(_) => Some(Exit::Failed),
    }
}

/// The names that the manager knows; none if it is down or slow.
pub(crate) fn names() -> Vec<CompletionCandidate> {
    let Ok(runtime) = runtime::Builder::new_current_thread().enable_all().build() else {
        return vec![];
    };
    let listed = runtime.block_on(async { timeout(PATIENCE, listed()).await });
    let names = listed.ok().and_then(Result::ok).unwrap_or_default();
    names.into_iter().map(|it| CompletionCandidate::new(it.name)).collect()
}

async fn listed() -> Result<Vec<Entry>, Error> {
    let paths = Paths::find(home_of_environment().as_deref())
        .map_err(|it| Complaint::of("storage", &it))?;
    let manager = Manager::connect(&paths, PATIENCE).await?;
    Ok(read(&manager.ask("list", &json!([{ "all": true, "own": true }])).await?)?)
}
