use std::{
    collections::BTreeMap,
    env,
    fs::OpenOptions,
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process,
};

use tokio::net::UnixDatagram;

use crate::{
    definition::{Definition, HeldSocket},
    identity::SECRET_VARIABLE,
    keeper::protocol::{LogSettings, Spawn, Step},
    keeper_client::TooLong,
    name::Name,
    paths::Paths,
};

/// What a spawn is made of.
pub(super) struct Plan<'a> {
    pub(super) id: u64,
    pub(super) name: &'a Name,
    pub(super) definition: &'a Definition,
    pub(super) base: &'a BTreeMap<String, String>,
    pub(super) paths: &'a Paths,
    pub(super) manager_port: u16,
    pub(super) nofile: Option<u64>,
    pub(super) socket: Option<&'a Path>,
    pub(super) secret: &'a str,
}

/// What can't be prepared, as the note begins, and what the kernel said.
#[derive(Debug)]
pub(super) struct PlanError {
    pub(super) step: String,
    pub(super) errno: i32,
}

impl From<TooLong> for PlanError {
    fn from(_: TooLong) -> Self {
        Self { step: "cannot hand on arguments and environment".to_owned(), errno: libc::E2BIG }
    }
}

/// The umask of every child.
const UMASK: u32 = 0o022;

/// The longest file of variables that is read: what a kernel takes with the usual limit of 8 MiB
/// for a stack.
const ENV_FILE_BYTES: u64 = 2 << 20;

/// What every child has of the manager's own environment, as it was when the manager started.
pub(super) fn base_environment() -> BTreeMap<String, String> {
    let is_base = |key: &str| {
        matches!(key, "PATH" | "HOME" | "USER" | "LANG" | "TZ") || key.starts_with("XDG_")
    };
    // What is no text cannot be told to the keeper, and is no reason not to start.
    let texts = env::vars_os()
        .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)));
    texts.filter(|(key, _)| is_base(key)).collect()
}

/// What the keeper is told to spawn.
pub(super) fn spawn(plan: &Plan<'_>) -> Result<Spawn, PlanError> {
    let Plan { id, name, definition, paths, secret, .. } = plan;
    paths.create_for(name).map_err(|error| PlanError {
        step: format!("cannot make its directories: {error}"),
        errno: libc::EIO,
    })?;
    Ok(Spawn {
        id: *id,
        name: name.to_string(),
        program: definition.program.clone(),
        args: definition.args.clone(),
        env: environment(plan)?.into_iter().collect(),
        cwd: definition.cwd.clone().unwrap_or_else(|| paths.daemon_data(name)),
        umask: UMASK,
        nofile: Some(plan.nofile.unwrap_or(u64::MAX)),
        secret: (*secret).to_owned(),
        log: LogSettings {
            dir: paths.daemon_logs(name),
            max_bytes: definition.log_max.0,
            keep: definition.log_keep as usize,
            patience_ms: u64::try_from(definition.log_full.patience().as_millis())
                .unwrap_or(u64::MAX),
        },
        sockets: definition.sockets.iter().map(|it| it.address.to_string()).collect(),
    })
}

/// Where a child with `ready = "notify"` is heard: there before the child is.
pub(super) fn listen(path: &Path) -> Result<UnixDatagram, PlanError> {
    super::readiness::listen(path).map_err(|error| PlanError {
        step: format!("cannot listen on `{}`", path.display()),
        errno: error.raw_os_error().unwrap_or(libc::EIO),
    })
}

/// Base, then the file, then what is defined, then ours, each over what was before.
fn environment(plan: &Plan<'_>) -> Result<BTreeMap<String, String>, PlanError> {
    let definition = plan.definition;
    let mut all = if definition.clean_env { BTreeMap::new() } else { plan.base.clone() };
    if let Some(file) = &definition.env_file {
        all.extend(read_env_file(file)?);
    }
    all.extend(definition.env.clone());
    all.extend(ours(plan));
    if !definition.sockets.is_empty() {
        // Whose sockets they are is for the keeper to say, once there is a process.
        all.remove("LISTEN_PID");
    }
    Ok(all)
}

fn ours(plan: &Plan<'_>) -> BTreeMap<String, String> {
    let of_name = |flag: &str| format!("DAE_{}_{flag}", variable(plan.name.as_str()));
    let path = |path: PathBuf| path.to_string_lossy().into_owned();
    let mut ours = BTreeMap::from([
        ("DAE".to_owned(), "true".to_owned()),
        ("DAE_PID".to_owned(), process::id().to_string()),
        ("DAE_PORT".to_owned(), plan.manager_port.to_string()),
        (SECRET_VARIABLE.to_owned(), plan.secret.to_owned()),
        ("DAE_NAME".to_owned(), plan.name.to_string()),
        ("DAE_HOST".to_owned(), "127.0.0.1".to_owned()),
        ("DAE_TOKEN_FILE".to_owned(), path(plan.paths.token())),
        ("DAE_DATA".to_owned(), path(plan.paths.daemon_data(plan.name))),
        (of_name("DATA"), path(plan.paths.daemon_data(plan.name))),
    ]);
    if let Some(socket) = plan.socket {
        ours.insert("DAE_SOCKET".to_owned(), path(socket.to_owned()));
    }
    if let Some(port) = plan.definition.port {
        ours.insert(of_name("PORT"), port.to_string());
    }
    let sockets = &plan.definition.sockets;
    if !sockets.is_empty() {
        let names: Vec<&str> = sockets.iter().map(HeldSocket::name).collect();
        ours.insert("LISTEN_FDS".to_owned(), names.len().to_string());
        ours.insert("LISTEN_FDNAMES".to_owned(), names.join(":"));
    }
    if plan.definition.ready == crate::definition::Ready::Notify {
        let notify = super::readiness::notify_path(plan.paths, plan.name);
        ours.insert("NOTIFY_SOCKET".to_owned(), path(notify));
    }
    ours
}

/// A name as it stands in the names of variables.
fn variable(name: &str) -> String {
    name.to_ascii_uppercase().replace('-', "_")
}

fn read_env_file(file: &Path) -> Result<BTreeMap<String, String>, PlanError> {
    let shown = file.display();
    let bytes = read_regular(file).map_err(|error| PlanError {
        step: format!("cannot read `{shown}`"),
        errno: error.raw_os_error().unwrap_or(libc::EIO),
    })?;
    let text = String::from_utf8(bytes)
        .map_err(|_| PlanError { step: format!("`{shown}` is not UTF-8"), errno: libc::EILSEQ })?;
    parse_env(&text).map_err(|line| PlanError {
        step: format!("`{shown}`, line {line}, is not `NAME=value`"),
        errno: libc::EINVAL,
    })
}

/// Reads a file without ever waiting for somebody: opening a pipe would last until another process
/// opens it too, and reading a device might never end.
fn read_regular(path: &Path) -> io::Result<Vec<u8>> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    let mut bytes = vec![];
    match file.take(ENV_FILE_BYTES + 1).read_to_end(&mut bytes)? as u64 {
        0..=ENV_FILE_BYTES => Ok(bytes),
        _ => Err(io::Error::from_raw_os_error(libc::EFBIG)),
    }
}

/// Lines `NAME=value`; blank ones and those with `#` are skipped, quotes around a value are taken
/// off. Fails with the number of the line that is something else.
pub(crate) fn parse_env(text: &str) -> Result<BTreeMap<String, String>, usize> {
    let mut all = BTreeMap::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line);
        let (key, value) = line.split_once('=').ok_or(number + 1)?;
        let key = key.trim_end();
        if key.is_empty() || key.contains(char::is_whitespace) {
            return Err(number + 1);
        }
        all.insert(key.to_owned(), unquoted(value.trim()).to_owned());
    }
    Ok(all)
}

fn unquoted(value: &str) -> &str {
    let inside = |quote| value.strip_prefix(quote).and_then(|it: &str| it.strip_suffix(quote));
    inside('"').or_else(|| inside('\'')).unwrap_or(value)
}

/// How the note of a failed step begins.
pub(super) fn step_words(step: Step) -> &'static str {
    match step {
        Step::Name => "cannot use the name: its tree has not ended",
        Step::Verify => "cannot tell whether the process of before is still it",
        Step::Log => "cannot open the log",
        Step::Socket => "cannot hand over a listening socket",
        Step::Pipe => "cannot make the pipes",
        Step::Spawn => "cannot make the process",
        Step::Identity => "cannot store the identity",
        Step::Session => "cannot begin a session",
        Step::Cwd => "cannot enter the working directory",
        Step::Nofile => "cannot set the limit of open files",
        Step::Stdin => "cannot open `/dev/null`",
        Step::Close => "cannot close what was inherited",
        Step::Exec => "cannot run the program",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_environment_file_has_a_variable_a_line() {
        let read = parse_env("# c\n\nA=1\nexport B = x y\nC=\"q\"\nD=\n").unwrap();
        let read: Vec<_> = read.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(read, [("A", "1"), ("B", "x y"), ("C", "q"), ("D", "")]);
        assert_eq!(parse_env("A=1\nnonsense\n"), Err(2));
    }
}
