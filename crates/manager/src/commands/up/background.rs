//! Starts the manager as a process of its own, and waits until it listens.

use std::{
    env,
    ffi::OsStr,
    fs::{DirBuilder, File},
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom},
    os::unix::fs::DirBuilderExt,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use manager::{doctor, paths::Paths};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::retry_on_intr,
};

use super::{Place, arriving, own_log};
use crate::{
    cli::Up,
    commands::{Console, no_place, process::Process},
    error::{Complaint, Error},
};

/// What cannot be done, where it fails.
const ATTEMPT: &str = "start the manager";

/// So many lines of its log are shown of a manager that did not come up.
const LAST_LINES: usize = 10;

/// At most so much of its log is read for them.
const TAIL_BYTES: u64 = 16 * 1024;

/// Nothing if another manager was about to end, and has: then it is to be tried again.
pub(super) async fn start(
    args: &Up,
    paths: &Paths,
    console: &Console,
) -> Result<Option<Place>, Error> {
    paths.create().map_err(|error| no_place(&error))?;
    let log = Log::open(paths).map_err(|it| failed("storage", &it))?;
    let mut child = spawn(args, console, &log).map_err(|it| failed("failed", &it))?;
    match announced(&mut child, console.timeout) {
        Ok(Some(line)) => Ok(serde_json::from_str(&line).map_err(|it| failed("unexpected", &it))?),
        Ok(None) => match doctor::lock_holder(&paths.lock()) {
            Some(holder) => arriving(paths, holder).await,
            None => Err(log.complaint("failed", "it ended before it listened").into()),
        },
        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
            Err(log.complaint("timeout", "it does not listen yet").into())
        }
        Err(error) => Err(failed("failed", &error).into()),
    }
}

fn failed(code: &str, error: &dyn std::error::Error) -> Complaint {
    Complaint::of(code, error).when(ATTEMPT)
}

fn spawn(args: &Up, console: &Console, log: &Log) -> io::Result<Child> {
    let mut command = Command::new(env::current_exe()?);
    if let Some(home) = &console.home {
        command.arg("--home").arg(std::path::absolute(home)?);
    }
    command.args(["up", "--foreground", "--background"]);
    if args.no_start {
        command.arg("--no-start");
    }
    if let Some(port) = args.port {
        command.arg("--port").arg(port.to_string());
    }
    // Started from within a daemon, the manager must not pass for a part of it: by its secret in
    // the environment the tree of a daemon is known, and ended.
    for (key, _) in env::vars_os().filter(|(key, _)| is_of_child(key)) {
        command.env_remove(key);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log.file.try_clone()?).spawn()
}

/// What a manager hands to its children, and nobody else's.
fn is_of_child(key: &OsStr) -> bool {
    let of_child = ["DAE", "DAE_PID", "DAE_PORT", "DAE_SECRET", "DAE_NAME", "DAE_HOST"];
    let more = ["DAE_TOKEN_FILE", "DAE_DATA", "DAE_SOCKET", "NOTIFY_SOCKET"];
    key.to_str().is_some_and(|key| of_child.contains(&key) || more.contains(&key))
}

/// Waits until it says where it listens; nothing if it ended first. Blocks, since there is nothing
/// else to do.
fn announced(child: &mut Child, limit: Option<Duration>) -> io::Result<Option<String>> {
    let stdout = child.stdout.take().expect("its output is a pipe");
    // The process is watched too: one that it started may hold the pipe open.
    let process = Process::open(child.id())?;
    let limit = limit.and_then(|it| Timespec::try_from(it).ok());
    let mut both = [PollFd::new(&stdout, PollFlags::IN), PollFd::new(&process, PollFlags::IN)];
    if retry_on_intr(|| poll(&mut both, limit.as_ref()))? == 0 {
        return Err(io::ErrorKind::TimedOut.into());
    }
    let mut line = String::new();
    if both[0].revents().contains(PollFlags::IN) {
        // It is written at once, so this does not wait.
        BufReader::new(stdout).read_line(&mut line)?;
    }
    if line.is_empty() {
        child.wait()?;
        return Ok(None);
    }
    Ok(Some(line))
}

/// What the manager writes to stderr when it is in the background.
struct Log {
    path: PathBuf,
    file: File,
    /// Where this start begins.
    begin: u64,
}

impl Log {
    fn open(paths: &Paths) -> io::Result<Self> {
        let folder = own_log::dir(&paths.logs());
        DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        own_log::rotate_if_full(&folder)?;
        let (path, file) = (own_log::path(&folder), own_log::open(&folder)?);
        let begin = file.metadata()?.len();
        Ok(Self { path, file, begin })
    }

    /// That it did not come up, with what it said last.
    fn complaint(&self, code: &str, message: &str) -> Complaint {
        let lines = self.last_lines().unwrap_or_default();
        let hint = format!("its log is `{}`", self.path.display());
        Complaint::new(code, message).when(ATTEMPT).with("output", lines).hint(hint)
    }

    fn last_lines(&self) -> io::Result<Vec<String>> {
        let mut file = File::open(&self.path)?;
        let end = file.metadata()?.len();
        file.seek(SeekFrom::Start(self.begin.max(end.saturating_sub(TAIL_BYTES))))?;
        let mut bytes = vec![];
        file.read_to_end(&mut bytes)?;
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<_> = text.lines().map(str::to_owned).collect();
        Ok(lines[lines.len().saturating_sub(LAST_LINES)..].to_vec())
    }
}
