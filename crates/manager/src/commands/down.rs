use common_tcp::Credential;
use serde::Deserialize;
use serde_json::{Map, json};

use super::{
    Console,
    manager::{Manager, read},
    process::Process,
};
use crate::{
    cli::Down,
    error::{Complaint, Done, Error, Exit},
};

#[derive(Deserialize)]
struct Ended {
    #[serde(default)]
    stopped: Vec<String>,
}

pub(super) async fn run(args: Down, console: &mut Console) -> Done {
    let manager = console.act().await?;
    let process = process(&manager).await?;
    let options = console.with_timeout(Map::from_iter([("keep".to_owned(), json!(args.keep))]));
    let answer =
        manager.ask("down", &(options,)).await.map_err(|it| it.when("stop the manager"))?;
    let ended: Ended = read(&answer)?;
    // It answers just before its own end. Once this command is over, `dae up` must find nobody.
    process.wait().map_err(|it| Complaint::of("failed", &it).when("see the manager end"))?;
    if console.out.is_json {
        console.out.document(&answer)?;
        return Ok(Exit::Done);
    }
    ended.stopped.iter().try_for_each(|it| console.out.note(format_args!("{it}  down")))?;
    console.out.note("Dae  down")?;
    Ok(Exit::Done)
}

async fn process(manager: &Manager) -> Result<Process, Error> {
    let unexpected = |error| Complaint::of("unexpected", &error).when("find the manager's process");
    let reply = manager.exchange("dae", &json!([])).await?;
    let Credential { pid, .. } = reply.parse().map_err(unexpected)?;
    Process::open(pid)
        .map_err(|it| Complaint::of("failed", &it).when("watch the manager's process").into())
}
