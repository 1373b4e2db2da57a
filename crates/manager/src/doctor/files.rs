//! Directories, files with secrets, and what was left behind.

use std::{
    fs::{self, Metadata},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use nix::unistd::geteuid;

use super::Check;
use crate::{
    identity::{Identity, LoadError},
    paths::Paths,
    token::is_token,
};

/// Every directory belongs to the user, and nobody else may write it. The one of the sockets is
/// closed altogether.
pub(super) fn directories(paths: &Paths) -> Vec<Check> {
    let runtime = parent(paths.socket());
    let mut wrong: Vec<_> = [paths.config(), paths.registry(), paths.token()]
        .map(parent)
        .into_iter()
        .chain([paths.logs(), paths.events(), paths.running()])
        .chain(home(paths))
        .filter_map(|it| access("directories", &it, 0o022))
        .collect();
    wrong.extend(access("directories", &runtime, 0o077));
    let made = if runtime.exists() { "" } else { "; not made yet, `dae up` does" };
    let sound = format!(
        "data in {}, sockets in {}{made}",
        parent(paths.registry()).display(),
        runtime.display()
    );
    Check::all("directories", wrong, sound)
}

/// What holds secrets is for the user alone, and the token is one.
pub(super) fn secrets(paths: &Paths) -> Vec<Check> {
    let registry = paths.registry();
    let previous = registry.with_extension("toml.prev");
    let files = [paths.token(), registry, previous, paths.lock()];
    let mut wrong: Vec<_> = files.iter().filter_map(|it| access("secrets", it, 0o077)).collect();
    wrong.extend(token(&paths.token()));
    Check::all("secrets", wrong, "token, registry and lock are for this user alone")
}

/// Sockets that nobody listens on, and identities of processes that have ended.
pub(super) fn stale(paths: &Paths, is_running: bool) -> Vec<Check> {
    let listening = fs::read_to_string("/proc/net/unix").unwrap_or_default();
    let sockets = entries(&parent(paths.socket())).into_iter().filter(|it| has(it, "sock"));
    let deaf = sockets.filter(|it| !is_listened_on(it, &listening));
    let mut wrong: Vec<_> = deaf.map(|it| silent(&it, paths)).collect();
    if !is_running {
        // A running manager may be about to remove them.
        let identities = entries(&paths.running()).into_iter().filter(|it| has(it, "json"));
        wrong.extend(identities.filter_map(|it| ended(&it)));
    }
    Check::all("stale files", wrong, "none")
}

/// A manager that starts takes over its own sockets; nobody does so with others.
fn silent(socket: &Path, paths: &Paths) -> Check {
    let is_own = socket == paths.socket() || socket == paths.keeper_socket();
    let fix = if is_own { "dae up".to_owned() } else { remove(socket) };
    Check::fail("stale files", format!("nobody listens on `{}`", socket.display()), fix)
}

fn ended(identity: &Path) -> Option<Check> {
    let file = identity.display();
    let detail = match Identity::load(identity) {
        Ok(it) if it.is_alive() => return None,
        Err(LoadError::Forgotten { .. }) => return None,
        Ok(it) => format!("`{file}`: pid {} of `{}` has ended", it.pid, it.name),
        Err(error) => error.to_string(),
    };
    Some(Check::fail("stale files", detail, remove(identity)))
}

/// Whether a line of `/proc/net/unix` has the path, and the flag of a socket that listens
/// (`__SO_ACCEPTCON`).
fn is_listened_on(socket: &Path, table: &str) -> bool {
    let path = socket.to_string_lossy();
    table.lines().any(|line| {
        let mut fields = line.split_ascii_whitespace();
        fields.nth(3) == Some("00010000") && line.ends_with(&*path)
    })
}

fn token(token: &Path) -> Option<Check> {
    let is_sound = is_token(&fs::read_to_string(token).ok()?);
    let detail = format!("`{}` holds no token", token.display());
    let fix = format!("{} && dae down --keep && dae up", remove(token));
    (!is_sound).then(|| Check::fail("secrets", detail, fix))
}

/// What is wrong with who may do what to a path, if it is there: others may do none of `forbidden`.
fn access(name: &'static str, path: &Path, forbidden: u32) -> Option<Check> {
    let shown = path.display();
    let found: Metadata = fs::metadata(path).ok()?;
    let mode = found.mode() & 0o7777;
    if found.uid() != geteuid().as_raw() {
        let detail = format!("`{shown}` belongs to user {}", found.uid());
        return Some(Check::fail(name, detail, format!("sudo chown {} {shown}", geteuid())));
    }
    let who = if forbidden == 0o022 { "go-w" } else { "go-rwx" };
    let detail = format!("`{shown}` is open to others (mode {mode:04o})");
    (mode & forbidden != 0).then(|| Check::fail(name, detail, format!("chmod {who} {shown}")))
}

fn remove(path: &Path) -> String {
    format!("rm {}", path.display())
}

fn has(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|it| it == extension)
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<_> =
        fs::read_dir(folder).into_iter().flatten().flatten().map(|it| it.path()).collect();
    entries.sort();
    entries
}

/// The directory that all others are in, if there is one.
fn home(paths: &Paths) -> Option<PathBuf> {
    let above = [paths.config(), paths.registry(), paths.token()].map(|it| parent(parent(it)));
    let [home, ..] = &above;
    above.iter().all(|it| it == home).then(|| home.clone())
}

/// The directory of a file. Every file of the manager has one.
fn parent(file: PathBuf) -> PathBuf {
    file.parent().map(Path::to_owned).unwrap_or(file)
}
