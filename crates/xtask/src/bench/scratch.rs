//! Where a measurement lives, and what lives in it: whatever it starts has the path of its folder
//! in the environment, by which it is found again, wherever it has gone to.

use std::{
    env, fs, io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{self, Child, Command, Stdio},
    thread::sleep,
    time::Duration,
};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::error::MeasureError;

/// The variable that says to which folder a process belongs.
const VARIABLE: &str = "DAE_BENCH_FOLDER";

/// How often is looked whether something is left: a supervisor may start one more while it is
/// ended.
const SWEEPS: usize = 500;

/// The time between two looks.
const PERIOD: Duration = Duration::from_millis(10);

/// The folder of a run. A guard, a process of its own, ends all that belongs to it and removes it,
/// however this process ends.
pub(crate) struct Scratch {
    folder: PathBuf,
    guard: Child,
}

impl Scratch {
    pub(crate) fn new() -> Result<Self, MeasureError> {
        let folder = env::temp_dir().join(format!("dae-bench-{}", process::id()));
        fs::create_dir(&folder).map_err(MeasureError::io("make", &folder))?;
        let guard = env::current_exe().and_then(|program| {
            let mut guard = Command::new(program);
            // A group of its own: a ^C on the terminal is not for it.
            guard.args(["bench", "guard"]).arg(&folder).process_group(0);
            guard.stdin(Stdio::piped()).spawn()
        });
        let guard = guard.map_err(MeasureError::io("guard", &folder))?;
        Ok(Self { folder, guard })
    }

    /// Ends all that runs in it at once, which is quicker than a folder at a time.
    pub(crate) fn end(&self) {
        sweep(&self.folder);
    }

    /// A new folder in it.
    pub(crate) fn folder(&self, name: &str) -> Result<PathBuf, MeasureError> {
        let folder = self.folder.join(name);
        fs::create_dir_all(&folder).map_err(MeasureError::io("make", &folder))?;
        Ok(folder)
    }
}

impl Drop for Scratch {
    /// Its input ends, then it does what it is there for.
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        let _status = self.guard.wait();
    }
}

/// The guard: waits until its parent has gone, then leaves nothing of `folder`.
pub(crate) fn guard(folder: &Path) -> io::Result<()> {
    io::copy(&mut io::stdin(), &mut io::sink())?;
    sweep(folder);
    fs::remove_dir_all(folder)
}

/// A command that belongs to `folder`, and knows nothing of a manager that may run us.
pub(crate) fn command(program: impl AsRef<Path>, folder: &Path) -> Command {
    let mut command = Command::new(program.as_ref());
    for (name, _) in env::vars_os().filter(|(name, _)| is_of_a_manager(name.as_encoded_bytes())) {
        command.env_remove(name);
    }
    command.env(VARIABLE, folder).current_dir(folder).stdin(Stdio::null());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn is_of_a_manager(variable: &[u8]) -> bool {
    variable.starts_with(b"DAE") || variable.starts_with(b"PM2")
}

/// The processes that belong to `folder`.
pub(crate) fn processes(folder: &Path) -> Vec<Pid> {
    let Ok(all) = fs::read_dir("/proc") else { return vec![] };
    all.flatten()
        .filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?))
        .filter(|pid| belongs(*pid, folder))
        .collect()
}

/// Ends all that belongs to `folder`, those that come while it does too.
pub(crate) fn sweep(folder: &Path) {
    for _ in 0..SWEEPS {
        let left = processes(folder);
        if left.is_empty() {
            return;
        }
        left.into_iter().for_each(|pid| kill(pid, folder));
        sleep(PERIOD);
    }
}

/// Through a pidfd, and only if what it holds is still what was found.
fn kill(pid: Pid, folder: &Path) {
    let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else { return };
    if belongs(pid, folder) {
        let _gone_already = pidfd_send_signal(process, Signal::KILL);
    }
}

/// The variable, or for what has another environment (a daemon of the manager) any other with a
/// path in it.
fn belongs(pid: Pid, folder: &Path) -> bool {
    let environment = fs::read(format!("/proc/{}/environ", pid.as_raw_nonzero()));
    let folder = folder.as_os_str().as_encoded_bytes();
    let values = environment.unwrap_or_default();
    values.split(|it| *it == 0).filter_map(|it| it.splitn(2, |it| *it == b'=').nth(1)).any(|it| {
        it.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
    })
}
