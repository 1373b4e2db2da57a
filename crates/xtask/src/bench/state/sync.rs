//! Every acknowledged group has a sync of its own, as seen by who watches the system calls.

use std::{
    fs, io,
    net::TcpStream,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use super::daemon;
use crate::{
    bench::{
        load::{Load, LoadError, drive},
        server::{Server, patient},
    },
    step::say,
    tools::{self, Tool, ToolError},
};

const STRACE: Tool = Tool { program: "strace", package: "strace" };

/// How long strace is given to begin: it tells nobody that it watches.
const ATTACHING: Duration = Duration::from_millis(500);

/// Why nobody could watch, or what was seen.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SyncError {
    #[error(transparent)]
    Tool(#[from] ToolError),

    #[error("cannot watch the state server")]
    Watch(#[from] io::Error),

    #[error(transparent)]
    Load(#[from] LoadError),

    #[error("{groups} groups were acknowledged with {syncs} syncs")]
    Unsynced { groups: u64, syncs: u64 },
}

/// Puts `load` on `server` while its syncs are counted.
pub(crate) fn count(server: &Server, load: Load) -> Result<(), SyncError> {
    tools::ensure(&[STRACE])?;
    let trace = server.folder.join("trace");
    let before = figures(server)?;
    let mut strace = Command::new(STRACE.program)
        .args(["--follow-forks", "--seccomp-bpf", "--trace=fdatasync", "--output"])
        .arg(&trace)
        .args(["--attach", &server.pid().to_string()])
        .stderr(Stdio::null())
        .spawn()?;
    sleep(ATTACHING);
    let driven = drive(server, load);
    let after = figures(server)?;
    end(&mut strace)?;
    driven?;
    let text = fs::read_to_string(&trace)?;
    let syncs = text.lines().filter(|it| it.ends_with("= 0")).count() as u64;
    let [commits, groups] = [after[0] - before[0], after[1] - before[1]];
    say(&format!("{commits} changes were acknowledged in {groups} groups, with {syncs} syncs"));
    if syncs < groups { Err(SyncError::Unsynced { groups, syncs }) } else { Ok(()) }
}

/// How many changes and how many groups it has made durable.
fn figures(server: &Server) -> Result<[u64; 2], io::Error> {
    let mut stream = patient(TcpStream::connect(server.address)?)?;
    server.greet(&mut stream)?;
    let stats = daemon::ask(&mut stream, "stats []\n")?;
    let [commits, groups] = [&stats[0]["commits"], &stats[0]["groups"]["count"]];
    let figure = |it: &Value| it.as_u64().ok_or(io::ErrorKind::InvalidData);
    Ok([figure(commits)?, figure(groups)?])
}

/// Lets it go; our own child, not waited for yet, so the pid is its.
fn end(strace: &mut Child) -> io::Result<()> {
    let pid = Pid::from_raw(strace.id().cast_signed());
    kill(pid, Signal::SIGINT).map_err(io::Error::from)?;
    strace.wait().map(drop)
}
