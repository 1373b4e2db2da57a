//! `dae up`: sees that there is a manager, in the background or here.

mod background;
mod foreground;
mod own_log;

use std::time::Duration;

use common_tcp::{Address, CallError, Credential, Remote, Reply};
use manager::paths::Paths;
use serde::{Deserialize, Serialize};
use serde_json::{json, value::RawValue};

use super::{
    Console,
    entry::Entry,
    manager::{Manager, read},
    many::{Many, Report},
};
use crate::{
    cli::Up,
    error::{Complaint, Done, Error, Exit},
};

/// How long a running manager may take to say who it is.
const ANSWER: Duration = Duration::from_secs(10);

/// Where a manager is.
#[derive(Debug, Deserialize, Serialize)]
struct Place {
    v: u8,
    pid: u32,
    port: u16,
    unix: String,
    /// Whether it was there before.
    #[serde(default)]
    already: bool,
    /// What became of the daemons that were waited for.
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    wait: Option<Box<RawValue>>,
    /// Who was to be waited for, and is at rest.
    #[serde(skip_deserializing, skip_serializing_if = "Vec::is_empty")]
    down: Vec<String>,
}

pub(super) async fn run(args: Up, console: &mut Console) -> Done {
    let paths = console.paths()?;
    // The parent of a manager in the background has looked.
    let running = if args.background { None } else { running(&paths).await? };
    let place = match running {
        Some(place) => place,
        None if args.foreground => return foreground::run(&args, paths, console).await,
        None => background::start(&args, &paths, console).await?,
    };
    if args.wait { waited(place, console).await } else { told(&place, console) }
}

fn told(place: &Place, console: &mut Console) -> Done {
    if console.out.is_json {
        console.out.document(place)?;
    } else {
        let already = if place.already { "already " } else { "" };
        let Place { pid, port, .. } = place;
        console.out.note(format_args!("Dae  {already}up  pid {pid}  port {port}"))?;
    }
    Ok(Exit::Done)
}

/// Tells how the daemons fare that start with the manager, once that is clear.
async fn waited(mut place: Place, console: &mut Console) -> Done {
    if !console.out.is_json {
        told(&place, console)?;
    }
    let (at_rest, coming): (Vec<_>, Vec<_>) =
        enabled(console).await?.into_iter().partition(|it| it.state == "down");
    // With a manager that ran before, somebody has stopped them: waiting would have no end.
    place.down = at_rest.into_iter().map(|it| it.name).collect();
    let resting = resting(&place.down);
    if coming.is_empty() {
        if console.out.is_json {
            told(&place, console)?;
        }
        return Ok(complained(resting, console));
    }
    let names = coming.into_iter().map(|it| it.name).collect::<Vec<_>>();
    let answer = Many::new("wait", names.iter().map(String::as_str))
        .with("for", "ready")
        .answer(console)
        .await?;
    let report = Report::read("wait", &answer)?;
    if console.out.is_json {
        told(&Place { wait: Some(answer), ..place }, console)?;
    }
    let is_vain = !report.daemons.iter().all(Entry::is_up);
    let exit = report.tell(console, ToString::to_string)?;
    // A program gets one error; it has the others in the document.
    let exit = if exit == Exit::Done || !console.out.is_json {
        exit.max(complained(resting, console))
    } else {
        exit
    };
    Ok(if is_vain { exit.max(Exit::NotUp) } else { exit })
}

/// That daemons are down which were to be ready.
fn resting(names: &[String]) -> Option<Complaint> {
    let first = names.first()?;
    let quoted: Vec<_> = names.iter().map(|it| format!("`{it}`")).collect();
    let is_down = if names.len() == 1 { "is down" } else { "are down" };
    let mut complaint = Complaint::new("stopped", format!("{} {is_down}", quoted.join(", ")))
        .with("name", first.as_str())
        .hint(format!("start what is down with `dae start {}`", names.join(" ")));
    complaint.exit = Exit::NotUp;
    Some(complaint)
}

fn complained(complaint: Option<Complaint>, console: &Console) -> Exit {
    let Some(complaint) = complaint else { return Exit::Done };
    complaint.print(console.out.is_json);
    complaint.exit
}

/// Who starts with the manager.
async fn enabled(console: &Console) -> Result<Vec<Entry>, Error> {
    let options = json!([{ "all": true, "own": true }]);
    let answer = console.look().await?.ask("list", &options).await?;
    let entries: Vec<Entry> = read(&answer)?;
    let enabled = entries.into_iter().filter(|it| it.enabled != Some(false) && !it.is_foreign());
    Ok(enabled.collect())
}

/// The manager that runs, if one does.
async fn running(paths: &Paths) -> Result<Option<Place>, Error> {
    let manager = match Manager::connect(paths, ANSWER).await {
        Ok(manager) => manager,
        Err(Error::Failed(complaint)) if complaint.exit == Exit::NoManager => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(Some(place(&manager.exchange("dae", &json!([])).await?, paths)?))
}

/// The manager that somebody else starts just now: it has the lock already, and will listen.
async fn arriving(paths: &Paths) -> Result<Place, Error> {
    let manager = Remote::new(Address::Unix(paths.socket())).with_deadline(ANSWER);
    let reply = manager.exchange("dae", &json!([])).await;
    let reply = reply.map_err(|error: CallError| Complaint::unanswered(&error))?;
    Ok(place(&reply, paths)?)
}

fn place(reply: &Reply, paths: &Paths) -> Result<Place, Complaint> {
    let unexpected = |error| Complaint::of("unexpected", &error).when("understand the manager");
    let Credential { pid, port, .. } = reply.parse().map_err(unexpected)?;
    let unix = paths.socket().display().to_string();
    Ok(Place { v: 1, pid, port, unix, already: true, wait: None, down: vec![] })
}
