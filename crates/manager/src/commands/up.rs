//! `dae up`: sees that there is a manager, in the background or here.

mod background;
mod foreground;
mod own_log;

use std::time::Duration;

use common_tcp::{Address, CallError, Credential, Remote, Reply};
use manager::{doctor, paths::Paths};
use serde::{Deserialize, Serialize};
use serde_json::{json, value::RawValue};

use super::{
    Console,
    entry::Entry,
    manager::{Manager, read},
    many::{Many, Report},
    process::Process,
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
    if args.background {
        return foreground::run(&args, paths, console).await;
    }
    let place = loop {
        if let Some(place) = running(&paths).await? {
            break place;
        }
        if args.foreground {
            return foreground::run(&args, paths, console).await;
        }
        if let Some(place) = background::start(&args, &paths, console).await? {
            break place;
        }
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

/// The manager that runs, if one does. One that is about to end is waited for, and then none runs.
async fn running(paths: &Paths) -> Result<Option<Place>, Error> {
    match present(paths).await {
        Err(Error::Failed(_)) => {}
        present => return present,
    }
    // It listens no more, or not yet.
    match doctor::lock_holder(&paths.lock()) {
        Some(holder) => arriving(paths, holder).await,
        None => Ok(None),
    }
}

/// The manager that can be asked, unless it is about to end: its end is waited for.
async fn present(paths: &Paths) -> Result<Option<Place>, Error> {
    let manager = Manager::connect(paths, ANSWER).await?;
    let place = place(&manager.exchange("dae", &json!([])).await?, paths)?;
    let process = Process::open(place.pid).map_err(|it| unwatched(&it))?;
    let status: Status = read(&manager.ask("status", &json!([])).await?)?;
    if !status.manager.ending {
        return Ok(Some(place));
    }
    process.wait().map_err(|it| unwatched(&it))?;
    Ok(None)
}

/// The manager that somebody else starts just now: it has the lock already, and will listen.
/// Nothing if it ends instead.
async fn arriving(paths: &Paths, holder: u32) -> Result<Option<Place>, Error> {
    // It may have ended by now.
    let Ok(process) = Process::open(holder) else { return Ok(None) };
    let manager = Remote::new(Address::Unix(paths.socket())).with_deadline(ANSWER);
    let none = json!([]);
    // Both are cancel safe.
    let reply = tokio::select! {
        reply = manager.exchange("dae", &none) => reply,
        ended = process.ended() => return ended.map(|()| None).map_err(|it| unwatched(&it).into()),
    };
    let reply = reply.map_err(|error: CallError| Complaint::unanswered(&error))?;
    Ok(Some(place(&reply, paths)?))
}

fn unwatched(error: &std::io::Error) -> Complaint {
    Complaint::of("failed", error).when("watch the manager's process")
}

/// What is read of a manager's status.
#[derive(Deserialize)]
struct Status {
    manager: Own,
}

#[derive(Deserialize)]
struct Own {
    #[serde(default)]
    ending: bool,
}

fn place(reply: &Reply, paths: &Paths) -> Result<Place, Complaint> {
    let unexpected = |error| Complaint::of("unexpected", &error).when("understand the manager");
    let Credential { pid, port, .. } = reply.parse().map_err(unexpected)?;
    let unix = paths.socket().display().to_string();
    Ok(Place { v: 1, pid, port, unix, already: true, wait: None, down: vec![] })
}
